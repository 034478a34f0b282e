//! The pushers and readers of real shops: php-zmq, pyzmq (both libzmq), the crate `zeromq`, and the WAMP v1 client
//! `wamp1`. What comes out at the readers is byte for byte what PHP or Python wrote.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout};
use zeromq::{Socket, SocketSend};

use crate::support::*;

/// As shops write it. Prints what it pushes, a JSON text a line.
const PHP_PUSHER: &str = r#"
$push = new ZMQSocket(new ZMQContext(), ZMQ::SOCKET_PUSH);
$push->setSockOpt(ZMQ::SOCKOPT_LINGER, 2000);
$push->connect($argv[1]);
$event = [
    'category' => 'kittens', 'text' => "жар-птица «Ünïcödé» \u{1F431} </script>", 'url' => 'https://shop.example/a?b=1&c',
    'empty' => [], 'object' => new stdClass(), 'price' => 10.0, 'rate' => 0.1, 'null' => null, 'quote' => "\"\\\n\t",
    'list' => [1, 'two', ['three' => 3]],
];
foreach ([0, JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES, JSON_PRETTY_PRINT | JSON_PRESERVE_ZERO_FRACTION] as $flags) {
    $json = json_encode($event, $flags);
    $push->send($json, ZMQ::MODE_DONTWAIT);
    echo json_encode($json), "\n";
}
"#;

/// The same from Python. pyzmq does not end a context by itself when the interpreter exits (24.0, `Context.__del__`): without
/// the last line, what was not sent by then is lost, also to libzmq's own PULL, whatever LINGER says.
const PYTHON_PUSHER: &str = r#"
import json, sys, zmq
context = zmq.Context()
push = context.socket(zmq.PUSH)
push.setsockopt(zmq.LINGER, 2000)
push.connect(sys.argv[1])
event = {"text": "жар-птица \U0001f431", "category": "kittens", "empty": [], "n": 1e300, "f": 1.50, "no": None}
for options in [{}, {"ensure_ascii": False}, {"indent": 1, "sort_keys": True}]:
    text = json.dumps(event, **options)
    push.send(text.encode())
    print(json.dumps(text))
context.destroy()
"#;

/// One message and the end, after so many milliseconds of LINGER: the PHP of a checkout page.
const SHORT_PUSHER: &str = r#"
$push = new ZMQSocket(new ZMQContext(1, false), ZMQ::SOCKET_PUSH);
$push->setSockOpt(ZMQ::SOCKOPT_LINGER, (int) $argv[2]);
$push->connect($argv[1]);
$push->send('{"category":"kittens"}', ZMQ::MODE_DONTWAIT);
"#;

#[derive(Clone, Copy)]
enum Language {
    Php,
    /// Debian's, since python3-zmq is.
    Python,
}

impl Language {
    fn is_installed(self) -> bool {
        let (check, package) = match self {
            Self::Php => ("exit(class_exists('ZMQSocket') ? 0 : 1);", "php-zmq"),
            Self::Python => ("import zmq", "python3-zmq"),
        };
        let status = self.command(check).stderr(Stdio::null()).status();
        !missing(package, status.is_ok_and(|status| status.success()))
    }

    fn command(self, text: &str) -> Command {
        let (program, flags, end) = match self {
            Self::Php => ("php", "-r", &["--"][..]),
            Self::Python => ("/usr/bin/python3", "-c", &[][..]),
        };
        let mut command = Command::new(program);
        command.args([flags, text]).args(end);
        command
    }

    /// Runs a script, which is told the pusher port's address, to its end: the lines that it printed.
    async fn run(self, text: &str, daemon: &Daemon, arguments: &[&str]) -> Vec<String> {
        let mut command = self.command(text);
        command.arg(format!("tcp://{}", daemon.pusher)).args(arguments);
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
    }
}

/// A page with the client `wamp1`, in Node.js.
struct OldPage {
    lines: Lines<BufReader<ChildStdout>>,
    _node: Child,
}

impl OldPage {
    /// `None` when it is not installed.
    async fn open(daemon: &Daemon, topic: &str) -> Option<Self> {
        let web = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../web");
        if missing("npm's wamp1", web.join("node_modules/wamp1").is_dir()) {
            return None;
        }
        let mut node = tokio::process::Command::new("node")
            .arg(web.join("tests/old-page.mjs"))
            .args([&format!("ws://{}/ws", daemon.websocket), topic])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = BufReader::new(node.stdout.take().unwrap()).lines();
        let mut page = Self { lines, _node: node };
        assert!(page.next().await["ready"].as_str().unwrap().starts_with("chaffer/"));
        Some(page)
    }

    async fn next(&mut self) -> Value {
        let line = soon("a line of the page", self.lines.next_line()).await.unwrap();
        serde_json::from_str(&line.unwrap()).unwrap()
    }
}

async fn arrives_unchanged(language: Language, text: &str) {
    let daemon = Daemon::start().await;
    if !language.is_installed() {
        return;
    }
    let Some(mut page) = OldPage::open(&daemon, "kittens").await else { return };
    let (mut native, _) = daemon.member(&token("7"), None).await;
    native.say(r#"{"type":"subscribe","topic":"kittens"}"#).await;
    assert_eq!(native.json().await["type"], "subscribed");
    let pushed = language.run(text, &daemon, &[]).await;
    assert_eq!(pushed.len(), 3);
    for line in pushed {
        let message: String = serde_json::from_str(&line).unwrap();
        let heard = page.next().await;
        assert_eq!(heard["raw"], format!(r#"[8,"kittens",{message}]"#));
        let understood: Value = serde_json::from_str(&message).unwrap();
        assert_eq!(heard["event"]["text"], understood["text"]);
        assert_eq!(heard["event"]["empty"], json!([]));
        let frame = native.text().await;
        assert!(
            frame.starts_with(r#"{"type":"event","id":null,"event":"legacy","at":""#),
            "{frame}"
        );
        assert!(frame.ends_with(&format!(r#"","topic":"kittens","data":{message}}}"#)), "{frame}");
    }
}

#[tokio::test]
async fn r16_what_php_pushes_reaches_old_pages_and_native_clients_byte_for_byte() {
    arrives_unchanged(Language::Php, PHP_PUSHER).await;
}

#[tokio::test]
async fn r16_what_python_pushes_reaches_old_pages_and_native_clients_byte_for_byte() {
    arrives_unchanged(Language::Python, PYTHON_PUSHER).await;
}

/// So many of fifty pushers, each a PHP process of its own, got their message through.
async fn fifty_short_lived(daemon: &Daemon, linger: u32) -> u64 {
    let before = daemon.metrics.legacy_events.get();
    for _ in 0..50 {
        Language::Php.run(SHORT_PUSHER, daemon, &[&linger.to_string()]).await;
    }
    // None is there any more, so no more messages can come.
    until("the end of the pushers", async || daemon.metrics.pushers.get() == 0).await;
    let arrived = daemon.metrics.legacy_events.get() - before;
    let _ = writeln!(std::io::stderr(), "LINGER {linger:>3} ms: {arrived} of 50 arrived");
    arrived
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_short_lived_php_pushers_with_linger_100_all_arrive() {
    let daemon = Daemon::start().await;
    if !Language::Php.is_installed() {
        return;
    }
    // PHP's clock runs while the machine is busy with other tests and gives the daemon no turn: hence three goes.
    let mut all_arrived = false;
    for _ in 0..3 {
        all_arrived = all_arrived || fifty_short_lived(&daemon, 100).await == 50;
    }
    assert!(all_arrived);
    for linger in [10, 1, 0] {
        fifty_short_lived(&daemon, linger).await;
    }
}

#[tokio::test]
async fn libzmq_with_heartbeats_and_the_crate_zeromq_stay_connected() {
    if !Language::Python.is_installed() {
        return;
    }
    let daemon = Daemon::start().await;
    let mut push = zeromq::PushSocket::new();
    push.connect(&format!("tcp://{}", daemon.pusher)).await.unwrap();
    let heartbeats = r#"
import sys, zmq
context = zmq.Context()
push = context.socket(zmq.PUSH)
push.setsockopt(zmq.HEARTBEAT_IVL, 50)
push.setsockopt(zmq.HEARTBEAT_TTL, 1000)
push.setsockopt(zmq.HEARTBEAT_TIMEOUT, 500)
push.setsockopt(zmq.LINGER, 2000)
events = push.get_monitor_socket(zmq.EVENT_DISCONNECTED)
push.connect(sys.argv[1])
for n in range(1000):
    push.send(b'{"category":"a","n":%d}' % n)
# Thirty heartbeats, three times the time-out.
assert not events.poll(1500), "disconnected"
push.send(b'{"category":"last"}')
context.destroy()
"#;
    let mut id = 0;
    let mut publish = async || {
        id += 1;
        let frame = chaffer_shared::event::Frame::Event(event(Some(id), &["user:7"], "x", "{}"));
        push.send(signed(&frame).into()).await.unwrap();
        daemon.at(id).await;
    };
    publish().await;
    Language::Python.run(heartbeats, &daemon, &[]).await;
    until("the messages", async || daemon.metrics.legacy_events.get() == 1001).await;
    publish().await;
    assert_eq!(daemon.metrics.pushers_accepted.get(), 2, "neither had to connect again");
    until("the end of libzmq's", async || daemon.metrics.pushers.get() == 1).await;
}

/// The same with PHP's own options; its heartbeats are those of libzmq.
#[tokio::test]
async fn php_with_heartbeats_stays_connected() {
    if !Language::Php.is_installed() {
        return;
    }
    let daemon = Daemon::start().await;
    let text = r#"
$push = new ZMQSocket(new ZMQContext(), ZMQ::SOCKET_PUSH);
$push->setSockOpt(ZMQ::SOCKOPT_LINGER, 2000);
$push->setSockOpt(ZMQ::SOCKOPT_HEARTBEAT_IVL, 50);
$push->setSockOpt(ZMQ::SOCKOPT_HEARTBEAT_TTL, 1000);
$push->connect($argv[1]);
$push->send('{"category":"first"}');
usleep(500000);
$push->send('{"category":"last"}');
"#;
    Language::Php.run(text, &daemon, &[]).await;
    until("the messages", async || daemon.metrics.legacy_events.get() == 2).await;
    assert_eq!(daemon.metrics.pushers_accepted.get(), 1, "it never had to connect again");
}

#[tokio::test]
async fn native_clients_hear_the_legacy_topics_that_are_listed_until_they_unsubscribe() {
    let daemon = Daemon::start().await;
    let (mut client, _) = daemon.member(&token("7"), None).await;
    let (mut other, _) = daemon.member(&token("8"), None).await;
    for topic in ["dogs", "user:8", "staff"] {
        client.say(&json!({"type": "subscribe", "topic": topic}).to_string()).await;
        assert_eq!(client.json().await["code"], "topic_not_allowed");
    }
    assert_eq!(daemon.metrics.legacy_refused.get(), 3);
    for topic in ["kittens", "kittens", "kittens/2"] {
        client.say(&json!({"type": "subscribe", "topic": topic}).to_string()).await;
        assert_eq!(client.json().await, json!({"type": "subscribed", "topic": topic}));
    }
    let mut pusher = daemon.pusher().await;
    pusher.push(br#"{"category":"kittens","n":1}"#).await;
    let first = client.json().await;
    assert_eq!((&first["event"], &first["topic"]), (&json!("legacy"), &json!("kittens")));
    client.say(r#"{"type":"unsubscribe","topic":"kittens"}"#).await;
    assert_eq!(client.json().await, json!({"type": "unsubscribed", "topic": "kittens"}));
    pusher.push(br#"{"category":"kittens","n":2}"#).await;
    pusher.push(br#"{"category":"kittens/2","n":3}"#).await;
    assert_eq!(client.json().await["data"]["n"], 3);
    other.settle().await;
    // It leaves nothing behind.
    drop(client);
    until("its end", async || daemon.metrics.sessions.get() == 1).await;
    let (_, topics) = daemon.get("/debug/topics").await;
    assert!(!topics.contains("kittens"), "{topics}");
}
