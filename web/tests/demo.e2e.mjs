// The demo page in a real browser, against a running stack: DEMO_URL=http://127.0.0.1:8090 npm run e2e
import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const base = (process.env.DEMO_URL ?? "http://127.0.0.1:8090").replace(/\/(demo)?$/, "");
const pictures = fileURLToPath(new URL("../screenshots/", import.meta.url));
const flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const sizes = { phone: { width: 390, height: 844 }, desktop: { width: 1280, height: 800 } };
const PATIENCE_MS = 15_000;

// Chromium itself crashes now and then while it starts (SIGSEGV, before it has seen a page): that says nothing of the demo.
async function launch(attempts = 3) {
  try {
    return await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: flags });
  } catch (error) {
    if (attempts <= 1 || !/SIGSEGV/.test(error.message)) throw error;
    console.log("# Chromium crashed while it started: once more");
    return launch(attempts - 1);
  }
}

let browser;
before(async () => {
  await mkdir(pictures, { recursive: true });
  browser = await launch();
});
after(() => browser?.close());

// Errors the browser speaks of, a refused inline style or script (CSP) among them, fail the test.
async function open({ size = "desktop", scheme = "light", query = "?lang=en", mobile = size === "phone" } = {}) {
  const context = await browser.newContext({ viewport: sizes[size], colorScheme: scheme, hasTouch: mobile, isMobile: mobile, deviceScaleFactor: 2 });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  const complaints = [];
  page.on("console", (message) => message.type() === "error" && complaints.push(`${message.text()} (${message.location().url})`));
  page.on("pageerror", (error) => complaints.push(String(error)));
  await page.addInitScript(() => {
    addEventListener("securitypolicyviolation", (event) => console.error(`CSP: ${event.violatedDirective} ${event.blockedURI}`));
  });
  await page.goto(`${base}/demo${query}`);
  await page.locator('#shop-connection[data-state="online"]').waitFor({ state: "attached" });
  await page.locator('#desk-connection[data-state="online"]').waitFor({ state: "attached" });
  const close = async () => {
    await context.close();
    assert.deepEqual(complaints, []);
  };
  return { page, close, complaints };
}

const unique = (text) => `${text} ${Math.random().toString(36).slice(2, 8)}`;
const bubble = (page, side, text) => page.locator(`#${side} .message`, { hasText: text });
async function write(page, side, text) {
  const field = page.locator(`#${side} textarea`);
  await field.fill(text);
  await field.press("Enter");
}
const openThread = (page) => page.locator("#threads .thread").first().click();
async function sees(page, side, text) {
  await bubble(page, side, text).waitFor();
  assert.equal(await bubble(page, side, text).count(), 1, `"${text}" is there once`);
}
// The browser itself calls the failed requests errors; those were asked for.
const forgiveOffline = (complaints) =>
  complaints.splice(0, complaints.length, ...complaints.filter((line) => !/ERR_INTERNET_DISCONNECTED|ERR_NETWORK_CHANGED/.test(line)));
const readTicks = (page, side, text) => bubble(page, side, text).locator(".state-read").waitFor();

test("what the customer writes reaches the vendor, and the answer comes back", async () => {
  const { page, close } = await open();
  const question = unique("Does the lid stay on while pouring?");
  const answer = unique("It does, there is a small lock.");
  await page.getByRole("button", { name: /Contact vendor/ }).click();
  await write(page, "customer", question);
  await sees(page, "customer", question);

  // The vendor has not looked yet: an unread badge, one tick.
  await page.locator("#threads .badge").waitFor();
  await page.locator("#threads .last", { hasText: question }).waitFor();
  await bubble(page, "customer", question).locator(".state-sent").waitFor();
  await page.screenshot({ path: `${pictures}desktop-light-unread.png` });

  await openThread(page);
  await sees(page, "vendor", question);
  await readTicks(page, "customer", question);
  await page.locator("#threads .badge").waitFor({ state: "hidden" });

  await page.locator("#vendor textarea").pressSequentially("It", { delay: 30 });
  await page.locator("#customer .typing", { hasText: "is typing" }).waitFor();
  await write(page, "vendor", answer);
  await sees(page, "customer", answer);
  await page.locator("#customer textarea").focus();
  await readTicks(page, "vendor", answer);
  await page.locator("#journey-time", { hasText: /took \d+ ms/ }).waitFor();

  await page.reload();
  await page.getByRole("button", { name: /Contact vendor/ }).click();
  await sees(page, "customer", question);
  await sees(page, "customer", answer);
  await readTicks(page, "customer", question);
  await openThread(page);
  await sees(page, "vendor", question);
  await sees(page, "vendor", answer);
  await close();
});

test("a click on the button is not lost while the page still signs in", async () => {
  const { page, close } = await open();
  let answer;
  const held = new Promise((resolve) => (answer = resolve));
  await page.route(/\/demo\/session/, async (route) => {
    await held;
    await route.continue();
  });
  await page.reload();
  const contact = page.getByRole("button", { name: /Contact vendor/ });
  await contact.waitFor();
  assert.ok(await contact.isDisabled());
  const clicked = contact.click();
  answer();
  await clicked;
  await page.locator("#customer textarea").waitFor();
  await close();
});

test("a message that is markup stays text, and Shift+Enter breaks the line", async () => {
  const { page, close } = await open();
  await page.getByRole("button", { name: /Contact vendor/ }).click();
  const text = unique('<img src=x onerror="alert(1)"> & <b>bold</b>');
  const field = page.locator("#customer textarea");
  await field.fill(text);
  await field.press("Shift+Enter");
  await field.pressSequentially("second line");
  await field.press("Enter");
  await openThread(page);
  await sees(page, "vendor", text);
  assert.equal(await bubble(page, "vendor", text).locator(".text").textContent(), `${text}\nsecond line`);
  assert.equal(await page.locator(".message img, .message b").count(), 0);
  await close();
});

test("the vendor's second window and the first show the same, each message once and in order", async () => {
  const first = await open();
  const second = await open();
  await first.page.getByRole("button", { name: /Contact vendor/ }).click();
  const texts = Array.from({ length: 10 }, (_, n) => unique(`Number ${n}:`));
  for (const text of texts) await write(first.page, "customer", text);
  for (const { page } of [first, second]) {
    await openThread(page);
    await sees(page, "vendor", texts.at(-1));
    const seen = await page.locator("#vendor .message .text").allTextContents();
    assert.deepEqual(seen.filter((text) => texts.includes(text)), texts);
  }
  await first.close();
  await second.close();
});

test("a lost connection comes back by itself, with what was missed", async () => {
  const { page, complaints, close } = await open();
  await page.getByRole("button", { name: /Contact vendor/ }).click();
  await openThread(page);
  await page.context().setOffline(true);
  // Sent into the void: it waits, then goes out once.
  const text = unique("Written without a network");
  const refused = page.waitForEvent("requestfailed", (request) => request.method() === "POST" && /\/messages/.test(request.url()));
  await write(page, "customer", text);
  await bubble(page, "customer", text).locator(".state-sending").waitFor();
  await refused;
  await page.context().setOffline(false);
  await sees(page, "vendor", text);
  await bubble(page, "customer", text).locator(".state-sent, .state-read").waitFor();
  assert.equal(await bubble(page, "customer", text).count(), 1);
  forgiveOffline(complaints);
  await close();
});

test("what is written while the conversation is still being read stays in sight", async () => {
  const { page, close } = await open();
  let read;
  const held = new Promise((resolve) => (read = resolve));
  await page.route(/\/messages\?/, async (route) => {
    await held;
    await route.continue();
  });
  await page.getByRole("button", { name: /Contact vendor/ }).click();
  const text = unique("Written before the rest is there");
  await write(page, "customer", text);
  await bubble(page, "customer", text).locator(".state-sent").waitFor();
  await sees(page, "customer", text);
  const rest = page.waitForResponse(/\/messages\?/);
  read();
  await (await rest).finished();
  await sees(page, "customer", text);
  await close();
});

test("a conversation opened without a network fills when it is back", async () => {
  const { page, complaints, close } = await open();
  await page.getByRole("button", { name: /Contact vendor/ }).click();
  const text = unique("Written before the network went");
  await write(page, "customer", text);
  await page.locator("#threads .last", { hasText: text }).waitFor();
  // What came while the page was open is there anyhow: a page of its own knows only the list.
  await page.reload();
  await page.locator('#desk-connection[data-state="online"]').waitFor({ state: "attached" });
  await page.locator("#threads .last", { hasText: text }).waitFor();
  await page.context().setOffline(true);
  const refused = page.waitForEvent("requestfailed", (request) => /\/messages/.test(request.url()));
  await openThread(page);
  await refused;
  assert.equal(await page.locator("#vendor .message").count(), 0, "nothing could be read yet");
  await page.context().setOffline(false);
  await sees(page, "vendor", text);
  forgiveOffline(complaints);
  await close();
});

for (const size of ["phone", "desktop"]) {
  for (const scheme of ["light", "dark"]) {
    for (const lang of ["en", "ru"]) {
      test(`pictures: ${size}, ${scheme}, ${lang}`, async () => {
        const { page, close } = await open({ size, scheme, query: `?lang=${lang}` });
        const picture = (name) => page.screenshot({ path: `${pictures}${size}-${scheme}-${lang}-${name}.png` });
        await picture("1-product");
        await page.locator("#contact").click();
        await write(page, "customer", lang === "ru" ? "Здравствуйте! Чайник подходит для посудомоечной машины?" : "Hello! Is this teapot safe in the dishwasher?");
        if (size === "phone") await page.locator("#show-vendor").click();
        await page.locator("#threads .thread").first().waitFor();
        await picture("2-unread");
        await openThread(page);
        await write(page, "vendor", lang === "ru" ? "Да, вместе с ручкой. Только без режима сушки." : "Yes, handle and all. Just skip the drying cycle.");
        await bubble(page, "vendor", lang === "ru" ? "вместе с ручкой" : "handle and all").last().locator(".state-sent, .state-read").waitFor();
        if (size === "phone") await picture("3-vendor");
        if (size === "phone") await page.locator("#show-customer").click();
        await page.locator("#customer .theirs").last().waitFor();
        await page.locator("#customer textarea").focus();
        await page.waitForTimeout(400);
        await picture("4-conversation");
        const hidden = await page.evaluate(() => {
          const last = [...document.querySelectorAll("#customer .message")].at(-1).getBoundingClientRect();
          return last.bottom - document.querySelector("#customer .composer").getBoundingClientRect().top;
        });
        assert.ok(hidden <= 0, `the last message reaches ${hidden} px below the field`);
        const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        assert.ok(overflow <= 0, `the page is ${overflow} px too wide`);
        await close();
      });
    }
  }
}
