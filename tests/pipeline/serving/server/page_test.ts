import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import type { Page } from "puppeteer-core";
import { IGNORED, withBrowser } from "../../../browser.ts";
import { withServer } from "./support.ts";

/** Gives what an element says. */
const textOf = (page: Page, id: string) =>
  page.$eval(`#${id}`, (element) => (element as unknown as { textContent: string }).textContent);

/** Waits until an element says what matches. */
async function says(page: Page, id: string, pattern: RegExp): Promise<string> {
  for (let i = 0; i < 300; i++) {
    const text = await textOf(page, id);
    if (pattern.test(text)) return text;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`${id} says "${await textOf(page, id)}", not ${pattern}`);
}

Deno.test({
  name:
    "the page writes by keyboard alone, streams, shows who writes, stops, and tells errors; on a phone and in the dark",
  ignore: IGNORED,
  async fn() {
    await withServer({}, async ({ url, client }) => {
      await withBrowser(async (browser) => {
        const page = await browser.newPage();
        const heard: string[] = [];
        page.on("console", (message) => heard.push(message.text()));
        page.on("pageerror", (error) => heard.push(String(error)));
        page.on(
          "request",
          (request) => request.url().startsWith(url) || heard.push(`asked for ${request.url()}`),
        );
        for (const [width, scheme] of [[1200, "light"], [360, "dark"]] as const) {
          await page.setViewport({ width, height: 800 });
          await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
          await page.goto(url);
          await page.waitForFunction('document.getElementById("model").options.length === 5');
          assertEquals(await page.evaluate("document.activeElement.id"), "prompt");
          await page.keyboard.type("the sea and the ship");
          await page.$eval("#seed", (field) => (field as unknown as { value: string }).value = "4");
          await page.keyboard.down("Control");
          await page.keyboard.press("Enter");
          await page.keyboard.up("Control");
          await says(page, "state", /^\d+ tokens, \d+ per second; /);
          const { choices: [{ text, routing }] } = await client.completions.create({
            ...{
              model: "mixture",
              prompt: "the sea and the ship",
              max_tokens: 120,
              temperature: 0.8,
              seed: 4,
            },
          }) as unknown as { choices: { text: string; routing: { expert: number } }[] };
          assertEquals(await textOf(page, "text"), `the sea and the ship${text}`);
          assertEquals(await page.$$eval("#bars li", (lines) => lines.length), 3);
          assertMatch(
            await page.$eval(
              "#bars .chosen",
              (line) => (line as unknown as { textContent: string }).textContent,
            ),
            new RegExp(`^expert ${routing.expert}\\d+%$`),
          );
          assertStringIncludes(await textOf(page, "why"), `Expert ${routing.expert} writes: `);
          const wide = await page.evaluate("document.documentElement.scrollWidth - innerWidth") as number;
          assert(wide <= 0, `${wide} pixels too wide at ${width}`);
          const paper = await page.evaluate("getComputedStyle(document.body).backgroundColor");
          assertEquals(paper, scheme === "dark" ? "rgb(22, 24, 28)" : "rgb(255, 255, 255)");
          const unnamed = await page.evaluate(
            '[...document.querySelectorAll("input, select, textarea")].filter(({ labels }) => labels.length !== 1).length',
          );
          assertEquals(unnamed, 0, "every field has its label");
          const folder = Deno.env.get("SMALLTALK_SCREENSHOTS");
          if (folder) {
            await page.screenshot({ path: `${folder}/page-${width}-${scheme}.png`, fullPage: true });
          }
        }

        await page.$eval("#exclude", (field) => (field as unknown as { value: string }).value = "7");
        await page.click("#write");
        await says(page, "error", /Cannot exclude an expert as it must be one of 0 to 2: it is 7/);
        await page.$eval("#exclude", (field) => (field as unknown as { value: string }).value = "");
        assertEquals(heard.filter((line) => !/status of 400/.test(line)), []);

        // A stream that does not end by itself, so that it can be stopped.
        await page.evaluate(`
          window.fetch = (path, { signal } = {}) => Promise.resolve(new Response(path === "/v1/models" ? '{"data":[]}' :
            new ReadableStream({ start(controller) {
              const routing = { model: "m", expert: null, scores: null };
              const data = { choices: [{ text: "first", routing }] };
              controller.enqueue(new TextEncoder().encode("data: " + JSON.stringify(data) + "\\n\\n"));
              signal.addEventListener("abort", () => controller.error(signal.reason));
            } })));
        `);
        await page.click("#write");
        await says(page, "text", /first$/);
        await page.click("#stop");
        assertEquals(await says(page, "state", /stopped/), "stopped");
        assertEquals(await textOf(page, "error"), "");
      });
    });
  },
});
