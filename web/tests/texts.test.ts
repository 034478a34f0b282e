import assert from "node:assert/strict";
import { test } from "node:test";
import { languages, pickLanguage, Translator } from "../src/demo/texts.ts";

test("the address counts before the browser's languages, and English is the last resort", () => {
  assert.equal(pickLanguage("?lang=en", ["ru-RU"]), "en");
  assert.equal(pickLanguage("", ["de-DE", "ru-RU", "en"]), "ru");
  assert.equal(pickLanguage("?lang=xx", ["de"]), "en");
});

test("every language has every text, with the same placeholders", () => {
  const flat = (text: string | object): string => (typeof text === "string" ? text : Object.values(text).join());
  const holes = (text: string | object): string[] => [...new Set(flat(text).match(/\{\w+\}/g) ?? [])].sort();
  const { en, ...others } = languages as Record<string, Record<string, string | object>>;
  for (const [code, texts] of Object.entries(others)) {
    for (const [key, text] of Object.entries(en ?? {})) {
      assert.deepEqual(holes(texts[key] ?? ""), holes(text), `${code}: ${key}`);
      assert.notEqual(flat(texts[key] ?? ""), "", `${code}: ${key}`);
    }
  }
});

test("counts take the right plural", () => {
  const russian = new Translator("ru");
  assert.deepEqual([1, 3, 5, 21].map((n) => russian.count("unread", n).split(" ")[1]), [
    "непрочитанное", "непрочитанных", "непрочитанных", "непрочитанное",
  ]);
});
