import { get, setText } from "./dom.ts";
import type { Translator } from "./texts.ts";

/** Measures how long a message takes from the press of the key on one side to the event on the other. */
export class Journey {
  readonly #sent = new Map<number, number>();
  readonly #heard = new Map<number, number>();

  constructor(private readonly t: Translator) {
    setText(get("journey-time"), t.text("journey_wait"));
  }

  sent(messageId: number, writtenAt: string): void {
    this.#sent.set(messageId, Date.parse(writtenAt));
    this.#show(messageId);
  }

  heard(messageId: number): void {
    this.#heard.set(messageId, Date.now());
    this.#show(messageId);
  }

  /** Either may come first: the other side often hears of a message before its sender has the answer. */
  #show(id: number): void {
    const sent = this.#sent.get(id);
    const heard = this.#heard.get(id);
    if (sent === undefined || heard === undefined) return;
    this.#sent.delete(id);
    this.#heard.delete(id);
    setText(get("journey-time"), this.t.text("journey_time", { ms: Math.max(1, heard - sent) }));
    const steps = get("journey-steps");
    // Taken off and put on again, with a look at the layout between, so that the animation starts over.
    steps.classList.remove("lit");
    void steps.offsetWidth;
    steps.classList.add("lit");
  }
}
