import { ConversationView } from "./conversation.ts";
import { get, setText } from "./dom.ts";
import { type DemoChat, type Side, showBadge, showConnection, showPresence } from "./side.ts";
import type { Translator } from "./texts.ts";

/** The customer: a product page, and the conversation behind its button. */
export class Shop implements Side {
  readonly #view: ConversationView;
  #open = false;
  #present = false;
  /** Written before the thread exists; they go out once it does. */
  #opening: Promise<number> | null = null;

  constructor(
    private readonly chat: DemoChat,
    private readonly t: Translator,
  ) {
    const vendor = chat.session.vendor.name;
    setText(get("sold-by"), t.text("sold_by", { name: vendor }));
    setText(get("shop-peer"), vendor);
    get("shop-chat").setAttribute("aria-label", t.text("conversation_with", { name: vendor }));
    this.#view = new ConversationView({
      chat,
      t,
      name: () => vendor,
      emptyText: () => t.text("start_here", { name: vendor }),
      send: (text) => void this.#send(text),
    });
    get("shop-conversation").append(this.#view.element);
    const contact = get("contact");
    contact.addEventListener("click", () => this.#toggle(true));
    // Not before: a click that nobody hears would open nothing.
    contact.removeAttribute("disabled");
    get("shop-back").addEventListener("click", () => this.#toggle(false));
  }

  update(): void {
    const thread = this.#thread();
    if (this.#open && thread !== undefined && this.#view.threadId !== thread.thread.id) this.#view.show(thread.thread.id);
    showConnection(get("shop-connection"), this.chat.live.state, this.t);
    showBadge(get("contact-badge"), this.unread(), this.t);
    showPresence(get("shop-presence"), this.#vendorOnline(), this.t);
    this.#view.update();
    this.#read();
  }

  attend(present: boolean): void {
    this.#present = present;
    this.#read();
  }

  unread(): number {
    return this.#thread()?.unread ?? 0;
  }

  #toggle(open: boolean): void {
    this.#open = open;
    get("product").hidden = open;
    get("shop-chat").hidden = !open;
    if (open) {
      this.#view.show(this.#thread()?.thread.id ?? null);
      this.#view.focus();
      this.#read();
    } else {
      get("contact").focus();
    }
  }

  #thread() {
    const { type, id } = this.chat.session.subject;
    return this.chat.inbox
      .list()
      .find(({ thread }) => thread.subject.type === type && thread.subject.id === id && thread.status !== "closed");
  }

  #read(): void {
    const id = this.#view.threadId;
    if (this.#open && this.#present && id !== null) void this.chat.read(id);
  }

  /** Whoever of the vendor's people wrote here. */
  #vendorOnline(): boolean | undefined {
    const authors = this.#thread()?.messages.map(({ author }) => author) ?? [];
    const states = authors.map((author) => (author ? this.chat.inbox.online.get(author.id) : undefined));
    return states.includes(true) ? true : states.includes(false) ? false : undefined;
  }

  /** The thread is opened by the first message; doing that twice gives the same thread. */
  async #send(text: string): Promise<void> {
    const known = this.#thread()?.thread.id;
    if (known !== undefined) return void this.chat.send(known, text);
    this.#opening ??= this.#openThread().finally(() => (this.#opening = null));
    const id = await this.#opening.catch(() => null);
    if (id === null) return this.#view.giveBack(text);
    this.chat.send(id, text);
    this.#view.show(id);
  }

  async #openThread(): Promise<number> {
    const { vendor, subject, subject_signature: signature } = this.chat.session;
    const signed = signature ? { subject_signature: signature } : {};
    const thread = await this.chat.api.openThread({ subject, vendor_id: vendor.id, ...signed });
    this.chat.inbox.put(thread);
    return thread.id;
  }
}
