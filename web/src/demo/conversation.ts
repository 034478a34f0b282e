import type { Chat, Draft, Message } from "../client/index.ts";
import { h, icon, place, setText } from "./dom.ts";
import type { Translator } from "./texts.ts";

export interface ConversationOptions {
  chat: Chat;
  t: Translator;
  /** Who is at the other end. */
  name: () => string;
  emptyText: () => string;
  /** Sends to a thread that may not exist yet. */
  send: (text: string) => void;
}

type State = "sending" | "sent" | "read" | "failed" | null;

const MOST_CHARACTERS = 10_000;
const NEAR_THE_END_PX = 80;

/** The messages of one thread and the field to write in: the same for customer and vendor. */
export class ConversationView {
  readonly element: HTMLElement;
  #threadId: number | null = null;
  readonly #log: HTMLElement;
  readonly #empty: HTMLElement;
  readonly #earlier: HTMLButtonElement;
  readonly #newest: HTMLButtonElement;
  readonly #typing: HTMLElement;
  readonly #field: HTMLTextAreaElement;
  /** One element per message, kept when a draft becomes a message: it must not flicker nor be read out twice. */
  #bubbles = new Map<string, { element: HTMLElement; drawn: string }>();
  #days = new Map<string, HTMLElement>();
  /** The reader is at the newest message, and stays there when more come or the room changes. */
  #stuck = true;

  constructor(private readonly options: ConversationOptions) {
    const { t } = options;
    this.#empty = h("p", { class: "log-empty" });
    this.#earlier = h("button", { type: "button", class: "quiet", hidden: true }, t.text("earlier"));
    this.#log = h("div", { class: "log", role: "log", "aria-live": "polite", "aria-label": t.text("messages"), tabindex: "0" });
    this.#newest = h("button", { type: "button", class: "newest", hidden: true }, icon("down"), t.text("to_newest"));
    this.#typing = h("p", { class: "typing", "aria-live": "polite" });
    this.#field = h("textarea", {
      rows: "1",
      maxlength: String(MOST_CHARACTERS),
      placeholder: t.text("write"),
      "aria-label": t.text("write"),
      title: t.text("write_hint"),
      enterkeyhint: "send",
      dir: "auto",
    });
    const send = h("button", { type: "submit", class: "send", "aria-label": t.text("send"), title: t.text("send") }, icon("send"));
    const form = h("form", { class: "composer" }, this.#field, send);
    const scroller = h("div", { class: "scroller" }, this.#earlier, this.#empty, this.#log);
    this.element = h("div", { class: "conversation" }, scroller, this.#newest, this.#typing, form);

    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send();
    });
    this.#field.addEventListener("keydown", (event) => {
      // While an input method composes, Enter chooses a word.
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.#send();
    });
    this.#field.addEventListener("input", () => {
      this.#fit();
      if (this.#threadId !== null && this.#field.value.trim() !== "") options.chat.typing(this.#threadId);
    });
    this.#earlier.addEventListener("click", () => void this.#showEarlier());
    this.#newest.addEventListener("click", () => this.toEnd());
    scroller.addEventListener("scroll", () => {
      // A hidden view has no height and tells nothing.
      if (scroller.clientHeight > 0) this.#stuck = this.#atEnd();
      if (this.#stuck) this.#newest.hidden = true;
    });
    // The keyboard of a phone comes up, or its other tab was shown until now.
    new ResizeObserver(() => {
      if (this.#stuck) this.toEnd();
    }).observe(scroller);
  }

  get threadId(): number | null {
    return this.#threadId;
  }

  show(threadId: number | null): void {
    if (threadId !== this.#threadId) {
      this.#threadId = threadId;
      this.#bubbles.clear();
      this.#days.clear();
    }
    this.update();
    this.toEnd();
    if (threadId === null) return;
    this.options.chat.open(threadId).then(
      () => {
        this.update();
        this.toEnd();
      },
      () => setText(this.#empty, this.options.t.text("load_failed")),
    );
  }

  focus(): void {
    this.#field.focus({ preventScroll: true });
  }

  /** A text that could not be sent goes back where it was written. */
  giveBack(text: string): void {
    this.#field.value = this.#field.value === "" ? text : `${text}\n${this.#field.value}`;
    this.#fit();
    setText(this.#empty, this.options.t.text("failed"));
  }

  update(): void {
    const { chat, t } = this.options;
    const id = this.#threadId;
    const conversation = id === null ? undefined : chat.inbox.conversations.get(id);
    // What came or was sent before the newest page is read stays in sight; the page fills in what is before it.
    const messages = conversation?.messages ?? [];
    const drafts = id === null ? [] : chat.drafts(id);

    const shown: HTMLElement[] = [];
    const keys = new Set<string>();
    let day = "";
    const draw = (key: string, item: Message | Draft): void => {
      const itsDay = t.day(item.created_at);
      if (itsDay !== day) shown.push(this.#day((day = itsDay)));
      shown.push(this.#bubble(key, item));
      keys.add(key);
    };
    for (const message of messages) draw(keyOf(message, chat.inbox.isMine(message)), message);
    // The event may come before the answer: then the message is there and its draft is not shown again.
    for (const draft of drafts) if (!keys.has(draft.client_id)) draw(draft.client_id, draft);

    const last = this.#log.lastElementChild;
    place(this.#log, shown);
    for (const key of this.#bubbles.keys()) if (!keys.has(key)) this.#bubbles.delete(key);
    this.#earlier.hidden = !conversation?.loaded || !conversation.hasOlder;
    this.#empty.hidden = shown.length > 0;
    this.element.classList.toggle("empty", shown.length === 0);
    if (!conversation || conversation.loaded) setText(this.#empty, this.options.emptyText());
    const typists = id === null ? [] : chat.inbox.typists(id, Date.now());
    setText(this.#typing, typists[0] === undefined ? "" : t.text("typing", { name: typists[0] }));

    const grown = this.#log.lastElementChild !== last;
    if (grown && (this.#stuck || shown.at(-1)?.classList.contains("mine"))) this.toEnd();
    else if (grown) this.#newest.hidden = false;
  }

  toEnd(): void {
    const scroller = this.#scroller;
    scroller.scrollTop = scroller.scrollHeight;
    this.#stuck = true;
    this.#newest.hidden = true;
  }

  get #scroller(): HTMLElement {
    return this.#log.parentElement as HTMLElement;
  }

  #atEnd(): boolean {
    const { scrollTop, clientHeight, scrollHeight } = this.#scroller;
    return scrollHeight - clientHeight - scrollTop < NEAR_THE_END_PX;
  }

  #send(): void {
    const text = this.#field.value.trim();
    if (text === "") return;
    this.#field.value = "";
    this.#fit();
    this.options.send(text);
    this.toEnd();
  }

  /** The field grows with its text, up to what the style sheet allows. */
  #fit(): void {
    this.#field.style.blockSize = "auto";
    this.#field.style.blockSize = `${this.#field.scrollHeight + 2}px`;
  }

  async #showEarlier(): Promise<void> {
    if (this.#threadId === null) return;
    const scroller = this.#scroller;
    const fromEnd = scroller.scrollHeight - scroller.scrollTop;
    this.#earlier.disabled = true;
    await this.options.chat.older(this.#threadId).catch(() => undefined);
    this.#earlier.disabled = false;
    this.update();
    scroller.scrollTop = scroller.scrollHeight - fromEnd;
  }

  #day(name: string): HTMLElement {
    let element = this.#days.get(name);
    if (element === undefined) this.#days.set(name, (element = h("p", { class: "day" }, name)));
    return element;
  }

  #bubble(key: string, item: Message | Draft): HTMLElement {
    let bubble = this.#bubbles.get(key);
    const drawn = JSON.stringify(item);
    if (bubble?.drawn === drawn) return bubble.element;
    if (bubble === undefined) this.#bubbles.set(key, (bubble = { element: h("article"), drawn }));
    bubble.drawn = drawn;
    this.#draw(bubble.element, item);
    return bubble.element;
  }

  #draw(element: HTMLElement, item: Message | Draft): void {
    const { chat, t } = this.options;
    const isDraft = "state" in item;
    const mine = isDraft || chat.inbox.isMine(item);
    const state: State = isDraft ? item.state : !mine ? null : item.read_at ? "read" : "sent";
    const deleted = !isDraft && Boolean(item.deleted_at);
    element.className = `message ${mine ? "mine" : "theirs"}`;
    element.classList.toggle("failed", state === "failed");
    element.classList.toggle("flagged", !isDraft && Boolean(item.flagged));
    element.classList.toggle("deleted", deleted || (!isDraft && Boolean(item.system)));

    const text = h("p", { class: "text", dir: "auto" });
    text.textContent = deleted ? t.text("deleted") : !isDraft && item.system ? t.text(item.system) : item.text;
    const time = h("time", { datetime: item.created_at }, t.time(item.created_at));
    const meta = h("span", { class: "meta" }, time);
    if (!isDraft && item.edited_at && !deleted) meta.prepend(`${t.text("edited")} `);
    if (state !== null) meta.append(mark(state, t));
    const author = isDraft || mine ? t.text("you", { text: "" }) : `${item.author?.name ?? ""}: `;
    element.replaceChildren(h("span", { class: "hidden" }, author), text, meta);
    if (isDraft && item.state === "failed") element.append(this.#failure(item));
  }

  #failure(draft: Draft): HTMLElement {
    const { chat, t } = this.options;
    const retry = h("button", { type: "button", class: "retry" }, t.text("retry"));
    retry.addEventListener("click", () => {
      if (this.#threadId !== null) chat.retry(this.#threadId, draft.client_id);
    });
    const known = draft.code !== undefined && draft.code !== "network";
    const why = known ? t.text("failed_code", { code: draft.code ?? "" }) : t.text("failed");
    return h("p", { class: "failure" }, `${why} `, retry);
  }
}

const keyOf = (message: Message, mine: boolean): string =>
  mine && message.client_id ? message.client_id : String(message.id);

function mark(state: Exclude<State, null>, t: Translator): HTMLElement {
  const [picture, text] = (
    {
      sending: ["clock", t.text("state_sending")],
      sent: ["tick", t.text("state_sent")],
      read: ["ticks", t.text("state_read")],
      failed: ["alert", t.text("failed")],
    } as const
  )[state];
  return h("span", { class: `state state-${state}`, title: text }, icon(picture), h("span", { class: "hidden" }, text));
}
