// scripts/run with pretended cargo, npm and daemons: whoever stops it and whenever, nothing is left running.
//   node --test scripts/tests/
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { chmodSync, cpSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, readlinkSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, test } from "node:test";
import { fileURLToPath } from "node:url";

const repository = fileURLToPath(new URL("../../", import.meta.url));
let bed;
let ports;
const started = [];

const DAEMON = `
const [name, first] = process.argv.slice(2);
if (first === "init") process.exit(0);
console.log(name, "starts");
if (process.env.FAKE_BROKEN === name) { console.log("cannot bind, says the fake"); process.exit(3); }
process.on("SIGINT", () => {});
process.on("SIGTERM", () => process.env.FAKE_STUBBORN || process.exit(0));
const [host, port] = process.env[name === "chaffer-api" ? "CHAFFER_API_LISTEN" : "CHAFFER_PUSH_HTTP_LISTEN"].split(":");
require("node:http").createServer((_, answer) => answer.end("ok")).listen(port, host);
`;

async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return `127.0.0.1:${port}`;
}

before(async () => {
  bed = mkdtempSync(join(tmpdir(), "chaffer-run-"));
  for (const path of ["scripts", "web/node_modules", "target/release", "bin"]) mkdirSync(join(bed, path), { recursive: true });
  cpSync(join(repository, "Makefile"), join(bed, "Makefile"));
  cpSync(join(repository, "scripts/run"), join(bed, "scripts/run"));
  writeFileSync(join(bed, "web/package-lock.json"), "{}");
  const program = (path, text) => {
    writeFileSync(join(bed, path), `#!/usr/bin/env bash\n${text}\n`);
    chmodSync(join(bed, path), 0o755);
  };
  // A compiler that its driver does not take along when it dies.
  program("bin/cargo", '[[ -z ${FAKE_SLOW:-} ]] || { sleep 297 & sleep 297; }\n[[ -z ${FAKE_FAILS:-} ]]');
  program("bin/npm", "exit 0");
  writeFileSync(join(bed, "daemon.cjs"), DAEMON);
  for (const name of ["chaffer-api", "chaffer-push"]) program(`target/release/${name}`, `exec node '${bed}/daemon.cjs' ${name} "$@"`);
  const names = ["CHAFFER_API_LISTEN", "CHAFFER_PUSH_HTTP_LISTEN", "CHAFFER_PUSH_WEBSOCKET_LISTEN", "CHAFFER_PUSH_PUSHER_LISTEN"];
  ports = Object.fromEntries(await Promise.all(names.map(async (name) => [name, await freePort()])));
});
afterEach(() => {
  // What a failed test left.
  for (const run of started.splice(0)) if (run.end === null) run.child.kill("SIGTERM");
});
after(() => rmSync(bed, { recursive: true, force: true }));

/** What of ours still runs: everything that was started has the folder as its working directory. */
function running() {
  const found = [];
  for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    try {
      const line = readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ");
      if (line !== "" && readlinkSync(`/proc/${pid}/cwd`) === bed) found.push(line);
    } catch {
      // It has ended meanwhile.
    }
  }
  return found;
}
const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
async function until(what, condition, ms = 12_000) {
  for (const end = Date.now() + ms; !(await condition()); await wait(50)) if (Date.now() > end) assert.fail(`not in time: ${what}`);
}

function start(command, env = {}) {
  const environment = { ...process.env, ...ports, PATH: `${bed}/bin:${process.env.PATH}`, ...env };
  delete environment.CARGO_TARGET_DIR;
  // Under `make test` this would make the inner make speak of itself.
  delete environment.MAKEFLAGS;
  const child = spawn(command[0], command.slice(1), { cwd: bed, env: environment, detached: true, stdio: ["ignore", "pipe", "pipe"] });
  const run = { child, out: "", err: "", end: null };
  child.stdout.on("data", (data) => (run.out += data));
  child.stderr.on("data", (data) => (run.err += data));
  child.on("exit", (code, signal) => (run.end = { code, signal }));
  started.push(run);
  return run;
}
const isReady = (run) => run.out.endsWith(`ready http://${ports.CHAFFER_API_LISTEN}/demo\n`);
const ready = (run) => until(`ready\n${run.err}`, () => isReady(run));
const script = ["scripts/run"];
const make = ["make", "run"];

async function ends(run, expected) {
  await until("the end", () => run.end !== null);
  assert.deepEqual(run.end, expected);
  await until("nothing left", () => running().length === 0);
}

const stops = [
  ["SIGTERM to make", make, (run) => run.child.kill("SIGTERM"), { code: null, signal: "SIGTERM" }],
  ["SIGKILL to make", make, (run) => run.child.kill("SIGKILL"), { code: null, signal: "SIGKILL" }],
  ["Ctrl-C", make, (run) => process.kill(-run.child.pid, "SIGINT"), { code: null, signal: "SIGINT" }],
  ["a closed terminal", make, (run) => process.kill(-run.child.pid, "SIGHUP"), { code: null, signal: "SIGHUP" }],
  ["SIGTERM to the script", script, (run) => run.child.kill("SIGTERM"), { code: 0, signal: null }],
  ["SIGKILL to the script", script, (run) => run.child.kill("SIGKILL"), { code: null, signal: "SIGKILL" }],
];
for (const [name, command, stop, expected] of stops) {
  test(`${name} stops everything, and "ready" was the last line`, async () => {
    const run = start(command);
    await ready(run);
    stop(run);
    await ends(run, expected);
    assert.ok(isReady(run));
    assert.equal(statSync(join(bed, "data")).mode & 0o777, 0o700);
  });
}

for (const [name, command, stop, expected] of stops.slice(0, 5)) {
  test(`${name} during the build stops the compilers, too`, async () => {
    const run = start(command, { FAKE_SLOW: "1" });
    await until("the build", () => running().filter((line) => line.startsWith("sleep")).length === 2);
    stop(run);
    await ends(run, expected);
  });
}

test("what dies is started again", async () => {
  const run = start(script);
  await ready(run);
  for (const name of ["chaffer-api", "chaffer-push"]) {
    execFileSync("pkill", ["-9", "-f", `${bed}/daemon.cjs ${name}`]);
    await until(`${name} again`, () => run.err.includes(`${name} ended`) && running().some((line) => line.includes(`cjs ${name}`)));
  }
  run.child.kill("SIGTERM");
  await ends(run, { code: 0, signal: null });
});

test("a daemon that ignores SIGTERM is killed", async () => {
  const run = start(script, { FAKE_STUBBORN: "1" });
  await ready(run);
  run.child.kill("SIGTERM");
  await ends(run, { code: 0, signal: null });
  assert.match(run.err, /did not stop in 8 seconds/);
});

test("a daemon that cannot start is given up, with the end of its log", async () => {
  const run = start(script, { FAKE_BROKEN: "chaffer-push" });
  await ends(run, { code: 1, signal: null });
  assert.match(run.err, /cannot bind, says the fake[^]*chaffer-push cannot start/);
  assert.ok(!isReady(run));
});

test("a port in use is named before anything is started", async () => {
  const [host, port] = ports.CHAFFER_API_LISTEN.split(":");
  const other = createServer().listen(Number(port), host);
  const run = start(script);
  await ends(run, { code: 1, signal: null });
  other.close();
  assert.match(run.err, new RegExp(`${host}:${port} is in use already`));
});

test("a build that fails ends the run", async () => {
  const run = start(script, { FAKE_FAILS: "1" });
  await ends(run, { code: 1, signal: null });
  assert.match(run.err, /'cargo build .*' failed/);
});

test("the recipe is one command, so that make's child is the script", () => {
  assert.match(readFileSync(join(repository, "Makefile"), "utf8"), /\nrun:\n\t@scripts\/run\n\n/);
});
