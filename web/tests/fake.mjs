// A stand-in for both daemons, kept in memory, so that the demo page can be worked on without them:
//   npm run fake        then open http://127.0.0.1:8190/demo
// It speaks as much of api.md and protocols.md as the page uses. `POST /fake/cut` cuts every socket, and
// `POST /fake/refuse?n=3` answers the next three posts with 503, after having stored them.
import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import { WebSocketServer } from "ws";

const port = Number(process.env.PORT ?? 8190);
const types = { html: "text/html; charset=utf-8", js: "text/javascript", css: "text/css", svg: "image/svg+xml" };
const policy =
  "default-src 'self'; connect-src 'self' ws: wss:; style-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'";
const users = {
  customer: { id: "demo-customer", name: "Mira Lindqvist", role: "customer" },
  vendor: { id: "demo-vendor-admin", name: "Jonas Okafor", role: "vendor_admin" },
};
const vendor = { id: "demo-vendor", name: "Kiln & Co.", avatar_url: null };
const subject = { type: "product", id: "demo-product", title: "Tideline stoneware teapot, 0.9 l" };

const threads = [];
const messages = [];
const events = [];
const sockets = new Set();
const readUpTo = {};
let refuse = 0;
const now = () => new Date().toISOString();
const other = (as) => (as === "customer" ? "vendor" : "customer");

function emit(event, data, to, durable = true) {
  const id = durable ? events.length + 1 : null;
  const frame = { type: "event", id, event, at: now(), data };
  if (durable) events.push({ to, frame });
  for (const socket of sockets) if (to.includes(socket.as)) socket.send(JSON.stringify(frame));
}

const unread = (as) =>
  messages.filter((m) => m.author.id !== users[as].id && m.id > (readUpTo[as] ?? 0)).length;
const view = (message) => ({
  ...message,
  read_at: message.id <= (readUpTo[message.author.role === "customer" ? "vendor" : "customer"] ?? 0) ? now() : null,
});
const viewThread = (thread, as) => ({ ...thread, last_message: messages.at(-1) ?? null, unread_count: unread(as) });

const calls = {
  "GET v1/threads": ({ as }) => [200, { threads: threads.map((each) => viewThread(each, as)), next_cursor: null }],
  "POST v1/threads": ({ as, body }) => {
    if (threads[0]) return [200, viewThread(threads[0], as)];
    const { id, name } = users.customer;
    const customer = { id, name, avatar_url: null };
    const thread = { id: 1042, subject: body.subject, customer, vendor, status: "open", last_message: null, created_at: now(), updated_at: now() };
    threads.push(thread);
    emit("thread.created", thread, ["customer", "vendor"]);
    return [201, viewThread(thread, as)];
  },
  "GET v1/threads/1042": ({ as }) => [200, viewThread(threads[0], as)],
  "GET v1/threads/1042/messages": ({ query }) => {
    const before = Number(query.get("before") ?? Infinity);
    const all = messages.filter((m) => m.id < before).map(view);
    return [200, { messages: all.slice(-30), next_cursor: all.length > 30 ? "more" : null }];
  },
  "POST v1/threads/1042/messages": ({ as, body }) => {
    const old = messages.find((m) => m.client_id === body.client_id);
    if (!old) {
      const { id, name, role } = users[as];
      const message = { id: messages.length + 1, thread_id: 1042, author: { id, name, role, avatar_url: null }, text: body.text, flagged: false,
        client_id: body.client_id, created_at: now(), edited_at: null, deleted_at: null, read_at: null };
      messages.push(message);
      threads[0].updated_at = now();
      emit("message.created", message, ["customer", "vendor"]);
      const n = unread(other(as));
      emit("unread.changed", { thread_id: 1042, unread_count: n, total: n }, [other(as)]);
    }
    if (refuse > 0) return refuse--, [503, { code: "busy", detail: "asked to refuse" }];
    return [old ? 200 : 201, view(messages.find((m) => m.client_id === body.client_id))];
  },
  "POST v1/threads/1042/read": ({ as, body }) => {
    readUpTo[as] = Math.max(readUpTo[as] ?? 0, body.up_to);
    emit("thread.read", { thread_id: 1042, user_id: users[as].id, up_to: body.up_to, read_at: now() }, ["customer", "vendor"]);
    emit("unread.changed", { thread_id: 1042, unread_count: unread(as), total: unread(as) }, [as]);
    return [200, { unread_count: unread(as) }];
  },
  "POST v1/threads/1042/typing": ({ as }) => {
    const { id, name } = users[as];
    emit("typing", { thread_id: 1042, user: { id, name } }, [other(as)], false);
    return [204];
  },
  "GET v1/presence": ({ query }) => {
    const here = (id) => [...sockets].some(({ as }) => users[as].id === id);
    return [200, { users: query.get("user_ids").split(",").map((id) => ({ user_id: id, online: here(id), last_seen_at: null })), grant: "g" }];
  },
  "GET v1/events": ({ as, query }) => {
    const page = events.filter(({ to, frame }) => frame.id > Number(query.get("after")) && to.includes(as)).slice(0, 5);
    return [200, { events: page.map(({ frame: { type: _, ...event } }) => event), next_cursor: page.length < 5 ? events.length : page.at(-1).frame.id }];
  },
};

async function answer(request) {
  const url = new URL(request.url, "http://x");
  const path = url.pathname.slice(1);
  let text = "";
  for await (const chunk of request) text += chunk;
  const body = text === "" ? null : JSON.parse(text);
  if (path === "demo" || path.startsWith("assets/")) {
    const name = path === "demo" ? "demo.html" : path.slice("assets/".length);
    return [200, await readFile(new URL(`../dist/${name}`, import.meta.url)), types[name.split(".").pop()]];
  }
  if (path === "demo/session") {
    const session = { token: body.as, expires_at: new Date(Date.now() + 3_600_000).toISOString() };
    return [201, { ...session, websocket_url: `ws://127.0.0.1:${port}/ws`, user: users[body.as], vendor, subject }];
  }
  if (path === "fake/cut") return sockets.forEach((socket) => socket.terminate()), [204];
  if (path === "fake/refuse") return (refuse = Number(url.searchParams.get("n"))), [204];
  const as = request.headers.authorization?.replace("Bearer ", "");
  return calls[`${request.method} ${path}`]?.({ as, body, query: url.searchParams }) ?? [404, { code: "not_found" }];
}

const server = createServer(async (request, response) => {
  const [status, body, type] = await answer(request).catch(() => [404, { code: "not_found" }]);
  response.writeHead(status, { "content-type": type ?? "application/json", "content-security-policy": policy });
  response.end(body === undefined ? undefined : Buffer.isBuffer(body) ? body : JSON.stringify(body));
});

new WebSocketServer({ server, handleProtocols: () => "chaffer.v1" }).on("connection", (socket) => {
  const say = (frame) => socket.send(JSON.stringify(frame));
  socket.on("close", () => sockets.delete(socket));
  socket.on("message", (data) => {
    const frame = JSON.parse(data);
    if (frame.type === "ping") return say({ type: "pong" });
    if (frame.type !== "auth") return;
    socket.as = frame.token;
    sockets.add(socket);
    // Never from memory: whoever comes back has to read the feed.
    say({ type: "welcome", session: "s", user_id: users[socket.as].id, expires_at: now(), last: events.length, resume: frame.after === undefined ? "none" : "gap" });
  });
});
server.listen(port, "127.0.0.1", () => console.log(`ready http://127.0.0.1:${port}/demo`));
