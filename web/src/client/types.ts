// What the API and the push daemon say, as far as pages need it (api.md, protocols.md).

export interface Person {
  id: string;
  name: string;
  avatar_url?: string | null;
}

export interface Author extends Person {
  role: string;
}

export interface Subject {
  type: "product" | "order" | "vendor" | "user" | "support";
  id: string;
  title?: string | null;
  url?: string | null;
  image_url?: string | null;
}

export interface Message {
  id: number;
  thread_id: number;
  author: Author | null;
  text: string;
  flagged?: boolean;
  /** What its author did to the thread, if nobody wrote it. */
  system?: "closed" | "reopened" | null;
  client_id?: string | null;
  created_at: string;
  edited_at?: string | null;
  deleted_at?: string | null;
  read_at?: string | null;
}

export interface Thread {
  id: number;
  subject: Subject;
  customer: Person | null;
  vendor: Person | null;
  status: string;
  last_message: Message | null;
  created_at: string;
  updated_at: string;
  /** Per viewer: not part of events. */
  unread_count?: number;
  flagged?: boolean;
}

export interface Session {
  token: string;
  expires_at: string;
  websocket_url: string;
}

interface EventData {
  "thread.created": Thread;
  "thread.updated": Thread;
  "message.created": Message;
  "message.updated": Message;
  "message.deleted": Message;
  "message.flagged": { thread_id: number; message_id: number };
  "thread.read": { thread_id: number; user_id: string; up_to: number; read_at: string };
  "unread.changed": { thread_id: number; unread_count: number; total: number };
  typing: { thread_id: number; user: Person };
  "presence.changed": { user_id: string; online: boolean; last_seen_at: string | null };
  "session.revoked": unknown;
}

export type ChatEvent = {
  [K in keyof EventData]: { id: number | null; event: K; at: string; data: EventData[K] };
}[keyof EventData];

export type ServerFrame =
  | { type: "welcome"; session: string; user_id: string; expires_at: string; last: number; resume: "none" | "replayed" | "gap" }
  | ({ type: "event" } & ChatEvent)
  | { type: "cursor"; id: number }
  | { type: "refreshed"; expires_at: string }
  | { type: "pong" }
  | { type: "error"; code: string; detail?: string };

export interface FieldError {
  pointer?: string;
  detail?: string;
}
