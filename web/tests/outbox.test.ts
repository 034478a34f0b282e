import assert from "node:assert/strict";
import { test } from "node:test";
import { ApiError, NetworkError } from "../src/client/errors.ts";
import { type Draft, Outbox } from "../src/client/outbox.ts";
import type { Message } from "../src/client/types.ts";
import { settle, TestClock } from "./support.ts";

const message = (draft: Draft): Message =>
  ({ id: 1, thread_id: 1, author: null, text: draft.text, client_id: draft.client_id, created_at: "" });

function setUp(answers: (Error | "ok")[]) {
  const clock = new TestClock();
  const posted: string[] = [];
  const sent: string[] = [];
  const outbox = new Outbox({
    clock,
    attempts: 4,
    onChange: () => undefined,
    onSent: ({ text }) => sent.push(text),
    post: async (draft) => {
      posted.push(`${draft.text} ${draft.client_id}`);
      const answer = answers.shift() ?? "ok";
      if (answer !== "ok") throw answer;
      return message(draft);
    },
  });
  return { clock, outbox, posted, sent };
}

test("tries again under the same client_id, and keeps the order", async () => {
  const busy = new ApiError(503, "busy", "", [], null, 2_000);
  const { clock, outbox, posted, sent } = setUp([new NetworkError("gone"), busy, "ok", "ok"]);
  const [a, b] = [outbox.add("a"), outbox.add("b")];
  await clock.pass(400);
  assert.equal(posted.length, 2);
  await clock.pass(1_999);
  assert.equal(posted.length, 2);
  await clock.pass(1);
  assert.deepEqual(posted, [`a ${a.client_id}`, `a ${a.client_id}`, `a ${a.client_id}`, `b ${b.client_id}`]);
  assert.deepEqual(sent, ["a", "b"]);
  assert.deepEqual(outbox.drafts, []);
});

test("a refusal is final until the writer tries again, and holds up nothing else", async () => {
  const { outbox, posted, sent } = setUp([new ApiError(403, "messaging_disabled", "no"), "ok", "ok"]);
  const a = outbox.add("a");
  outbox.add("b");
  await settle();
  assert.deepEqual([a.state, a.code], ["failed", "messaging_disabled"]);
  assert.deepEqual(sent, ["b"]);
  outbox.retry(a.client_id);
  await settle();
  assert.deepEqual(sent, ["b", "a"]);
  assert.equal(posted[0], posted[2]);
});

test("gives up after so many attempts", async () => {
  const { clock, outbox, posted } = setUp(Array.from({ length: 9 }, () => new NetworkError("gone")));
  const draft = outbox.add("a");
  await clock.pass(60_000);
  assert.equal(posted.length, 4);
  assert.deepEqual([draft.state, draft.code], ["failed", "network"]);
});

test("a message that its event reports is not sent again", async () => {
  const { clock, outbox, posted } = setUp([new NetworkError("the answer was lost")]);
  const draft = outbox.add("a");
  await settle();
  outbox.settle(draft.client_id);
  await clock.pass(60_000);
  assert.equal(posted.length, 1);
  assert.deepEqual(outbox.drafts, []);
});
