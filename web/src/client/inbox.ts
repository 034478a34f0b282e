import type { ChatEvent, Message, Thread } from "./types.ts";

const TYPING_MS = 6_000;

export interface Conversation {
  thread: Thread;
  unread: number;
  flagged: boolean;
  /** Oldest first, each id once. */
  messages: Message[];
  /** The newest page was read, so `messages` has no holes. */
  loaded: boolean;
  hasOlder: boolean;
  /** Who types, and until when that is believed. */
  typing: Map<string, { name: string; until: number }>;
  /** How far the other side has read. */
  readUpTo: number;
}

/** What one user sees: built from REST answers, kept up by events. Pure: no requests, no clock of its own. */
export class Inbox {
  readonly conversations = new Map<number, Conversation>();
  readonly online = new Map<string, boolean>();

  constructor(readonly me: string) {}

  /** Latest activity first. */
  list(): Conversation[] {
    return [...this.conversations.values()].sort(
      (a, b) => b.thread.updated_at.localeCompare(a.thread.updated_at) || b.thread.id - a.thread.id,
    );
  }

  unreadTotal(): number {
    let total = 0;
    for (const { unread } of this.conversations.values()) total += unread;
    return total;
  }

  isMine(message: Message): boolean {
    return message.author?.id === this.me;
  }

  /** The thread list was read anew: what is not in it is gone. */
  reset(threads: Thread[]): void {
    const left = new Set(threads.map((thread) => thread.id));
    for (const id of this.conversations.keys()) if (!left.has(id)) this.conversations.delete(id);
    for (const thread of threads) this.put(thread);
  }

  put(thread: Thread): Conversation {
    const old = this.conversations.get(thread.id);
    const conversation: Conversation = old ?? {
      thread,
      unread: 0,
      flagged: false,
      messages: [],
      loaded: false,
      hasOlder: false,
      typing: new Map(),
      readUpTo: 0,
    };
    // An event's thread may lack what it has no reason to tell; an answer to a request is complete.
    conversation.thread = { ...thread, last_message: thread.last_message ?? old?.thread.last_message ?? null };
    if (thread.unread_count !== undefined) conversation.unread = thread.unread_count;
    if (thread.flagged !== undefined) conversation.flagged = thread.flagged;
    this.conversations.set(thread.id, conversation);
    return conversation;
  }

  /** The newest page: replaces what is there, for there may be a hole between the two. */
  newest(threadId: number, messages: Message[], hasOlder: boolean): void {
    const conversation = this.conversations.get(threadId);
    if (conversation === undefined) return;
    const first = messages[0]?.id ?? 0;
    conversation.messages = conversation.messages.filter((message) => message.id >= first);
    this.#merge(conversation, messages);
    conversation.loaded = true;
    conversation.hasOlder = hasOlder;
  }

  older(threadId: number, messages: Message[], hasOlder: boolean): void {
    const conversation = this.conversations.get(threadId);
    if (conversation === undefined) return;
    this.#merge(conversation, messages);
    conversation.hasOlder = hasOlder;
  }

  add(message: Message): void {
    const conversation = this.conversations.get(message.thread_id);
    if (conversation === undefined) return;
    this.#merge(conversation, [message]);
    const { thread } = conversation;
    // What nobody wrote is not what was said last.
    if (!message.system && message.id >= (thread.last_message?.id ?? 0)) {
      thread.last_message = this.#find(conversation, message.id) ?? message;
      if (message.created_at > thread.updated_at) thread.updated_at = message.created_at;
    }
  }

  /** Takes an event in; the answer is the id of a thread that it concerns and that is not known here. */
  apply(event: ChatEvent, now: number): number | null {
    switch (event.event) {
      case "thread.created":
      case "thread.updated":
        this.put(event.data);
        return null;
      case "message.created":
      case "message.updated":
      case "message.deleted": {
        const message = event.data;
        const conversation = this.conversations.get(message.thread_id);
        if (conversation === undefined) return message.thread_id;
        if (event.event === "message.created" && message.author) conversation.typing.delete(message.author.id);
        this.add(message);
        return null;
      }
      case "message.flagged": {
        const conversation = this.conversations.get(event.data.thread_id);
        if (conversation === undefined) return event.data.thread_id;
        conversation.flagged = true;
        const message = this.#find(conversation, event.data.message_id);
        if (message !== undefined) message.flagged = true;
        return null;
      }
      case "thread.read":
        this.#read(event.data);
        return null;
      case "unread.changed": {
        const conversation = this.conversations.get(event.data.thread_id);
        if (conversation === undefined) return event.data.thread_id;
        conversation.unread = event.data.unread_count;
        return null;
      }
      case "typing": {
        const { thread_id, user } = event.data;
        if (user.id !== this.me) {
          this.conversations.get(thread_id)?.typing.set(user.id, { name: user.name, until: now + TYPING_MS });
        }
        return null;
      }
      case "presence.changed":
        this.online.set(event.data.user_id, event.data.online);
        return null;
      default:
        return null;
    }
  }

  typists(threadId: number, now: number): string[] {
    const typing = this.conversations.get(threadId)?.typing.values() ?? [];
    return [...typing].filter(({ until }) => until > now).map(({ name }) => name);
  }

  /** Only a reader of the other side makes the second tick, not a colleague. */
  #read({ thread_id, user_id, up_to, read_at }: { thread_id: number; user_id: string; up_to: number; read_at: string }): void {
    const conversation = this.conversations.get(thread_id);
    if (conversation === undefined) return;
    const customer = conversation.thread.customer?.id;
    if ((user_id === customer) === (this.me === customer)) return;
    conversation.readUpTo = Math.max(conversation.readUpTo, up_to);
    for (const message of conversation.messages) {
      if (message.id <= up_to && this.isMine(message)) message.read_at ??= read_at;
    }
  }

  #find(conversation: Conversation, id: number): Message | undefined {
    return conversation.messages.find((message) => message.id === id);
  }

  #merge(conversation: Conversation, incoming: Message[]): void {
    const byId = new Map(conversation.messages.map((message) => [message.id, message]));
    for (const message of incoming) {
      const old = byId.get(message.id);
      const fresh = old === undefined || !isLater(old, message) ? { ...message } : old;
      // An answer may be older than an event that came before it.
      if (this.isMine(fresh) && fresh.id <= conversation.readUpTo) fresh.read_at ??= old?.read_at ?? fresh.created_at;
      if (old?.read_at) fresh.read_at = old.read_at;
      if (old?.flagged) fresh.flagged = true;
      byId.set(fresh.id, fresh);
    }
    conversation.messages = [...byId.values()].sort((a, b) => a.id - b.id);
  }
}

/** `a` is a later version of the message than `b`. */
function isLater(a: Message, b: Message): boolean {
  const version = (message: Message): string => message.deleted_at ?? message.edited_at ?? "";
  return version(a) > version(b);
}
