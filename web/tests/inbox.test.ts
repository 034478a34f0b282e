import assert from "node:assert/strict";
import { test } from "node:test";
import { Inbox } from "../src/client/inbox.ts";
import type { ChatEvent, Message, Thread } from "../src/client/types.ts";

const at = (n: number): string => `2026-11-21T10:00:${String(n).padStart(2, "0")}.000Z`;
const thread = (id: number, more: Partial<Thread> = {}): Thread => ({
  id,
  subject: { type: "product", id: "p" },
  customer: { id: "c", name: "Mira" },
  vendor: { id: "v", name: "Kiln" },
  status: "open",
  last_message: null,
  created_at: at(0),
  updated_at: at(0),
  ...more,
});
const message = (id: number, author: string, more: Partial<Message> = {}): Message => ({
  id,
  thread_id: 1,
  author: { id: author, name: author, role: author === "c" ? "customer" : "vendor_admin" },
  text: `text ${id}`,
  created_at: at(id),
  read_at: null,
  ...more,
});
const happens = (event: string, data: unknown): ChatEvent => ({ id: 1, event, at: at(0), data }) as ChatEvent;
const ids = (inbox: Inbox): number[] => inbox.conversations.get(1)?.messages.map(({ id }) => id) ?? [];

function setUp(me = "c"): Inbox {
  const inbox = new Inbox(me);
  inbox.reset([thread(1, { unread_count: 2 })]);
  return inbox;
}

test("messages stand in order, each once, whatever order they come in", () => {
  const inbox = setUp();
  inbox.apply(happens("message.created", message(5, "a")), 0);
  inbox.newest(1, [message(3, "c"), message(4, "a")], true);
  inbox.add(message(5, "a"));
  inbox.older(1, [message(1, "a"), message(2, "c"), message(3, "c")], false);
  assert.deepEqual(ids(inbox), [1, 2, 3, 4, 5]);
});

test("the newest page replaces what may have a hole before it", () => {
  const inbox = setUp();
  inbox.newest(1, [message(1, "a"), message(2, "a")], false);
  inbox.newest(1, [message(40, "a"), message(41, "a")], true);
  assert.deepEqual(ids(inbox), [40, 41]);
});

test("the other side's reading makes the second tick, also for an answer that comes late", () => {
  const inbox = setUp();
  inbox.add(message(1, "c"));
  inbox.apply(happens("thread.read", { thread_id: 1, user_id: "a", up_to: 2, read_at: at(9) }), 0);
  inbox.add(message(2, "c"));
  inbox.add(message(3, "c"));
  const read = inbox.conversations.get(1)?.messages.map(({ read_at }) => Boolean(read_at));
  assert.deepEqual(read, [true, true, false]);
});

test("a colleague's reading makes no tick", () => {
  const inbox = setUp("a");
  inbox.add(message(1, "a"));
  inbox.apply(happens("thread.read", { thread_id: 1, user_id: "b", up_to: 1, read_at: at(9) }), 0);
  assert.equal(inbox.conversations.get(1)?.messages[0]?.read_at, null);
});

test("an older version does not undo an edit or a deletion", () => {
  const inbox = setUp();
  inbox.apply(happens("message.updated", message(1, "a", { text: "new", edited_at: at(5) })), 0);
  inbox.newest(1, [message(1, "a", { text: "old" })], false);
  assert.equal(inbox.conversations.get(1)?.messages[0]?.text, "new");
});

test("the list is ordered by activity, and unread counts are the server's", () => {
  const inbox = setUp();
  inbox.apply(happens("thread.created", thread(2, { updated_at: at(3) })), 0);
  assert.deepEqual(inbox.list().map(({ thread: { id } }) => id), [2, 1]);
  inbox.apply(happens("message.created", message(7, "a")), 0);
  assert.deepEqual(inbox.list().map(({ thread: { id } }) => id), [1, 2]);
  assert.equal(inbox.unreadTotal(), 2);
  inbox.apply(happens("unread.changed", { thread_id: 1, unread_count: 3, total: 3 }), 0);
  // An event's thread tells nothing of one viewer, and takes nothing away.
  inbox.apply(happens("thread.updated", thread(1, { status: "closed" })), 0);
  assert.equal(inbox.unreadTotal(), 3);
  assert.equal(inbox.conversations.get(1)?.thread.last_message?.id, 7);
});

test("an event of an unknown thread names it", () => {
  assert.equal(setUp().apply(happens("message.created", message(1, "a", { thread_id: 9 })), 0), 9);
});

test("typing ends with the message, or by itself", () => {
  const inbox = setUp();
  inbox.apply(happens("typing", { thread_id: 1, user: { id: "a", name: "Jonas" } }), 1_000);
  assert.deepEqual(inbox.typists(1, 2_000), ["Jonas"]);
  assert.deepEqual(inbox.typists(1, 9_000), []);
  inbox.apply(happens("message.created", message(1, "a")), 2_000);
  assert.deepEqual(inbox.typists(1, 2_000), []);
});
