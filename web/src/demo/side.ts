import type { Chat, Connection } from "../client/index.ts";
import { setText } from "./dom.ts";
import type { TextKey, Translator } from "./texts.ts";
import type { DemoSession } from "./session.ts";

/** One half of the page. */
export interface Side {
  update(): void;
  /** The person at this side looks at it, or looks away: only what is looked at gets read. */
  attend(present: boolean): void;
  unread(): number;
}

export type DemoChat = Chat<DemoSession>;

/** Shows the state of the connection in words; the colour of the dot beside them only repeats it. */
export function showConnection(element: HTMLElement, state: Connection, t: Translator): void {
  element.dataset["state"] = state;
  setText(element, t.text(`connection_${state}` satisfies TextKey));
}

/** A number on a dot, said in full to a screen reader. */
export function showBadge(element: HTMLElement, n: number, t: Translator): void {
  element.hidden = n === 0;
  setText(element, n > 99 ? "99+" : String(n));
  element.setAttribute("aria-label", t.count("unread", n));
  element.title = t.count("unread", n);
}

/** Two letters for somebody without a picture. */
export function initials(name: string): string {
  const words = name.split(/\s+/).filter((word) => /\p{L}/u.test(word));
  return words.slice(0, 2).map((word) => [...word][0] ?? "").join("").toUpperCase();
}

export function showPresence(element: HTMLElement, online: boolean | undefined, t: Translator): void {
  element.hidden = online === undefined;
  element.dataset["online"] = String(online === true);
  setText(element, t.text(online ? "online" : "offline"));
}
