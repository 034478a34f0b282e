import { Chat, type ChatEvent, type Draft, type Message } from "../client/index.ts";
import { get, h, setText } from "./dom.ts";
import { Desk } from "./desk.ts";
import { Journey } from "./journey.ts";
import { BASE, demoSession } from "./session.ts";
import { Shop } from "./shop.ts";
import { type DemoChat, type Side, showBadge } from "./side.ts";
import { languages, pickLanguage, type TextKey, Translator } from "./texts.ts";

type Name = "customer" | "vendor";

const t = new Translator(pickLanguage(location.search, navigator.languages));

function translatePage(): void {
  document.documentElement.lang = t.language;
  document.documentElement.dir = new URLSearchParams(location.search).get("dir") === "rtl" ? "rtl" : t.direction;
  document.title = t.text("page_title");
  for (const element of document.querySelectorAll<HTMLElement>("[data-text]")) {
    setText(element, t.text(element.dataset["text"] as TextKey));
  }
  for (const element of document.querySelectorAll<HTMLElement>("[data-label]")) {
    element.setAttribute("aria-label", t.text(element.dataset["label"] as TextKey));
  }
  const here = new URL(location.href);
  for (const [code, texts] of Object.entries(languages)) {
    here.searchParams.set("lang", code);
    const current = code === t.language ? "true" : null;
    const name = h("a", { href: here.search, lang: code, hreflang: code, title: texts["language"] ?? code, "aria-current": current });
    name.textContent = code.toUpperCase();
    get("languages").append(name);
  }
}

/** On a narrow screen one side is shown at a time, by a pair of buttons. */
function chooseSide(name: Name): void {
  document.body.dataset["side"] = name;
  for (const each of ["customer", "vendor"]) get(`show-${each}`).setAttribute("aria-pressed", String(each === name));
}

/**
 * Both people sit at this one page, but each can look at one thing at a time: the side that the pointer, the focus
 * or the tab is on. The other side's messages stay unread until then.
 */
function followAttention(sides: Record<Name, Side>): void {
  let present: Name | null = null;
  const attend = (name: Name | null): void => {
    if (name === present) return;
    present = name;
    get("customer").classList.toggle("present", name === "customer");
    get("vendor").classList.toggle("present", name === "vendor");
    sides.customer.attend(name === "customer");
    sides.vendor.attend(name === "vendor");
  };
  for (const name of ["customer", "vendor"] as const) {
    for (const event of ["pointerenter", "pointerdown", "focusin"]) get(name).addEventListener(event, () => attend(name));
    get(`show-${name}`).addEventListener("click", () => {
      chooseSide(name);
      attend(name);
    });
  }
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) attend(null);
  });
}

async function start(): Promise<void> {
  const sides: Partial<Record<Name, Side>> = {};
  const journey = new Journey(t);
  let asked = false;
  const update = (): void => {
    if (asked) return;
    asked = true;
    // One drawing for all that happened meanwhile; not an animation frame, which a hidden page never gets.
    setTimeout(() => {
      asked = false;
      for (const name of ["customer", "vendor"] as const) {
        sides[name]?.update();
        showBadge(get(`${name}-badge`), sides[name]?.unread() ?? 0, t);
      }
    }, 0);
  };
  const open = (as: Name): Promise<DemoChat> => {
    let me = "";
    return Chat.start({
      base: BASE,
      fetchSession: () => demoSession(as),
      userId: ({ user }) => (me = user.id),
      onChange: update,
      onSent: (draft: Draft, message: Message) => journey.sent(message.id, draft.created_at),
      onEvent: (event: ChatEvent) => {
        if (event.event === "message.created" && event.data.author?.id !== me) journey.heard(event.data.id);
        // The typing notice goes away by itself.
        if (event.event === "typing") setTimeout(update, 6_100);
      },
    });
  };
  const [customer, vendor] = await Promise.all([open("customer"), open("vendor")]);
  const both = { customer: new Shop(customer, t), vendor: new Desk(vendor, t) };
  Object.assign(sides, both);
  followAttention(both);
  for (const event of ["online", "visibilitychange", "pageshow"]) {
    (event === "visibilitychange" ? document : window).addEventListener(event, () => {
      if (document.hidden) return;
      customer.live.nudge();
      vendor.live.nudge();
    });
  }
  update();
}

translatePage();
chooseSide("customer");
start().catch((error: unknown) => {
  const reason = error instanceof Error ? error.message : String(error);
  const again = h("button", { type: "button" }, t.text("reload"));
  again.addEventListener("click", () => location.reload());
  get("notice").replaceChildren(t.text("no_session", { reason }), " ", again);
  get("notice").hidden = false;
});
