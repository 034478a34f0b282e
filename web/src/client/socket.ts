import { backOff, type Clock, pause, realClock } from "./clock.ts";
import { ApiError } from "./errors.ts";
import type { EventPage } from "./api.ts";
import type { Tokens } from "./tokens.ts";
import type { ChatEvent, ServerFrame, Session } from "./types.ts";

export type Connection = "connecting" | "online" | "offline" | "ended";

/** What `Live` needs of a browser's WebSocket. */
export interface Socket {
  send(text: string): void;
  close(): void;
  onopen: ((event: Event) => void) | null;
  onmessage: ((event: MessageEvent) => void) | null;
  onclose: ((event: CloseEvent) => void) | null;
}

export interface LiveOptions {
  tokens: Tokens;
  /** GET /v1/events */
  events: (after: number) => Promise<EventPage>;
  /** Called in order, each durable event once. */
  onEvent: (event: ChatEvent) => void;
  /** Nothing is known of what was missed: load everything anew. Events wait until it is done. */
  onReset: () => Promise<void>;
  onConnection?: (state: Connection) => void;
  open?: (url: string) => Socket;
  clock?: Clock;
}

const PING_MS = 25_000;
const PONG_MS = 10_000;
const WELCOME_MS = 15_000;
/** Held back while a gap is filled; beyond it the connection starts over, from the cursor. */
const MOST_HELD = 10_000;

/**
 * The live events of one user over the native protocol: connects, resumes where it was, fills gaps from the event
 * feed, keeps the token fresh, and comes back after every kind of close but a revocation.
 */
export class Live {
  readonly #clock: Clock;
  readonly #open: (url: string) => Socket;
  #state: Connection = "connecting";
  #socket: Socket | null = null;
  #session: Session | null = null;
  #cursor: number | null = null;
  /** Durable frames that wait for a gap to be filled, null when none does. */
  #held: { id: number; event: ChatEvent | null }[] | null = null;
  #welcomed = false;
  #attempt = 0;
  /** Raised by each connection, so that what an earlier one still does has no effect. */
  #round = 0;
  #cancels = new Map<string, () => void>();

  constructor(private readonly options: LiveOptions) {
    this.#clock = options.clock ?? realClock;
    this.#open = options.open ?? ((url) => new WebSocket(url, "chaffer.v1"));
  }

  get state(): Connection {
    return this.#state;
  }

  start(): void {
    this.#attempt = 0;
    void this.#connect();
  }

  stop(): void {
    this.#leave();
    this.#become("ended");
  }

  /** The network or the page came back: do not wait for the back-off. */
  nudge(): void {
    if (this.#state === "offline") this.start();
  }

  /** Presence of those whom the API's signed grant names; to be asked again after each reconnect. */
  watch(grant: string): void {
    if (this.#welcomed) this.#send({ type: "watch", grant });
  }

  async #connect(): Promise<void> {
    this.#leave();
    const round = this.#round;
    this.#become("connecting");
    let session: Session;
    try {
      session = await this.options.tokens.current();
    } catch (error) {
      if (round !== this.#round) return;
      const final = error instanceof ApiError && [401, 403, 404].includes(error.status);
      return final ? this.#become("ended") : this.#retry(backOff(this.#attempt++, this.#clock.random));
    }
    if (round !== this.#round) return;
    this.#session = session;
    const socket = this.#open(session.websocket_url);
    this.#socket = socket;
    socket.onopen = () => {
      const after = this.#cursor;
      this.#send({ type: "auth", token: session.token, ...(after === null ? {} : { after }) });
    };
    socket.onmessage = ({ data }) => this.#frame(data);
    socket.onclose = ({ code, reason }) => this.#closed(code, reason);
    this.#timer("alive", WELCOME_MS, () => this.#closed(1006, ""));
  }

  #frame(data: unknown): void {
    let frame: ServerFrame;
    try {
      frame = JSON.parse(String(data)) as ServerFrame;
    } catch {
      return;
    }
    if (this.#welcomed) this.#listen();
    switch (frame.type) {
      case "welcome":
        return this.#welcome(frame);
      case "event": {
        const { type: _, ...event } = frame;
        return event.id === null ? this.options.onEvent(event) : this.#take(event.id, event);
      }
      case "cursor":
        return this.#take(frame.id, null);
      case "error":
        return console.warn(`chat socket: ${frame.code} ${frame.detail ?? ""}`);
      default:
        return;
    }
  }

  #welcome({ last, resume }: Extract<ServerFrame, { type: "welcome" }>): void {
    this.#welcomed = true;
    this.#listen();
    this.#refreshInTime();
    // A server that is behind our cursor has another history than ours: begin anew.
    const known = this.#cursor !== null && last >= this.#cursor;
    if (known && resume === "replayed") return this.#online();
    this.#held = [];
    void this.#repair(known && resume === "gap" ? this.#cursor : null, last);
  }

  /** Reads what was missed (after `from`, or everything when null), then lets go of what came meanwhile. */
  async #repair(from: number | null, last: number): Promise<void> {
    const round = this.#round;
    for (let attempt = 0; round === this.#round; attempt++) {
      try {
        if (from === null) {
          await this.options.onReset();
          if (round !== this.#round) return;
          this.#cursor = last;
        } else if (!(await this.#readFeed(round, last))) {
          return;
        }
        return this.#online();
      } catch (error) {
        if (error instanceof ApiError && error.code === "cursor_expired") from = null;
        else await pause(this.#clock, backOff(attempt, this.#clock.random));
      }
    }
  }

  async #readFeed(round: number, last: number): Promise<boolean> {
    while (this.#cursor !== null && this.#cursor < last) {
      const page = await this.options.events(this.#cursor);
      if (round !== this.#round) return false;
      const before = this.#cursor;
      for (const event of page.events) if (event.id !== null) this.#deliver(event.id, event);
      if (page.next_cursor !== null) this.#deliver(Number(page.next_cursor), null);
      if (this.#cursor === before) break;
    }
    return true;
  }

  #online(): void {
    const held = this.#held ?? [];
    this.#held = null;
    for (const { id, event } of held) this.#deliver(id, event);
    this.#attempt = 0;
    this.#become("online");
  }

  #take(id: number, event: ChatEvent | null): void {
    if (this.#held === null) return this.#deliver(id, event);
    this.#held.push({ id, event });
    if (this.#held.length > MOST_HELD) this.#closed(4408, "");
  }

  /** Each id once: whatever is at or before the cursor was seen. */
  #deliver(id: number, event: ChatEvent | null): void {
    if (this.#cursor !== null && !(id > this.#cursor)) return;
    this.#cursor = id;
    if (event !== null) this.options.onEvent(event);
  }

  #closed(code: number, reason: string): void {
    const session = this.#session;
    this.#leave();
    switch (code) {
      case 4401:
      case 4402:
        if (session !== null) this.options.tokens.reject(session.token);
        break;
      case 4403:
        return this.#become("ended");
      case 4400:
        // Our fault or theirs, but not one that hurry mends.
        this.#attempt = Math.max(this.#attempt, 5);
        break;
    }
    const told = code === 1012 ? /retry_after_ms=(\d+)/.exec(reason)?.[1] : undefined;
    const atOnce = (code === 4402 || code === 4408) && this.#attempt === 0;
    const wait = told !== undefined ? Number(told) : atOnce ? 200 * this.#clock.random() : backOff(this.#attempt, this.#clock.random);
    this.#attempt++;
    this.#retry(wait);
  }

  #retry(ms: number): void {
    this.#become("offline");
    this.#timer("retry", ms, () => void this.#connect());
  }

  #leave(): void {
    this.#round++;
    for (const cancel of this.#cancels.values()) cancel();
    this.#cancels.clear();
    this.#held = null;
    this.#welcomed = false;
    const socket = this.#socket;
    this.#socket = null;
    if (socket === null) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
  }

  /** Something was heard: the line is alive. After a silence we ask, and without an answer leave. */
  #listen(): void {
    this.#timer("alive", PING_MS, () => {
      this.#send({ type: "ping" });
      this.#timer("alive", PONG_MS, () => this.#closed(1006, ""));
    });
  }

  #refreshInTime(wait?: number): void {
    const session = this.#session;
    if (session === null) return;
    this.#timer("refresh", Math.max(0, wait ?? this.options.tokens.msToRefresh(session)), async () => {
      const round = this.#round;
      try {
        const fresh = await this.options.tokens.renew();
        if (round !== this.#round) return;
        this.#session = fresh;
        this.#send({ type: "refresh", token: fresh.token });
        this.#refreshInTime();
      } catch {
        // The old one still counts for a while; when it ends, the server closes with 4402.
        if (round === this.#round) this.#refreshInTime(5_000);
      }
    });
  }

  #timer(name: string, ms: number, run: () => void): void {
    this.#cancels.get(name)?.();
    this.#cancels.set(name, this.#clock.after(ms, run));
  }

  #send(frame: object): void {
    try {
      this.#socket?.send(JSON.stringify(frame));
    } catch {
      // Not open any more: its close event follows.
    }
  }

  #become(state: Connection): void {
    if (state === this.#state && state !== "connecting") return;
    this.#state = state;
    this.options.onConnection?.(state);
  }
}
