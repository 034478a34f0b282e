// The README's table of features names tests; each has to be there.
import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { test } from "node:test";

const root = fileURLToPath(new URL("../../", import.meta.url));

async function sources(folder) {
  const files = await readdir(root + folder, { recursive: true });
  const rust = files.filter((file) => file.endsWith(".rs") && !file.includes("target/"));
  return (await Promise.all(rust.map((file) => readFile(`${root}${folder}/${file}`, "utf8")))).join("\n");
}

test("every test that the table of features names is there", async () => {
  const readme = await readFile(`${root}README.md`, "utf8");
  const table = readme.split("## What it does")[1]?.split("\n## ")[0] ?? "";
  const rows = table.split("\n").filter((line) => /^\|.*`.*\|$/.test(line));
  assert.ok(rows.length >= 20, `only ${rows.length} features`);
  const code = (await sources("tests")) + (await sources("crates"));
  for (const row of rows) {
    const named = [...row.split("|").at(-2).matchAll(/`(\w+)`/g)].map(([, name]) => name);
    assert.ok(named.length > 0, `no test shows: ${row}`);
    for (const name of named) assert.ok(code.includes(`fn ${name}(`), `there is no test ${name}`);
  }
});
