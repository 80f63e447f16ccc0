/**
 * How soon does the page of a run answer in Chromium on SwiftShader, without a GPU? Exports the run
 * as a site, visits it twice, and prints of each visit the time from its begin to the first scores
 * of a prompt that is typed at once; then tokens a second, the longest task of the page while
 * tokens come, and the longest time between two frames, in which the device's work counts as well.
 * `--picture` writes an image of the page with that text.
 *
 *   deno task bench:site --run runs/default [--tokens 100] [--prompt TEXT] [--picture page.png]
 */

import type { Page } from "puppeteer-core";
import { exportSite } from "../../pipeline/run/mod.ts";
import { serveSite } from "../../pipeline/web/mod.ts";
import { GPU_ARGUMENTS, textOf, until, withBrowser } from "../browser.ts";
import { inFolder } from "../tasks/support.ts";
import { benchFlags, refuse } from "./flags.ts";

const { run, tokens, prompt, picture } = benchFlags("How soon does the page of a run answer?", {
  run: "",
  tokens: 100,
  prompt: "The first thing to know is",
  picture: "",
});
if (run === "") refuse("--run must name a run whose experts are trained: it is not given");

/** Opens the site and types: milliseconds from the visit's begin to the page, and to the scores. */
async function visit(page: Page, url: string): Promise<void> {
  await page.goto(url);
  await until(page, `!document.querySelector("#main").hidden`);
  const open = await page.evaluate("performance.now()") as number;
  await page.keyboard.type(prompt);
  await until(page, `document.querySelector("#scores .chosen")`);
  const scored = await page.evaluate("performance.now()") as number;
  console.log(`page ${open.toFixed(0)} ms, first scores ${scored.toFixed(0)} ms`);
  console.log(await textOf(page, "#share"));
}

/** Has the page write, and waits for the end. */
async function write(page: Page): Promise<void> {
  await page.click("#write");
  await until(
    page,
    `document.querySelector("#stop").disabled &&
      /^\\d+ tokens/.test(document.querySelector("#state").textContent)`,
  );
}

/** Keeps the longest task and the longest time between two frames. */
const WATCH = `
  globalThis.longest = { task: 0, frame: 0 };
  new PerformanceObserver((list) => {
    for (const { duration } of list.getEntries()) longest.task = Math.max(longest.task, duration);
  }).observe({ type: "longtask" });
  let before = performance.now();
  requestAnimationFrame(function frame(now) {
    longest.frame = Math.max(longest.frame, now - before);
    before = now;
    requestAnimationFrame(frame);
  });
`;

await inFolder(async (folder) => {
  await exportSite({ run, output: `${folder}/site` });
  const closing = new AbortController();
  const listening = Promise.withResolvers<string>();
  const served = serveSite(`${folder}/site`, {
    signal: closing.signal,
    onListen: listening.resolve,
  });
  await withBrowser(async (browser) => {
    const page = await browser.newPage();
    await page.setViewport({ width: 1024, height: 900 });
    const url = await listening.promise;
    await visit(page, url);
    await visit(page, url);
    const settings = { length: tokens, temperature: 0.5, seed: 1 };
    for (const [id, value] of Object.entries(settings)) {
      await page.evaluate(`document.querySelector("#${id}").value = ${value}`);
    }
    await write(page); // loads the expert, and has the device compile
    await page.evaluate(WATCH);
    await write(page);
    const { task, frame } = await page.evaluate("longest") as { task: number; frame: number };
    console.log(await textOf(page, "#state"));
    const least = task === 0 ? "below 50 ms" : `${task.toFixed(0)} ms`;
    console.log(`longest task ${least}, longest frame ${frame.toFixed(0)} ms`);
    if (picture === "") return;
    await page.screenshot({ path: picture as `${string}.png`, fullPage: true });
  }, GPU_ARGUMENTS).finally(() => closing.abort());
  await served;
});
