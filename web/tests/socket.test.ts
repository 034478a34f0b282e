import assert from "node:assert/strict";
import { test } from "node:test";
import type { EventPage } from "../src/client/api.ts";
import { ApiError, NetworkError } from "../src/client/errors.ts";
import { Live, type Socket } from "../src/client/socket.ts";
import { Tokens } from "../src/client/tokens.ts";
import type { ChatEvent, Session } from "../src/client/types.ts";
import { settle, TestClock } from "./support.ts";

class FakeSocket implements Socket {
  onopen: Socket["onopen"] = null;
  onmessage: Socket["onmessage"] = null;
  onclose: Socket["onclose"] = null;
  sent: Record<string, unknown>[] = [];
  closed = false;
  send(text: string): void {
    this.sent.push(JSON.parse(text) as Record<string, unknown>);
  }
  close(): void {
    this.closed = true;
  }
  hear(frame: object): void {
    this.onmessage?.({ data: JSON.stringify(frame) } as MessageEvent);
  }
  drop(code: number, reason = ""): void {
    this.onclose?.({ code, reason } as CloseEvent);
  }
}

const event = (id: number | null): ChatEvent =>
  ({ id, event: "unread.changed", at: "", data: { thread_id: 1, unread_count: id ?? 0, total: 0 } });
const welcome = (last: number, resume: string) => ({ type: "welcome", session: "s", user_id: "7", expires_at: "", last, resume });

function setUp() {
  const clock = new TestClock();
  const sockets: FakeSocket[] = [];
  const seen: (number | null)[] = [];
  const states: string[] = [];
  const asked: number[] = [];
  const world = { resets: 0, tokens: 0, feed: async (_after: number): Promise<EventPage> => ({ events: [], next_cursor: null }) };
  const tokens = new Tokens<Session>(async () => {
    const expires_at = new Date(clock.now() + 3_600_000).toISOString();
    return { token: `t${++world.tokens}`, expires_at, websocket_url: "ws://x/ws" };
  }, clock);
  const live = new Live({
    tokens,
    clock,
    events: (after) => {
      asked.push(after);
      return world.feed(after);
    },
    onEvent: ({ id }) => seen.push(id),
    onReset: async () => void world.resets++,
    onConnection: (state) => states.push(state),
    open: () => {
      const socket = new FakeSocket();
      sockets.push(socket);
      queueMicrotask(() => socket.onopen?.(new Event("open")));
      return socket;
    },
  });
  const last = (): FakeSocket => sockets.at(-1) as FakeSocket;
  const begin = async (cursor = 10): Promise<void> => {
    live.start();
    await settle();
    last().hear(welcome(cursor, "none"));
    await settle();
  };
  return { clock, sockets, seen, states, asked, world, live, last, begin };
}

test("signs in with its token, loads once, and hears each event once", async () => {
  const { begin, last, seen, states, world } = setUp();
  await begin();
  assert.deepEqual(last().sent, [{ type: "auth", token: "t1" }]);
  assert.equal(world.resets, 1);
  for (const id of [11, 12, 12, 11, 14]) last().hear({ type: "event", ...event(id) });
  last().hear({ type: "event", ...event(null) });
  assert.deepEqual(seen, [11, 12, 14, null]);
  assert.deepEqual(states, ["connecting", "online"]);
});

test("events that arrive while the page loads wait for it", async () => {
  const { live, last, seen, states } = setUp();
  live.start();
  await settle();
  last().hear(welcome(10, "none"));
  last().hear({ type: "event", ...event(11) });
  assert.deepEqual([seen, states], [[], ["connecting"]]);
  await settle();
  assert.deepEqual([seen, states], [[11], ["connecting", "online"]]);
});

test("comes back with its cursor, which quiet times move on too", async () => {
  const { begin, clock, last, seen } = setUp();
  await begin();
  last().hear({ type: "event", ...event(11) });
  last().hear({ type: "cursor", id: 60 });
  last().drop(1006);
  await clock.pass(500);
  assert.deepEqual(last().sent[0], { type: "auth", token: "t1", after: 60 });
  last().hear(welcome(62, "replayed"));
  for (const id of [60, 61, 62]) last().hear({ type: "event", ...event(id) });
  assert.deepEqual(seen, [11, 61, 62]);
});

test("fills a gap from the feed, page by page, before what came meanwhile", async () => {
  const { begin, clock, last, seen, asked, world } = setUp();
  await begin();
  last().drop(4408);
  await clock.pass(500);
  world.feed = async (after) => ({ events: [event(after + 1), event(after + 2)], next_cursor: after + 2 });
  last().hear(welcome(14, "gap"));
  for (const id of [14, 15, 16]) last().hear({ type: "event", ...event(id) });
  await settle();
  assert.deepEqual(asked, [10, 12]);
  assert.deepEqual(seen, [11, 12, 13, 14, 15, 16]);
});

test("a feed that fails is asked again; one that forgot leads to loading anew", async () => {
  const { begin, clock, last, seen, world } = setUp();
  await begin();
  last().drop(1006);
  await clock.pass(500);
  const answers = [new NetworkError("gone"), new ApiError(410, "cursor_expired", "too old")];
  world.feed = async () => {
    throw answers.shift() ?? new Error("asked too often");
  };
  last().hear(welcome(900, "gap"));
  last().hear({ type: "event", ...event(901) });
  await clock.pass(2_000);
  assert.equal(world.resets, 2);
  assert.deepEqual(seen, [901]);
});

test("a server whose history is not ours is believed", async () => {
  const { begin, clock, last, seen, world } = setUp();
  await begin(500);
  last().drop(1006);
  await clock.pass(500);
  last().hear(welcome(3, "gap"));
  await settle();
  last().hear({ type: "event", ...event(4) });
  assert.equal(world.resets, 2);
  assert.deepEqual(seen, [4]);
});

test("waits as long as a restarting server asks", async () => {
  const { begin, clock, last, sockets } = setUp();
  await begin();
  last().drop(1012, "retry_after_ms=3700");
  await clock.pass(3_699);
  assert.equal(sockets.length, 1);
  await clock.pass(1);
  assert.equal(sockets.length, 2);
});

test("a refused or an old token is not used again, a revoked session ends", async () => {
  const { begin, clock, last, live, sockets } = setUp();
  await begin();
  last().drop(4402);
  await clock.pass(300);
  assert.equal(last().sent[0]?.["token"], "t2");
  last().drop(4401);
  await clock.pass(2_000);
  assert.equal(last().sent[0]?.["token"], "t3");
  last().drop(4403);
  await clock.pass(600_000);
  assert.equal(live.state, "ended");
  assert.equal(sockets.length, 3);
});

test("hands over a fresh token before the old one ends, on the same socket", async () => {
  const { begin, clock, last, sockets } = setUp();
  await begin();
  for (let minute = 0; minute < 60 * 3; minute++) {
    await clock.pass(20_000);
    last().hear({ type: "pong" });
  }
  assert.equal(sockets.length, 1);
  assert.deepEqual(last().sent.find(({ type }) => type === "refresh"), { type: "refresh", token: "t2" });
});

test("a silent line is asked, then left", async () => {
  const { begin, clock, last, live } = setUp();
  await begin();
  await clock.pass(25_000);
  assert.deepEqual(last().sent.at(-1), { type: "ping" });
  last().hear({ type: "pong" });
  await clock.pass(25_000 + 10_000);
  assert.equal(last().closed, true);
  assert.equal(live.state, "offline");
});

test("the waits grow, and end at once when the network is back", async () => {
  const { clock, last, live, sockets } = setUp();
  live.start();
  await settle();
  for (const wait of [500, 1_000, 2_000]) {
    last().drop(1006);
    await clock.pass(wait - 1);
    assert.ok(last().closed);
    await clock.pass(1);
  }
  last().drop(1006);
  live.nudge();
  await settle();
  assert.equal(sockets.length, 5);
});
