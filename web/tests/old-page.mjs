// A page of the PHP daemon's time, for the tests of the push daemon: the WAMP v1 client `wamp1` subscribes to topics
// and prints, a line each, what it hears: {"raw": the frame as it came, "event": what wamp1 made of it}.
//   node old-page.mjs ws://127.0.0.1:8091/ws TOPIC...
// The first line says that the subscriptions hold.
import Wamp from "wamp1";
import WebSocket from "ws";

const [url, ...topics] = process.argv.slice(2);
const print = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);
const socket = new WebSocket(url, "wamp");
let raw;
socket.on("message", (frame) => (raw = frame.toString()));
socket.on("close", () => process.exit());
socket.on("error", (error) => {
  console.error(error.message);
  process.exit(1);
});

const page = new Wamp(socket, ({ server }) => {
  for (const topic of topics) page.subscribe(topic, (event) => print({ raw, event }));
  // A call is always answered, and behind the subscriptions.
  page.call("http://shop.example/none", (error) => print({ ready: server, error: error.message }));
});
