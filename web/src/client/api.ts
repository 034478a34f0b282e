import { NetworkError, problem } from "./errors.ts";
import type { Tokens } from "./tokens.ts";
import type { ChatEvent, Message, Subject, Thread } from "./types.ts";

export interface MessagePage {
  messages: Message[];
  next_cursor: string | null;
}

export interface EventPage {
  events: ChatEvent[];
  next_cursor: number | string | null;
}

export interface Presence {
  users: { user_id: string; online: boolean; last_seen_at: string | null }[];
  grant: string | null;
}

type Query = Record<string, string | number | boolean | null | undefined>;

const REQUEST_TIMEOUT_MS = 20_000;

/** A request without credentials: how a page fetches its session. */
export async function call<T>(method: string, url: string, body?: unknown, token?: string): Promise<T> {
  const headers: Record<string, string> = { Accept: "application/json" };
  if (token !== undefined) headers["Authorization"] = `Bearer ${token}`;
  const init: RequestInit = { method, headers, signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS), credentials: "omit" };
  if (body !== undefined) {
    headers["Content-Type"] = "application/json";
    init.body = JSON.stringify(body);
  }
  let response: Response;
  try {
    response = await fetch(url, init);
  } catch (cause) {
    throw new NetworkError(`${method} ${url} got no answer`, { cause });
  }
  if (!response.ok) throw await problem(response);
  if (response.status === 204) return undefined as T;
  try {
    return (await response.json()) as T;
  } catch (cause) {
    throw new NetworkError(`${method} ${url}: the answer broke off`, { cause });
  }
}

/** The REST calls of one user. `base` is where the API lives, relative to the page, with a slash at its end, or empty. */
export class Api {
  constructor(
    private readonly base: string,
    private readonly tokens: Tokens,
  ) {}

  threads(query: Query = {}): Promise<{ threads: Thread[]; next_cursor: string | null }> {
    return this.#call("GET", "v1/threads", undefined, query);
  }

  thread(id: number): Promise<Thread> {
    return this.#call("GET", `v1/threads/${id}`);
  }

  /** The open thread that the caller has for that subject, or a new one. */
  openThread(body: { subject: Subject; vendor_id?: string; customer_id?: string; subject_signature?: string }): Promise<Thread> {
    return this.#call("POST", "v1/threads", body);
  }

  messages(thread: number, query: { before?: number; after?: number; around?: number; limit?: number } = {}): Promise<MessagePage> {
    return this.#call("GET", `v1/threads/${thread}/messages`, undefined, query);
  }

  post(thread: number, body: { text: string; client_id: string }): Promise<Message> {
    return this.#call("POST", `v1/threads/${thread}/messages`, body);
  }

  read(thread: number, upTo: number): Promise<{ unread_count: number }> {
    return this.#call("POST", `v1/threads/${thread}/read`, { up_to: upTo });
  }

  typing(thread: number): Promise<void> {
    return this.#call("POST", `v1/threads/${thread}/typing`);
  }

  presence(userIds: string[]): Promise<Presence> {
    return this.#call("GET", "v1/presence", undefined, { user_ids: userIds.join(",") });
  }

  events(after: number, limit = 100): Promise<EventPage> {
    return this.#call("GET", "v1/events", undefined, { after, limit });
  }

  async #call<T>(method: string, path: string, body?: unknown, query: Query = {}): Promise<T> {
    const search = new URLSearchParams();
    for (const [name, value] of Object.entries(query)) if (value != null) search.set(name, String(value));
    const url = this.base + path + (search.size > 0 ? `?${search}` : "");
    const { token } = await this.tokens.current();
    try {
      return await call<T>(method, url, body, token);
    } catch (error) {
      if (!(error instanceof Error && "status" in error && error.status === 401)) throw error;
      // A refused request did nothing, so it may be made again, once, with another token.
      this.tokens.reject(token);
      return call<T>(method, url, body, (await this.tokens.current()).token);
    }
  }
}
