import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import type { Page } from "puppeteer-core";
import { IGNORED, withBrowser } from "../../../browser.ts";
import { eventsOf, post, withServer } from "./support.ts";

/** Gives what an element says. */
const readElement = async (page: Page, id: string) =>
  await page.evaluate(`at("${id}").textContent`) as string;

/** Gives what all elements say that a selector finds. */
const readElements = async (page: Page, selector: string) =>
  await page.evaluate(
    `[...document.querySelectorAll("${selector}")].map((one) => one.textContent.trim())`,
  ) as string[];

/** Waits until an element says what matches. */
async function says(page: Page, id: string, pattern: RegExp): Promise<string> {
  for (let i = 0; i < 300; i++) {
    const text = await readElement(page, id);
    if (pattern.test(text)) return text;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`${id} says "${await readElement(page, id)}", not ${pattern}`);
}

/** Presses Ctrl+Enter in the prompt, and waits until the text is written. */
async function writes(page: Page): Promise<void> {
  await page.focus("#prompt");
  await page.evaluate(`at("state").textContent = ""`);
  await page.keyboard.down("Control");
  await page.keyboard.press("Enter");
  await page.keyboard.up("Control");
  await says(page, "state", /^\d+ tokens, \d+ per second; /);
}

/**
 * Contrasts of the colours of 64 experts with the paper, by the formula of WCAG 2, of what a canvas
 * makes of them.
 */
const CONTRASTS = `(() => {
  const context = Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext("2d", { willReadFrequently: true });
  const probe = document.body.appendChild(document.createElement("i"));
  const luminance = (colour) => {
    context.fillStyle = colour;
    context.fillRect(0, 0, 1, 1);
    const [r, g, b] = [...context.getImageData(0, 0, 1, 1).data].map((value) => {
      const part = value / 255;
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const paper = luminance(getComputedStyle(document.body).backgroundColor);
  const contrasts = Array.from({ length: 64 }, (_, expert) => {
    probe.style.color = colourOf(expert);
    const ink = luminance(getComputedStyle(probe).color);
    return (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
  });
  probe.remove();
  return contrasts;
})()`;

Deno.test({
  name:
    "the page writes by keyboard alone, streams, shows who writes and where others take over, stops, and tells errors; on a phone and in the dark",
  ignore: IGNORED,
  fn: () =>
    withServer({}, async ({ url, client }) => {
      await withBrowser(async (browser) => {
        const page = await browser.newPage();
        const heard: string[] = [];
        page.on("console", (message) => heard.push(message.text()));
        page.on("pageerror", (error) => heard.push(String(error)));
        page.on("request", (asked) =>
          asked.url().startsWith(url) || heard.push(`asked for ${asked.url()}`));
        const set = (id: string, value: string) =>
          page.evaluate(`void (at("${id}").value = "${value}")`);
        /** Does the same on a wide screen and on a phone in the dark; nothing may be too wide. */
        const onScreens = async (test: (scheme: "light" | "dark") => Promise<void>) => {
          for (const [width, scheme] of [[1200, "light"], [360, "dark"]] as const) {
            await page.setViewport({ width, height: 800 });
            await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
            await test(scheme);
            assertEquals(
              await page.evaluate("document.documentElement.scrollWidth > innerWidth"),
              false,
            );
          }
        };
        const prompt = "the sea and the ship";
        const request = { model: "mixture", prompt, max_tokens: 120, temperature: 0.8, seed: 4 };
        await onScreens(async (scheme) => {
          await page.goto(url);
          await page.waitForFunction('at("model").options.length === 5');
          assertEquals(await page.evaluate("document.activeElement.id"), "prompt");
          await page.keyboard.type(prompt);
          await set("seed", "4");
          await writes(page);
          const { choices: [{ text, routing: { expert } }] } = await client.completions.create(
            request,
          ) as unknown as { choices: { text: string; routing: { expert: number } }[] };
          assertEquals(await readElement(page, "text"), prompt + text);
          assertEquals((await readElements(page, "#bars li")).length, 3);
          assertMatch(
            (await readElements(page, "#bars .chosen")).join(),
            new RegExp(`^expert ${expert}\\d+%$`),
          );
          assertStringIncludes(await readElement(page, "why"), `Expert ${expert} writes: `);
          const paper = await page.evaluate("getComputedStyle(document.body).backgroundColor");
          assertEquals(paper, scheme === "dark" ? "rgb(22, 24, 28)" : "rgb(255, 255, 255)");
          const fields = `[...document.querySelectorAll("input, select, textarea")]`;
          const unnamed = await page.evaluate(
            `${fields}.filter(({ labels }) => labels.length !== 1).length`,
          );
          assertEquals(unnamed, 0, "every field has its label");
        });
        const routed =
          "scores: [-0.84636, -0.81234], expert: 1, runner_up: 0, margin: 0.03402, prefix_tokens: 1";
        const margins = [
          [', cost: "distance"', "distance 0.812, 0.034 less than that of expert 0, over 1 token"],
          ["", "one token alone is no evidence"],
          [", runner_up: null", "the only one"],
        ];
        for (const [more, reported] of margins) {
          assertEquals(await page.evaluate(`aheadOf({ ${routed}${more} })`), reported);
        }

        // Where experts take turns, each part says whose it is, by colour, by number and to screen
        // readers, and a legend tells them.
        const mixed = { ...request, reroute: 2, mix: 2, stream: true };
        const turns: { expert: number; text: string; label: string }[] = [];
        for (
          const { choices } of eventsOf(await (await post(`${url}/v1/completions`, mixed)).text())
        ) {
          const { text, routing: { expert } } = choices[0];
          if (text === "") {
            continue;
          }
          if (turns.at(-1)?.expert !== expert) {
            turns.push({ expert, text: "", label: `expert ${expert}` });
          }
          turns.at(-1)!.text += text;
        }
        assert(turns.length > 2, "experts must take turns in this test");
        for (const id of ["reroute", "mix"]) {
          await set(id, "2");
        }
        await onScreens(async () => {
          await writes(page);
          const shown = await page.evaluate(
            `[...document.querySelectorAll("#text .turn")].map((turn) => ({
            expert: Number(turn.dataset.expert), text: turn.textContent, label: turn.ariaLabel,
          }))`,
          );
          assertEquals(shown, turns);
          assertEquals(
            await readElement(page, "text"),
            prompt + turns.map(({ text }) =>
              text
            ).join(""),
          );
          const writers = [...new Set(turns.map(({ expert }) => expert))];
          assertEquals(
            await readElements(page, "#legend li"),
            writers.map((id) => `${id} expert ${id}`),
          );
          assertMatch(
            await readElement(page, "why"),
            /^Expert \d writes: .* Mixed: \d+% expert \d, \d+% expert \d\.$/,
          );
          const contrasts = await page.evaluate(CONTRASTS) as number[];
          assert(
            contrasts.length === 64 && Math.min(...contrasts) > 4.5,
            String(Math.min(...contrasts)),
          );
        });
        for (const id of ["reroute", "mix"]) await set(id, "");

        await set("exclude", "0, 2"); // one is left
        await page.click("#write");
        assertEquals(await says(page, "why", /writes/), "Expert 1 writes: the only one.");
        await says(page, "state", /^\d+ tokens, \d+ per second; /);
        // Experts that cannot answer are missing among those that are listed, and the words stay
        // with their own.
        await page.evaluate(`(async () => {
          const { fetch } = window;
          const models = [0, 2].map((expert) => ({ id: "expert-0" + expert, loaded: false, words: ["of " + expert] }));
          window.fetch = () => Promise.resolve(Response.json({ data: models }));
          await listModels();
          window.fetch = fetch;
          showBars([], null);
        })()`);
        assertEquals(await readElements(page, "#bars li"), ["expert 0of 0", "expert 2of 2"]);
        await page.evaluate("listModels()");
        await set("exclude", "7");
        await page.click("#write");
        await says(page, "error", /Cannot exclude an expert as it must be one of 0 to 2: it is 7/);
        await set("exclude", "");
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
        await page.click("#write"); // another text instead: the one before says nothing any more
        await says(page, "state", /writing/);
        await new Promise((resolve) => setTimeout(resolve, 100));
        assertEquals(await readElement(page, "state"), "writing …");
        await page.click("#stop");
        assertEquals(await says(page, "state", /stopped/), "stopped");
        assertEquals(await readElement(page, "error"), "");
      });
    }),
});
