import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import type { Page } from "puppeteer-core";
import {
  assertReadable,
  IGNORED,
  reachByTab,
  textOf,
  until,
  withBrowser,
} from "../../../browser.ts";
import { eventsOf, post, withServer } from "./support.ts";

/** Gives what all elements say that a selector finds. */
const readAll = async (page: Page, selector: string) =>
  await page.evaluate(
    `[...document.querySelectorAll(${
      JSON.stringify(selector)
    })].map((one) => one.textContent.trim())`,
  ) as string[];

/** Gives a field a value, as one who types does. */
const set = (page: Page, id: string, value: string) =>
  page.evaluate(`((field) => {
    field.value = ${JSON.stringify(value)};
    field.dispatchEvent(new Event("input"));
  })(document.querySelector("#${id}"))`);

/** Waits until an element says what matches. */
const says = (page: Page, id: string, pattern: RegExp) =>
  until(page, `${pattern}.test(document.querySelector("#${id}").textContent)`);

/** Opens the page of a server, with its models. */
async function opens(page: Page, url: string): Promise<void> {
  await page.goto(url);
  await until(page, `document.querySelector("#scores li")`);
}

/** Presses Ctrl+Enter in the prompt, and waits until the text is written. */
async function writes(page: Page): Promise<void> {
  await page.focus("#prompt");
  await page.evaluate(`void (document.querySelector("#state").textContent = "")`);
  await page.keyboard.down("Control");
  await page.keyboard.press("Enter");
  await page.keyboard.up("Control");
  await says(page, "state", /^\d+ tokens, \d+ per second; /);
  await until(page, `document.querySelector("#stop").disabled`);
}

Deno.test({
  name:
    "the page of a server routes while one types, writes by keyboard alone, shows who writes and where others take over, and tells errors",
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
        const prompt = "the sea and the ship";
        const request = { model: "mixture", prompt, max_tokens: 100, temperature: 0.8, seed: 4 };
        await opens(page, url);
        assertEquals((await readAll(page, "#model option")).length, 5);
        assertEquals(await page.evaluate("document.activeElement.id"), "prompt");
        await page.keyboard.type(prompt);
        await says(page, "why", /^Expert \d would write: its router finds the first \d+ tokens /);
        assertEquals(await textOf(page, "#share"), "Loaded: 0 of 3 models.");
        await set(page, "seed", "4");
        await writes(page);
        const { choices: [{ text, routing: { expert } }] } = await client.completions.create(
          request,
        ) as unknown as { choices: { text: string; routing: { expert: number } }[] };
        assertEquals(await textOf(page, "#texts p"), prompt + text);
        assertEquals((await readAll(page, "#scores li")).length, 3);
        assertMatch(await textOf(page, "#scores .chosen"), new RegExp(`^expert ${expert}\\d+%$`));
        assertStringIncludes(await textOf(page, "#why"), `Expert ${expert} writes: `);
        assertEquals(await textOf(page, "#share"), "Loaded: 1 of 3 models.");
        const unnamed = await page.evaluate(
          `[...document.querySelectorAll("input, select, textarea")]
            .filter(({ labels }) => labels.length !== 1).length`,
        );
        assertEquals(unnamed, 0, "every field has its label");

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
        await set(page, "reroute", "2");
        await set(page, "mix", "2");
        await writes(page);
        const shown = await page.evaluate(
          `[...document.querySelectorAll("#texts .turn")].map((turn) => ({
            expert: Number(turn.dataset.expert), text: turn.textContent, label: turn.ariaLabel,
          }))`,
        );
        assertEquals(shown, turns);
        assertEquals(
          await textOf(page, "#texts p"),
          prompt + turns.map(({ text }) =>
            text
          ).join(""),
        );
        const writers = [...new Set(turns.map(({ expert }) => expert))];
        assertEquals(
          await readAll(page, ".legend li"),
          writers.map((id) => `${id} expert ${id}`),
        );
        assertMatch(
          await textOf(page, "#why"),
          /^Expert \d writes: .* Mixed: \d+% expert \d, \d+% expert \d\.$/,
        );
        await page.click("summary");
        await assertReadable(page, "served");
        assertEquals((await reachByTab(page, "prompt")).includes("key"), true);
        await set(page, "reroute", "");
        await set(page, "mix", "");

        await set(page, "exclude", "0, 2"); // one is left
        await says(page, "why", /would write/);
        await page.click("#write");
        await says(page, "why", /writes/);
        assertEquals(await textOf(page, "#why"), "Expert 1 writes: it is the only one.");
        await says(page, "state", /^\d+ tokens, \d+ per second; /);
        await set(page, "exclude", "7");
        await page.click("#write");
        await says(page, "error", /Cannot exclude an expert as it must be one of 0 to 2: it is 7/);
        assertEquals(heard.filter((line) => !/status of 400/.test(line)), []);
      });
    }),
});

/** Answers for a server: with the models and what it says of routing in `said`, and a text without an end. */
const STUB = `
  globalThis.said = { models: [0, 2], routing: {} };
  globalThis.fetch = (path, { body, signal } = {}) => {
    const { models, routing } = said;
    if (path === "v1/models") {
      const data = models.map((id) => ({
        id: "expert-" + String(id).padStart(2, "0"), loaded: false, words: ["of " + id],
        example: "text of " + id,
      }));
      return Promise.resolve(Response.json({ data }));
    }
    if (!JSON.parse(body).stream) return Promise.resolve(Response.json({ choices: [{ routing }] }));
    return Promise.resolve(new Response(new ReadableStream({ start(controller) {
      const data = { choices: [{ text: "first", routing: { model: "m", expert: null, scores: null } }] };
      controller.enqueue(new TextEncoder().encode("data: " + JSON.stringify(data) + "\\n\\n"));
      signal.addEventListener("abort", () => controller.error(signal.reason));
    } })));
  };
`;

Deno.test({
  name:
    "the page of a server lists who can answer, words margins and costs, gives 64 experts colours that can be read, and stops",
  ignore: IGNORED,
  fn: () =>
    withServer({ experts: 1 }, async ({ url }) => {
      await withBrowser(async (browser) => {
        const page = await browser.newPage();
        await page.evaluateOnNewDocument(STUB);
        await opens(page, url);
        // Experts that cannot answer are missing, and the words stay with their own.
        assertEquals(await readAll(page, "#scores li"), ["expert 0of 0", "expert 2of 2"]);
        assertEquals(await readAll(page, "#examples button"), ["text of 0", "text of 2"]);
        const routing = {
          expert: 1,
          scores: [-0.84636, -0.81234],
          runner_up: 0,
          margin: 0.03402,
          prefix_tokens: 1,
          cost: null,
        };
        const cases = [
          [
            { cost: "distance" },
            "the distance of the first token is 0.812, 0.034 less than that of expert 0",
          ],
          [{}, "one token alone is no evidence"],
          [
            { prefix_tokens: 9 },
            "its router finds the first 9 tokens 0.0 nats likelier than that of expert 0",
          ],
          [{ runner_up: null }, "it is the only one"],
          [{ scores: [null, -3], runner_up: null }, "it is the only one"],
        ] as const;
        for (const [more, reason] of cases) {
          await page.evaluate(`said.routing = ${JSON.stringify({ ...routing, ...more })}`);
          await page.evaluate(`document.querySelector("#why").textContent = ""`);
          await set(page, "prompt", "a");
          await says(page, "why", /./);
          assertEquals(await textOf(page, "#why"), `Expert 1 would write: ${reason}.`);
        }
        const scores = Array.from({ length: 64 }, () => -1);
        await page.evaluate(`said.routing = ${JSON.stringify({ ...routing, scores })}`);
        await set(page, "prompt", "b");
        await until(page, `document.querySelectorAll("#scores li").length === 64`);
        await assertReadable(page, "many");

        await page.click("#write");
        await until(page, `/first$/.test(document.querySelector("#texts p").textContent)`);
        await page.click("#write"); // another text instead: the one before says nothing any more
        await says(page, "state", /writing/);
        await new Promise((resolve) => setTimeout(resolve, 100));
        assertEquals(await textOf(page, "#state"), "writing …");
        await page.click("#stop");
        await says(page, "state", /stopped/);
        assertEquals(await textOf(page, "#error"), "");
      });
    }),
});
