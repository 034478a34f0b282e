import { type Clock, realClock } from "./clock.ts";
import type { Session } from "./types.ts";

/** Holds the session's token and fetches another in time. Those who ask at the same moment share one request. */
export class Tokens<S extends Session = Session> {
  #session: S | null = null;
  #pending: Promise<S> | null = null;

  constructor(
    private readonly fetchSession: () => Promise<S>,
    private readonly clock: Clock = realClock,
  ) {}

  async current(): Promise<S> {
    if (this.#session !== null && this.msToRefresh(this.#session) > 0) return this.#session;
    return this.renew();
  }

  renew(): Promise<S> {
    this.#pending ??= this.fetchSession()
      .then((session) => (this.#session = session))
      .finally(() => (this.#pending = null));
    return this.#pending;
  }

  /** The server refused this token: the next caller gets another. */
  reject(token: string): void {
    if (this.#session?.token === token) this.#session = null;
  }

  /** A minute ahead of the end, or at nine tenths of a life shorter than ten minutes. */
  msToRefresh(session: Session): number {
    const left = Date.parse(session.expires_at) - this.clock.now();
    return left - Math.min(60_000, Math.max(left / 10, 1_000));
  }
}
