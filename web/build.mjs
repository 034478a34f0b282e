// Bundles the pages into dist/, or with `tests` the unit tests into node_modules/.cache.
import { mkdir, readFile, readdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const root = dirname(fileURLToPath(import.meta.url));
const common = { absWorkingDir: root, bundle: true, format: "esm", write: false, logLevel: "warning" };

// The API embeds dist/: a file that stays the same keeps its date, so that cargo has nothing to do again.
async function put(path, bytes) {
  const old = await readFile(path).catch(() => null);
  if (old?.equals(bytes)) return;
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, bytes);
}

async function bundle(options) {
  const { outputFiles } = await build({ ...common, ...options });
  for (const file of outputFiles) await put(file.path, Buffer.from(file.contents));
}

if (process.argv[2] === "tests") {
  const tests = (await readdir(join(root, "tests"))).filter((name) => name.endsWith(".test.ts"));
  await bundle({
    entryPoints: tests.map((name) => `tests/${name}`),
    outdir: "node_modules/.cache/chaffer-tests",
    outExtension: { ".js": ".mjs" },
    platform: "node",
  });
} else {
  await bundle({
    entryPoints: ["src/demo/demo.ts", "src/demo/demo.css"],
    outdir: "dist",
    minify: true,
    target: ["es2022", "chrome109", "firefox115", "safari16"],
  });
  for (const name of ["demo.html", "icon.svg"]) {
    await put(join(root, "dist", name), await readFile(join(root, "src/demo", name)));
  }
}
