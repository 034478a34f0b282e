import { Api } from "./api.ts";
import { backOff, type Clock, pause, realClock } from "./clock.ts";
import { isPassing } from "./errors.ts";
import { Inbox } from "./inbox.ts";
import { type Connection, Live, type Socket } from "./socket.ts";
import { type Draft, Outbox } from "./outbox.ts";
import { Tokens } from "./tokens.ts";
import type { ChatEvent, Message, Session } from "./types.ts";

export interface ChatOptions<S extends Session> {
  /** Where the API lives, relative to the page: empty, or a path with a slash at its end. */
  base: string;
  fetchSession: () => Promise<S>;
  userId(session: S): string;
  onChange: () => void;
  onEvent?: (event: ChatEvent) => void;
  onSent?: (draft: Draft, message: Message) => void;
  clock?: Clock;
  open?: (url: string) => Socket;
}

const PAGE = 30;
const TYPING_EVERY_MS = 3_000;

/** One user's chat: the inbox, kept up by the socket, and what is sent from it. */
export class Chat<S extends Session = Session> {
  readonly api: Api;
  readonly live: Live;
  readonly #clock: Clock;
  readonly #outboxes = new Map<number, Outbox>();
  readonly #opening = new Map<number, Promise<void>>();
  readonly #readUpTo = new Map<number, number>();
  readonly #typed = new Map<number, number>();
  #watched: string[] = [];

  private constructor(
    private readonly options: ChatOptions<S>,
    readonly session: S,
    readonly inbox: Inbox,
    tokens: Tokens<S>,
  ) {
    this.#clock = options.clock ?? realClock;
    this.api = new Api(options.base, tokens);
    this.live = new Live({
      tokens,
      events: (after) => this.api.events(after),
      onEvent: (event) => this.#take(event),
      onReset: () => this.#load(),
      onConnection: (state) => this.#connection(state),
      clock: this.#clock,
      ...(options.open === undefined ? {} : { open: options.open }),
    });
  }

  static async start<S extends Session>(options: ChatOptions<S>): Promise<Chat<S>> {
    const tokens = new Tokens(options.fetchSession, options.clock);
    const session = await tokens.current();
    const chat = new Chat(options, session, new Inbox(options.userId(session)), tokens);
    chat.live.start();
    return chat;
  }

  /** Reads the newest messages of a thread, once. Without a network it goes on trying: the reader waits for them. */
  open(threadId: number): Promise<void> {
    let opening = this.#opening.get(threadId);
    if (opening === undefined) {
      opening = this.#open(threadId).finally(() => this.#opening.delete(threadId));
      this.#opening.set(threadId, opening);
    }
    return opening;
  }

  async #open(threadId: number): Promise<void> {
    for (let attempt = 0; this.inbox.conversations.get(threadId)?.loaded === false; attempt++) {
      try {
        await this.#newest(threadId);
        this.options.onChange();
      } catch (error) {
        if (!isPassing(error)) throw error;
        await pause(this.#clock, backOff(attempt, this.#clock.random, 500, 5_000));
      }
    }
  }

  async older(threadId: number): Promise<void> {
    const first = this.inbox.conversations.get(threadId)?.messages[0];
    if (first === undefined) return;
    const page = await this.api.messages(threadId, { before: first.id, limit: PAGE });
    this.inbox.older(threadId, page.messages, page.next_cursor !== null);
    this.options.onChange();
  }

  drafts(threadId: number): readonly Draft[] {
    return this.#outboxes.get(threadId)?.drafts ?? [];
  }

  send(threadId: number, text: string): Draft {
    this.#typed.delete(threadId);
    return this.#outbox(threadId).add(text);
  }

  retry(threadId: number, clientId: string): void {
    this.#outboxes.get(threadId)?.retry(clientId);
  }

  /** The reader has seen everything that is there now. */
  async read(threadId: number): Promise<void> {
    const conversation = this.inbox.conversations.get(threadId);
    const last = conversation?.messages.findLast((message) => !this.inbox.isMine(message))?.id;
    if (conversation === undefined || last === undefined || conversation.unread === 0) return;
    if (last <= (this.#readUpTo.get(threadId) ?? 0)) return;
    this.#readUpTo.set(threadId, last);
    try {
      conversation.unread = (await this.api.read(threadId, last)).unread_count;
      this.options.onChange();
    } catch {
      // Asked again with the next change.
      this.#readUpTo.delete(threadId);
    }
  }

  /** Tells the other side that something is being written, at most every few seconds. */
  typing(threadId: number): void {
    const now = this.#clock.now();
    if (now - (this.#typed.get(threadId) ?? 0) < TYPING_EVERY_MS) return;
    this.#typed.set(threadId, now);
    this.api.typing(threadId).catch(() => undefined);
  }

  /** Asks who of these is online, and to be told when that changes. Best effort: presence is no promise. */
  async watch(userIds: string[]): Promise<void> {
    this.#watched = userIds;
    try {
      const { users, grant } = await this.api.presence(userIds);
      for (const { user_id, online } of users) this.inbox.online.set(user_id, online);
      if (grant) this.live.watch(grant);
      this.options.onChange();
    } catch {
      for (const id of userIds) this.inbox.online.delete(id);
    }
  }

  #outbox(threadId: number): Outbox {
    let outbox = this.#outboxes.get(threadId);
    if (outbox === undefined) {
      outbox = new Outbox({
        post: async (draft) => {
          const message = await this.api.post(threadId, { text: draft.text, client_id: draft.client_id });
          this.options.onSent?.(draft, message);
          return message;
        },
        onSent: (message) => this.inbox.add(message),
        onChange: this.options.onChange,
        clock: this.#clock,
      });
      this.#outboxes.set(threadId, outbox);
    }
    return outbox;
  }

  #take(event: ChatEvent): void {
    const unknown = this.inbox.apply(event, this.#clock.now());
    if (unknown !== null) void this.#fetch(unknown);
    if (event.event === "message.created") {
      const { author, client_id, thread_id } = event.data;
      if (client_id && author?.id === this.inbox.me) this.#outboxes.get(thread_id)?.settle(client_id);
    }
    this.options.onEvent?.(event);
    this.options.onChange();
  }

  async #fetch(threadId: number): Promise<void> {
    try {
      this.inbox.put(await this.api.thread(threadId));
      this.options.onChange();
    } catch {
      // Not ours to see any more.
    }
  }

  /** Everything anew: the list, and the newest page of each thread that was open. */
  async #load(): Promise<void> {
    const open = [...this.inbox.conversations.values()].filter(({ loaded }) => loaded).map(({ thread }) => thread.id);
    this.inbox.reset((await this.api.threads({ limit: 100 })).threads);
    for (const id of open) if (this.inbox.conversations.has(id)) await this.#newest(id);
    this.options.onChange();
  }

  async #newest(threadId: number): Promise<void> {
    const page = await this.api.messages(threadId, { limit: PAGE });
    this.inbox.newest(threadId, page.messages, page.next_cursor !== null);
  }

  #connection(state: Connection): void {
    // A socket's watch ends with it.
    if (state === "online" && this.#watched.length > 0) void this.watch(this.#watched);
    this.options.onChange();
  }
}
