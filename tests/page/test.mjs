// Drives the page of a host's admin listener in a real browser. A test of tests/integration starts the host, and runs this with the
// name of what is to be done; it ends with 0 if all was as it should be.
//
// Nothing here depends on how fast the machine is: what has to happen is waited for, and what has to happen soon is judged by the
// instants that the host and the page note, with what the answers themselves took.

import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { chromium } from "playwright-core";

const { ADMIN, API, HOST_PID, PICTURES } = process.env;
/** On any machine, waiting that long means that it never happens. */
const DEADLINE_MS = 120_000;

const post = async (tenant, name, attributes = {}) => {
  const answer = await fetch(`${API}/v1/${tenant}/names`, { method: "POST", body: JSON.stringify({ name, owner: "ann", attributes }) });
  return answer.json();
};
const admin = async (path) => (await fetch(`${ADMIN}${path}`)).json();

const until = async (what, holds) => {
  for (const begin = Date.now(); Date.now() - begin < DEADLINE_MS; await new Promise((after) => setTimeout(after, 20))) {
    if (await holds()) return;
  }
  assert.fail(`not true after ${DEADLINE_MS} ms: ${what}`);
};

/** Opens the page. `answers` has each answer of `/overview` with how long it took; `errors`, what the browser complained of. */
async function open(browser, options = {}) {
  const page = await browser.newPage({ viewport: { width: 1440, height: 900 }, ...options });
  page.setDefaultTimeout(DEADLINE_MS);
  const [answers, errors] = [[], []];
  page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
  page.on("pageerror", (error) => errors.push(String(error)));
  page.on("requestfinished", async (request) => {
    if (!new URL(request.url()).pathname.endsWith("/overview")) return;
    const { startTime, responseEnd } = request.timing();
    const answer = await (await request.response()).json().catch(() => null);
    if (answer) answers.push({ ...answer, began: startTime, tookMs: responseEnd });
  });
  await page.goto(ADMIN);
  await page.locator('body[data-state="live"]').waitFor();
  return { page, answers, errors };
}

/** What this machine takes for an answer and its showing, beyond the second between two questions. */
function slack(answers) {
  const inOrder = answers.toSorted((a, b) => a.began - b.began);
  const pauses = inOrder.slice(1).map((answer, at) => answer.began - inOrder[at].began - 1000);
  return 2 * Math.max(...answers.map((answer) => answer.tookMs), ...pauses, 0);
}

const tests = {
  async "a fault"(browser) {
    const { page, answers, errors } = await open(browser);
    await page.getByText("None.", { exact: true }).waitFor();
    assert.equal((await post("traps", "room")).code, "handler_trapped");
    const fault = page.locator('#lately li[data-key="traps handler_trapped"]');
    await fault.waitFor();
    const { lastMs, shownMs } = await fault.evaluate((item) => ({ ...item.dataset }));
    const late = shownMs - lastMs;
    const allowed = 1000 + slack(answers);
    console.log(`shown after ${late} ms; allowed ${Math.round(allowed)} ms`);
    assert.ok(late <= Math.max(2000, allowed), `shown after ${late} ms`);
    // It was in the first answer that could have it.
    await until("the answer is noted", async () => answers.some((answer) => answer.faults.lately.length > 0));
    const [before, first] = [answers.findLast((answer) => answer.faults.lately.length === 0), answers.find((answer) => answer.faults.lately.length > 0)];
    assert.ok(before.at_ms <= lastMs && lastMs <= first.at_ms);
    await page.locator("#codes").getByText("handler_trapped").waitFor();
    await until("a reader of the screen is told", async () => (await page.locator("#announce").textContent()).includes("traps: handler trapped"));
    await until("the tenant has a fault", async () => (await page.locator('tr[data-key="traps"] td.faults').textContent()) === "1");
    assert.deepEqual(errors, []);
  },

  async "the keyboard"(browser) {
    const { page, answers, errors } = await open(browser);
    const ended = post("slow", "room");
    await page.locator("#locks-table tbody tr").waitFor();
    const shows = (answer) => answer.locks.rows.length > 0;
    await until("the answer is noted", async () => answers.some(shows));
    const [held] = answers.find(shows).locks.rows;
    console.log(`a lock was ${held.age_ms} ms old when it was shown`);
    assert.ok(held.age_ms <= 1000 + slack(answers), `${held.age_ms} ms`);
    await until("a call waits for it", async () => (await page.locator("#locks-table td.waiting").textContent()) === "1");

    const focused = () => page.evaluate(() => {
      const { id, textContent, dataset, ariaLabel } = document.activeElement;
      return id || ariaLabel || dataset.tenant || textContent.trim();
    });
    const seen = [];
    const tabTo = async (wanted) => {
      for (let presses = 0; presses < 60; presses += 1) {
        await page.keyboard.press("Tab");
        const at = await focused();
        seen.push(at);
        if (wanted(at)) {
          const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
          assert.equal(outline, "solid", `the focus on ${at} is visible`);
          return;
        }
      }
      assert.fail(`the keyboard does not reach it: ${seen}`);
    };
    await tabTo((at) => at === "Skip to the tenants");
    // The filter, and the order.
    await page.keyboard.press("/");
    assert.equal(await focused(), "filter");
    await page.keyboard.type("slo");
    const shown = () => page.locator("#tenants-table tbody tr").evaluateAll((all) => all.map((row) => row.dataset.key));
    await until("only one tenant is shown", async () => String(await shown()) === "slow");
    await page.keyboard.press("Control+A");
    await page.keyboard.press("Delete");
    await until("all tenants are shown", async () => (await shown()).length === 3);
    await tabTo((at) => at === "Faults/min");
    await page.keyboard.press("Enter");
    await page.locator('th[data-sort="faults"][aria-sort="descending"]').waitFor();
    // From row to row, and into one.
    const all = await shown();
    await tabTo((at) => at === all[0]);
    await page.keyboard.press("ArrowDown");
    assert.equal(await focused(), all[1]);
    await page.keyboard.press("Enter");
    await page.locator("#tenant-dialog").getByText("Component", { exact: true }).waitFor();
    await page.keyboard.press("Escape");
    assert.equal(await focused(), all[1], "the focus is back where it was");
    // The lease is kept, then ended.
    const end = (at) => at.startsWith("End the lease of slow");
    await tabTo(end);
    await page.keyboard.press("Enter");
    await page.getByRole("dialog", { name: "End this lease?" }).waitFor();
    assert.equal(await focused(), "Keep it", "what harms nobody comes first");
    await page.keyboard.press("Enter");
    assert.ok(end(await focused()));
    assert.equal((await admin("/locks")).length, 1);
    await page.keyboard.press("Enter");
    await tabTo((at) => at === "end-confirm");
    await page.keyboard.press("Enter");
    assert.equal((await ended).code, "lease_lost");
    await page.getByText("No lock is held.").waitFor();
    await page.getByText("The lease was ended").waitFor();
    assert.deepEqual(errors, []);
  },

  async "its states"(browser) {
    const { page, errors } = await open(browser);
    await page.getByText("This host has no tenants.").waitFor();
    await picture(page, "empty");
    assert.deepEqual(errors, []);
    process.kill(Number(HOST_PID), "SIGTERM");
    await page.getByRole("alert").getByText("This host is stopping").waitFor();
    process.kill(Number(HOST_PID), "SIGTERM");
    await page.locator('body[data-state="lost"]').waitFor();
    const text = await page.getByRole("alert").textContent();
    assert.match(text, /This host does not answer\. All figures are from \d\d:\d\d:\d\d\./);
    await until("it says how old the figures are", async () => /^\d+\.\d s old$/.test(await page.locator("#age").textContent()));
    await picture(page, "lost");
  },

  async "how it looks"(browser) {
    const { page, errors } = await open(browser);
    // They hold their locks until the host ends.
    for (const [tenant, name] of [["slow", "blue room"], ["slow", "green room"], ["sleepy", "a"]]) {
      post(tenant, name, { hold_ms: "200000" }).catch(() => {});
    }
    const busy = async (tenant, pause) => {
      for (let number = 0; !done; number += 1) {
        await post(tenant, `room ${number % 40}`);
        await new Promise((after) => setTimeout(after, pause * (1 + Math.sin(number / 25))));
      }
    };
    let done = false;
    const load = [busy("demo", 5), busy("acme", 15), busy("rooms-of-a-hotel", 30), busy("traps", 250)];
    await until("there is something to see", async () => {
      const { host, locks, faults } = await admin("/overview");
      return host.history.requests.filter((n) => n > 0).length >= 20 && locks.rows.length === 3 && faults.lately.length > 0;
    });
    for (const [landmark, name] of [["banner"], ["main"], ["region", "Tenants"], ["region", "Locks held on this host"], ["region", "Services"], ["region", "Faults of the last hour"]]) {
      assert.equal(await page.getByRole(landmark, { name }).count(), 1, `${landmark} ${name ?? ""}`);
    }
    const nameless = await page.locator("button, input, svg").evaluateAll((all) => all.filter((e) => !(e.ariaLabel || e.textContent.trim() || e.labels?.length)).map((e) => e.outerHTML));
    assert.deepEqual(nameless, []);
    for (const scheme of ["light", "dark"]) {
      await page.emulateMedia({ colorScheme: scheme });
      await picture(page, scheme);
      for (const [what, ratio] of await contrasts(page)) assert.ok(ratio >= 4.5, `${scheme}: ${what} has a contrast of ${ratio.toFixed(2)}`);
    }
    // The one for the documents.
    await page.emulateMedia({ colorScheme: "light" });
    await page.setViewportSize({ width: 1280, height: 780 });
    await picture(page, "page");
    await page.getByRole("button", { name: "demo", exact: true }).click();
    await page.locator("#tenant-dialog").getByText("Component", { exact: true }).waitFor();
    await picture(page, "tenant");
    await page.keyboard.press("Escape");
    await page.setViewportSize({ width: 390, height: 844 });
    const wider = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    assert.equal(wider, 0, "a telephone need not scroll sideways");
    await picture(page, "narrow");
    done = true;
    await Promise.all(load);
    assert.deepEqual(errors, []);
  },
};

/** The contrast of each kind of text with what is behind it (WCAG 2.1, 1.4.3). */
function contrasts(page) {
  return page.evaluate(() => {
    const channel = (c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    const luminance = (colour) => {
      const [r, g, b] = colour.match(/[\d.]+/g).map((c) => channel(c / 255));
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = (element) => {
      for (let at = element; at; at = at.parentElement) {
        const { backgroundColor } = getComputedStyle(at);
        if (!/, 0\)$/.test(backgroundColor)) return backgroundColor;
      }
      return "rgb(255, 255, 255)";
    };
    const texts = [...document.querySelectorAll("p, b, small, td, th button, span, li, dt, dd")].filter((e) => e.textContent.trim() && e.checkVisibility() && !e.closest(".hidden, .zero"));
    return texts.map((e) => {
      const [a, b] = [luminance(getComputedStyle(e).color), luminance(behind(e))].sort((x, y) => y - x);
      return [`${e.tagName} ${e.textContent.trim().slice(0, 30)}`, (a + 0.05) / (b + 0.05)];
    });
  });
}

async function picture(page, name) {
  mkdirSync(PICTURES, { recursive: true });
  await page.screenshot({ path: `${PICTURES}/${name}.png` });
}

const root = process.getuid() === 0;
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: root ? ["--no-sandbox"] : [] });
try {
  await tests[process.argv[2]](browser);
} finally {
  await browser.close();
}
// A call that still holds a lease ends with its host.
process.exit(0);
