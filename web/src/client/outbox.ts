import { backOff, type Clock, newClientId, pause, realClock } from "./clock.ts";
import { ApiError, isPassing } from "./errors.ts";
import type { Message } from "./types.ts";

export interface Draft {
  client_id: string;
  text: string;
  created_at: string;
  state: "sending" | "failed";
  /** Why it failed, as the API's error code. */
  code?: string;
}

export interface OutboxOptions {
  /** Makes the one request. May be called again with the same draft. */
  post: (draft: Draft) => Promise<Message>;
  onChange: () => void;
  onSent: (message: Message) => void;
  clock?: Clock;
  attempts?: number;
}

/**
 * The messages on their way to one thread, sent one after the other so that they arrive in the order they were
 * written. A draft keeps its client_id through every retry, so the server counts it once.
 */
export class Outbox {
  readonly #clock: Clock;
  #drafts: Draft[] = [];
  #busy = false;

  constructor(private readonly options: OutboxOptions) {
    this.#clock = options.clock ?? realClock;
  }

  get drafts(): readonly Draft[] {
    return this.#drafts;
  }

  add(text: string): Draft {
    const draft: Draft = {
      client_id: newClientId(),
      text,
      created_at: new Date(this.#clock.now()).toISOString(),
      state: "sending",
    };
    this.#drafts.push(draft);
    this.options.onChange();
    void this.#run();
    return draft;
  }

  retry(clientId: string): void {
    const draft = this.#drafts.find((each) => each.client_id === clientId);
    if (draft?.state !== "failed") return;
    draft.state = "sending";
    this.options.onChange();
    void this.#run();
  }

  /** Its event came before its answer: it has arrived. */
  settle(clientId: string): void {
    const left = this.#drafts.filter((draft) => draft.client_id !== clientId);
    if (left.length === this.#drafts.length) return;
    this.#drafts = left;
    this.options.onChange();
  }

  async #run(): Promise<void> {
    if (this.#busy) return;
    this.#busy = true;
    for (let draft = this.#next(); draft !== undefined; draft = this.#next()) await this.#deliver(draft);
    this.#busy = false;
  }

  #next(): Draft | undefined {
    return this.#drafts.find((draft) => draft.state === "sending");
  }

  async #deliver(draft: Draft): Promise<void> {
    const attempts = this.options.attempts ?? 8;
    for (let attempt = 1; this.#drafts.includes(draft); attempt++) {
      try {
        const message = await this.options.post(draft);
        this.options.onSent(message);
        return this.settle(draft.client_id);
      } catch (error) {
        if (!isPassing(error) || attempt >= attempts) return this.#fail(draft, error);
        const asked = error instanceof ApiError ? (error.retryAfterMs ?? 0) : 0;
        await pause(this.#clock, Math.max(asked, backOff(attempt - 1, this.#clock.random, 400, 10_000)));
      }
    }
  }

  #fail(draft: Draft, error: unknown): void {
    if (!this.#drafts.includes(draft)) return;
    draft.state = "failed";
    draft.code = error instanceof ApiError ? error.code : "network";
    this.options.onChange();
  }
}
