import type { Conversation } from "../client/index.ts";
import { ConversationView } from "./conversation.ts";
import { get, h, place, setText } from "./dom.ts";
import { type DemoChat, type Side, initials, showBadge, showConnection, showPresence } from "./side.ts";
import type { Translator } from "./texts.ts";

/** The vendor: the list of conversations, and the one that is open. */
export class Desk implements Side {
  readonly #view: ConversationView;
  readonly #items = new Map<number, { item: HTMLElement; button: HTMLElement; badge: HTMLElement; drawn: string }>();
  #present = false;
  #watched = "";

  constructor(
    private readonly chat: DemoChat,
    private readonly t: Translator,
  ) {
    setText(get("desk-vendor"), chat.session.vendor.name);
    this.#view = new ConversationView({
      chat,
      t,
      name: () => this.#open()?.thread.customer?.name ?? "",
      emptyText: () => t.text(this.#view.threadId === null ? "pick_thread" : "empty_thread"),
      send: (text) => {
        if (this.#view.threadId !== null) chat.send(this.#view.threadId, text);
      },
    });
    get("desk-conversation").append(this.#view.element);
    get("desk-back").addEventListener("click", () => this.#leave());
    this.#showHead();
  }

  update(): void {
    const list = this.chat.inbox.list();
    get("no-threads").hidden = list.length > 0;
    place(get("threads"), list.map((conversation) => this.#item(conversation)));
    showConnection(get("desk-connection"), this.chat.live.state, this.t);
    showBadge(get("desk-badge"), this.unread(), this.t);
    this.#showHead();
    this.#view.update();
    this.#watch(list);
    this.#read();
  }

  attend(present: boolean): void {
    this.#present = present;
    this.#read();
  }

  unread(): number {
    return this.chat.inbox.unreadTotal();
  }

  #open(): Conversation | undefined {
    return this.#view.threadId === null ? undefined : this.chat.inbox.conversations.get(this.#view.threadId);
  }

  #pick(id: number): void {
    this.#view.show(id);
    this.#view.focus();
    this.update();
  }

  #leave(): void {
    const id = this.#view.threadId;
    this.#view.show(null);
    this.update();
    if (id !== null) this.#items.get(id)?.button.focus();
  }

  #read(): void {
    if (this.#present && this.#view.threadId !== null) void this.chat.read(this.#view.threadId);
  }

  #showHead(): void {
    const open = this.#open();
    get("desk").dataset["open"] = String(open !== undefined);
    get("desk-head").hidden = open === undefined;
    this.#view.element.classList.toggle("idle", open === undefined);
    if (open === undefined) return;
    const name = open.thread.customer?.name ?? "";
    setText(get("desk-peer"), name);
    setText(get("desk-subject"), `#${open.thread.id} · ${open.thread.subject.title ?? open.thread.subject.id}`);
    get("desk-chat").setAttribute("aria-label", this.t.text("conversation_with", { name }));
    const customer = open.thread.customer?.id;
    showPresence(get("desk-presence"), customer === undefined ? undefined : this.chat.inbox.online.get(customer), this.t);
  }

  /** Presence of the customers in the list, asked for when the list has others than before. */
  #watch(list: Conversation[]): void {
    const ids = [...new Set(list.flatMap(({ thread }) => thread.customer?.id ?? []))].sort().slice(0, 100);
    if (ids.length === 0 || ids.join("\n") === this.#watched || this.chat.live.state !== "online") return;
    this.#watched = ids.join("\n");
    void this.chat.watch(ids);
  }

  #item(conversation: Conversation): HTMLElement {
    const { thread, unread } = conversation;
    let known = this.#items.get(thread.id);
    if (known === undefined) {
      const button = h("button", { type: "button", class: "thread" });
      const badge = h("span", { class: "badge", role: "img" });
      known = { item: h("li", {}, button), button, badge, drawn: "" };
      this.#items.set(thread.id, known);
      button.addEventListener("click", () => this.#pick(thread.id));
    }
    const open = this.#view.threadId === thread.id;
    const drawn = JSON.stringify([thread, unread, conversation.flagged, open]);
    if (known.drawn === drawn) return known.item;
    known.drawn = drawn;
    this.#draw(known.button, known.badge, conversation);
    if (open) known.button.setAttribute("aria-current", "true");
    else known.button.removeAttribute("aria-current");
    return known.item;
  }

  #draw(button: HTMLElement, badge: HTMLElement, { thread, unread, flagged }: Conversation): void {
    const { t } = this;
    const name = thread.customer?.name ?? "";
    const last = thread.last_message;
    const mine = last !== null && this.chat.inbox.isMine(last);
    const text = last === null ? "" : last.deleted_at ? t.text("deleted") : last.text;
    showBadge(badge, unread, t);
    button.classList.toggle("unread", unread > 0);
    button.replaceChildren(
      h("span", { class: "avatar", "aria-hidden": "true" }, initials(name)),
      h("span", { class: "who", dir: "auto" }, name, flagged ? h("span", { class: "flag" }, "!") : null),
      h("time", { datetime: thread.updated_at }, t.time(last?.created_at ?? thread.updated_at)),
      h("span", { class: "about", dir: "auto" }, `#${thread.id} · ${thread.subject.title ?? thread.subject.id}`),
      h("span", { class: "last", dir: "auto" }, mine ? t.text("you", { text }) : text),
      badge,
    );
  }
}
