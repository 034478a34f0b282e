// Every text of the page. A language is one entry of `languages`; what it lacks is shown in English.

const en = {
  language: "English",
  page_title: "Chaffer demo: a shop and its vendor",
  intro: "One page, two people. Write on one side and watch the other.",
  choose_language: "Language",
  choose_side: "Side",
  side_customer: "Customer",
  side_vendor: "Vendor",
  unread: { one: "{n} unread message", other: "{n} unread messages" },

  shop_name: "Hearth & Table",
  shop_label: "What the customer sees: the product page",
  breadcrumb: "Kitchen / Tea",
  product_title: "Tideline stoneware teapot, 0.9 l",
  product_picture: "A round teapot, glazed in sea green, with a bamboo handle",
  product_price: "€48.00",
  product_tax: "incl. VAT, plus shipping",
  product_stock: "In stock, sent within two days",
  product_text: "Thrown by hand and glazed in two tones of sea green. Keeps a second cup hot, pours without a drip, and survives the dishwasher.",
  sold_by: "Sold by {name}",
  contact_vendor: "Contact vendor",
  back_to_product: "Back to the product",

  desk_title: "Vendor’s desk",
  desk_label: "What the vendor sees: the messages",
  threads: "Conversations",
  no_threads: "No conversations yet. They appear here as soon as a customer writes.",
  pick_thread: "Choose a conversation to read and answer it.",
  back_to_threads: "Back to the conversations",
  you: "You: {text}",
  online: "online",
  offline: "offline",

  conversation_with: "Conversation with {name}",
  messages: "Messages",
  start_here: "Ask {name} anything about this product.",
  empty_thread: "No messages yet.",
  earlier: "Show earlier messages",
  to_newest: "New messages below",
  write: "Write a message",
  write_hint: "Enter sends, Shift+Enter starts a new line",
  send: "Send",
  typing: "{name} is typing…",
  today: "Today",
  yesterday: "Yesterday",
  edited: "edited",
  deleted: "This message was deleted.",
  closed: "The conversation was closed.",
  reopened: "The conversation was opened again.",
  state_sending: "sending",
  state_sent: "sent",
  state_read: "read",
  failed: "Not sent.",
  failed_code: "Not sent ({code}).",
  retry: "Try again",
  load_failed: "The messages could not be loaded.",

  connection_connecting: "Connecting…",
  connection_online: "Connected",
  connection_offline: "No connection. Trying again…",
  connection_ended: "Signed out. Reload the page to go on.",
  no_session: "The demo could not be started: {reason}",
  reload: "Reload",

  journey_title: "How it travelled",
  journey_text: "Each message is stored first, then told: the other side hears of it through the push daemon, and the second tick appears once it was looked at.",
  journey_time: "The last message took {ms} ms from one side to the other.",
  journey_wait: "Send a message to see how long it takes.",
  step_http: "HTTP",
  step_database: "Database",
  step_zeromq: "ZeroMQ",
  step_push: "Push daemon",
  step_websocket: "WebSocket",
};

export type Texts = typeof en;
export type TextKey = { [K in keyof Texts]: Texts[K] extends string ? K : never }[keyof Texts];
type Plural = Partial<Record<Intl.LDMLPluralRule, string>> & { other: string };
type Translation = { [K in keyof Texts]?: Texts[K] extends string ? string : Plural };

const ru: Translation = {
  language: "Русский",
  page_title: "Демонстрация Chaffer: магазин и продавец",
  intro: "Одна страница, два человека. Напишите с одной стороны и смотрите на другую.",
  choose_language: "Язык",
  choose_side: "Сторона",
  side_customer: "Покупатель",
  side_vendor: "Продавец",
  unread: {
    one: "{n} непрочитанное сообщение",
    few: "{n} непрочитанных сообщения",
    many: "{n} непрочитанных сообщений",
    other: "{n} непрочитанного сообщения",
  },

  shop_name: "Очаг и стол",
  shop_label: "Что видит покупатель: страница товара",
  breadcrumb: "Кухня / Чай",
  product_title: "Керамический чайник «Прибой», 0,9 л",
  product_picture: "Круглый чайник с глазурью цвета морской волны и бамбуковой ручкой",
  product_price: "4 800 ₽",
  product_tax: "с НДС, без учёта доставки",
  product_stock: "В наличии, отправим за два дня",
  product_text: "Сделан вручную на гончарном круге, глазурь двух оттенков морской волны. Долго держит тепло, наливает без капель, можно мыть в посудомоечной машине.",
  sold_by: "Продавец: {name}",
  contact_vendor: "Написать продавцу",
  back_to_product: "Назад к товару",

  desk_title: "Кабинет продавца",
  desk_label: "Что видит продавец: сообщения",
  threads: "Диалоги",
  no_threads: "Диалогов пока нет. Они появятся здесь, как только напишет покупатель.",
  pick_thread: "Выберите диалог, чтобы прочитать его и ответить.",
  back_to_threads: "Назад к диалогам",
  you: "Вы: {text}",
  online: "в сети",
  offline: "не в сети",

  conversation_with: "Диалог: {name}",
  messages: "Сообщения",
  start_here: "Задайте вопрос об этом товаре. Ответит {name}.",
  empty_thread: "Сообщений пока нет.",
  earlier: "Показать более ранние сообщения",
  to_newest: "Ниже есть новые сообщения",
  write: "Напишите сообщение",
  write_hint: "Enter — отправить, Shift+Enter — новая строка",
  send: "Отправить",
  typing: "{name} печатает…",
  today: "Сегодня",
  yesterday: "Вчера",
  edited: "изменено",
  deleted: "Сообщение удалено.",
  closed: "Диалог закрыт.",
  reopened: "Диалог открыт снова.",
  state_sending: "отправляется",
  state_sent: "отправлено",
  state_read: "прочитано",
  failed: "Не отправлено.",
  failed_code: "Не отправлено ({code}).",
  retry: "Повторить",
  load_failed: "Не удалось загрузить сообщения.",

  connection_connecting: "Соединение…",
  connection_online: "На связи",
  connection_offline: "Нет связи. Пробуем ещё раз…",
  connection_ended: "Сеанс завершён. Перезагрузите страницу.",
  no_session: "Не удалось начать демонстрацию: {reason}",
  reload: "Перезагрузить",

  journey_title: "Как оно дошло",
  journey_text: "Сообщение сначала сохраняется, затем о нём узнают: другая сторона получает его через push-сервер, а вторая галочка появляется, когда его увидели.",
  journey_time: "Последнее сообщение дошло за {ms} мс.",
  journey_wait: "Отправьте сообщение, чтобы узнать, за сколько оно дойдёт.",
  step_http: "HTTP",
  step_database: "База данных",
  step_zeromq: "ZeroMQ",
  step_push: "Push-сервер",
  step_websocket: "WebSocket",
};

export const languages: Record<string, Translation> = { en, ru };
const RIGHT_TO_LEFT = /^(ar|dv|fa|he|ps|ur|yi)\b/;

/** `?lang=` counts first, then what the browser prefers. `?dir=rtl` shows the page mirrored, for trying. */
export function pickLanguage(search: string, preferred: readonly string[]): string {
  const wanted = [new URLSearchParams(search).get("lang") ?? "", ...preferred];
  return wanted.map((tag) => tag.toLowerCase().split("-")[0] ?? "").find((tag) => tag in languages) ?? "en";
}

export class Translator {
  readonly #texts: Translation;
  readonly #plural: Intl.PluralRules;
  readonly #time: Intl.DateTimeFormat;
  readonly #day: Intl.DateTimeFormat;

  constructor(readonly language: string) {
    this.#texts = languages[language] ?? en;
    this.#plural = new Intl.PluralRules(language);
    this.#time = new Intl.DateTimeFormat(language, { timeStyle: "short" });
    this.#day = new Intl.DateTimeFormat(language, { day: "numeric", month: "long", year: "numeric" });
  }

  get direction(): "ltr" | "rtl" {
    return RIGHT_TO_LEFT.test(this.language) ? "rtl" : "ltr";
  }

  text(key: TextKey, values: Record<string, string | number> = {}): string {
    return fill(this.#texts[key] ?? en[key], values);
  }

  count(key: "unread", n: number): string {
    const forms: Plural = this.#texts[key] ?? en[key];
    return fill(forms[this.#plural.select(n)] ?? forms.other, { n });
  }

  time(iso: string): string {
    return this.#time.format(new Date(iso));
  }

  day(iso: string, now: Date = new Date()): string {
    const day = new Date(iso);
    const yesterday = new Date(now);
    yesterday.setDate(now.getDate() - 1);
    if (day.toDateString() === now.toDateString()) return this.text("today");
    if (day.toDateString() === yesterday.toDateString()) return this.text("yesterday");
    return this.#day.format(day);
  }
}

const fill = (text: string, values: Record<string, string | number>): string =>
  text.replace(/\{(\w+)\}/g, (whole, name: string) => String(values[name] ?? whole));
