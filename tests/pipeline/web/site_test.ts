import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import type { Page } from "puppeteer-core";
import { exportSite } from "../../../pipeline/run/export_site.ts";
import { trainExpert } from "../../../pipeline/run/models.ts";
import { generate } from "../../../pipeline/serving/generate.ts";
import { serveSite } from "../../../pipeline/web/static_server.ts";
import { gpu } from "../../kernels/support.ts";
import { GPU_ARGUMENTS, IGNORED, withBrowser } from "../../browser.ts";
import { inFolder } from "../../tasks/support.ts";
import { withPartition } from "../run/support.ts";

const EXPERTS = {
  expertHidden: 16,
  expertLayers: 1,
  expertHeads: 2,
  expertSteps: 12,
  expertWarmup: 2,
  expertBatch: 8,
};
const NEW_TOKENS = 32;

/** Runs a test with the site of a small run, at an address, and what is asked of its server. */
async function withSite(
  test: (about: { run: string; site: string; url: string; asked: string[] }) => Promise<void>,
): Promise<void> {
  await withPartition(async (run) => {
    for (const expert of [0, 1]) {
      await trainExpert(expert, { run, gpu: gpu!, sources: { flags: EXPERTS } });
    }
    await inFolder(async (folder) => {
      const site = `${folder}/site/below`;
      await exportSite({ run, output: site });
      await atAddress(`${folder}/site`, async (url, asked) => {
        await test({ run, site, url: `${url}below/`, asked });
      });
    });
  });
}

/** Serves a folder while a test runs. */
async function atAddress(
  folder: string,
  test: (url: string, asked: string[]) => Promise<void>,
): Promise<void> {
  const asked: string[] = [];
  const closing = new AbortController();
  const listening = Promise.withResolvers<string>();
  const served = serveSite(folder, {
    signal: closing.signal,
    onListen: listening.resolve,
    onRequest: (path) => asked.push(path.replace("/below/", "")),
  });
  try {
    await test(await listening.promise, asked);
  } finally {
    closing.abort();
    await served;
  }
}

const textOf = (page: Page, selector: string) =>
  page.evaluate(
    `document.querySelector(${JSON.stringify(selector)})?.textContent ?? ""`,
  ) as Promise<
    string
  >;

/** Waits until an expression is true in the page. */
async function until(page: Page, expression: string): Promise<void> {
  try {
    await page.waitForFunction(expression, { timeout: 120_000, polling: 50 });
  } catch (cause) {
    throw new Error(`never: ${expression}; the page says "${await textOf(page, "#error")}"`, {
      cause,
    });
  }
}

const opens = async (page: Page, url: string) => {
  await page.goto(url);
  await until(page, `!document.querySelector("#main").hidden`);
};

/** Types a prompt anew, and gives the scores that the page shows of it. */
async function types(page: Page, prompt: string): Promise<{ scores: number[]; chosen: number }> {
  await page.evaluate(`(() => {
    document.querySelector("#scores").replaceChildren();
    document.querySelector("#prompt").value = "";
  })()`);
  await page.focus("#prompt");
  await page.keyboard.sendCharacter(prompt);
  await until(page, `document.querySelector("#scores .chosen")`);
  const scores =
    `[...document.querySelectorAll("#scores li")].map(({ dataset }) => +dataset.score)`;
  const chosen =
    `[...document.querySelectorAll("#scores li")].findIndex(({ className }) => className === "chosen")`;
  return {
    scores: await page.evaluate(scores) as number[],
    chosen: await page.evaluate(chosen) as number,
  };
}

/** Writes by keyboard, and gives the text once it or an error is there. */
async function writes(page: Page): Promise<string> {
  await page.evaluate(`(() => {
    document.querySelector("#error").textContent = document.querySelector("#state").textContent = "";
  })()`);
  await page.keyboard.down("Control");
  await page.keyboard.press("Enter");
  await page.keyboard.up("Control");
  await until(
    page,
    `document.querySelector("#stop").disabled && (document.querySelector("#error").textContent ||
      /^\\d+ tokens, /.test(document.querySelector("#state").textContent))`,
  );
  return await textOf(page, "#texts p");
}

const weights = (paths: readonly string[]) =>
  paths.filter((path) => path.endsWith("model.safetensors"));

Deno.test({
  name:
    "a site routes and writes as generate does, downloads one expert, and nothing on a second visit",
  ignore: IGNORED || gpu === null,
  fn: () =>
    withSite(({ run, site, url, asked }) =>
      withBrowser(async (browser) => {
        const page = await browser.newPage();
        const faults: string[] = [];
        page.on("pageerror", (error) => faults.push(String(error)));
        page.on("console", (message) => faults.push(message.text()));
        page.on("request", (request) => {
          if (!request.url().startsWith(url)) faults.push(`asked for ${request.url()}`);
        });
        await page.evaluateOnNewDocument(`
          globalThis.devices = [];
          const { requestDevice } = GPUAdapter.prototype;
          GPUAdapter.prototype.requestDevice = async function (wanted) {
            const device = await requestDevice.call(this, wanted);
            devices.push(device);
            return device;
          };
        `);
        await opens(page, url);
        const set = (id: string, value: number) =>
          page.evaluate(`void (document.querySelector("#${id}").value = "${value}")`);
        for (const prompt of ["the ship and the sea", "return value ; const count"]) {
          await set("temperature", 0);
          await set("length", NEW_TOKENS);
          const expected = await generate({
            run,
            gpu: gpu!,
            prompt,
            temperature: 0,
            maxNewTokens: NEW_TOKENS,
          });
          const text = (await Array.fromAsync(expected)).join("");
          const { scores, chosen } = await types(page, prompt);
          assertEquals(chosen, expected.expert);
          for (const [expert, score] of expected.route!.scores.entries()) {
            assert(Math.abs(scores[expert] - score) < 1e-4, `${scores} and ${score}`);
          }
          const before = weights(asked).length;
          assertEquals(await writes(page), prompt + text);
          const fetched = weights(asked).slice(before);
          if (before === 2) assertEquals(fetched, [`experts/expert-0${chosen}/model.safetensors`]);
        }
        const experts = new Set(weights(asked).filter((path) => path.startsWith("experts/")));
        assertMatch(
          await textOf(page, "#share"),
          new RegExp(`^Downloaded: ${experts.size} of 2 experts, `),
        );

        // A device that is lost: the page opens another one, and goes on.
        const before = await textOf(page, "#texts p");
        await page.evaluate("devices.at(-1).destroy()");
        assertEquals(await writes(page), before);
        assertEquals(await textOf(page, "#error"), "");
        assertEquals(await page.evaluate("devices.length"), 2);

        asked.length = 0;
        await opens(page, url);
        await types(page, "the ship and the sea");
        await writes(page);
        assertEquals(asked.filter((path) => /safetensors|tokenizer/.test(path)), []);
        assertEquals(faults, []);

        // A browser that has nothing yet, and a file with one bit changed.
        const damaged = `${site}/experts/expert-00/model.safetensors`;
        const bytes = await Deno.readFile(damaged);
        bytes[bytes.length - 5] ^= 1;
        await Deno.writeFile(damaged, bytes);
        const other = await (await browser.createBrowserContext()).newPage();
        await opens(other, url);
        await other.select("#by", "0");
        await other.focus("#prompt");
        await other.keyboard.sendCharacter("the sea");
        await writes(other);
        assertMatch(
          await textOf(other, "#error"),
          /expert-00\/model\.safetensors" as it must be the file that was exported: its SHA-256/,
        );
        await Deno.truncate(damaged, 100);
        await writes(other);
        assertStringIncludes(await textOf(other, "#error"), "it has 100 bytes instead of");
      }, GPU_ARGUMENTS)
    ),
});

Deno.test({
  name: "a site that is hostile or broken does nothing but say so",
  ignore: IGNORED,
  fn: () =>
    inFolder(async (folder) => {
      const page = await Deno.readTextFile(
        new URL("../../../pipeline/web/browser/index.html", import.meta.url),
      );
      assertStringIncludes(page, "default-src 'none'");
      assert(!page.includes("unsafe"));
      const { bundleScript } = await import("../../../pipeline/web/bundle.ts");
      await Deno.writeTextFile(`${folder}/index.html`, page);
      await Deno.writeTextFile(`${folder}/script.js`, await bundleScript());
      const expert = { name: "e", weights: "e/w", words: [], example: null };
      const sha256 = "0".repeat(64);
      const good = { format: 1, title: "t", texts: {}, files: {}, experts: [expert] };
      const cases: [site: unknown, says: RegExp][] = [
        ["{", /must be JSON/],
        [{ ...good, format: 9 }, /format must be right/],
        [{ ...good, experts: [] }, /experts must be right/],
        [{ ...good, files: { "e/w": { bytes: 1e15, sha256 } } }, /files\.e\/w\.bytes must be/],
        [{ ...good, files: { "../w": { bytes: 1, sha256 } } }, /files\.\.\.\/w must be/],
        [{ ...good, texts: { "https://a.b/c": "" } }, /texts\.https.* must be/],
        [
          { ...good, title: "<img src=x onerror=alert(1)>", experts: [{ ...expert, words: 3 }] },
          /words/,
        ],
      ];
      await atAddress(folder, (url) =>
        withBrowser(async (browser) => {
          const tab = await browser.newPage();
          for (const [site, says] of cases) {
            const text = typeof site === "string" ? site : JSON.stringify(site);
            await Deno.writeTextFile(`${folder}/site.json`, text);
            await tab.goto(url);
            await until(tab, `document.querySelector("#error").textContent !== ""`);
            assertMatch(await textOf(tab, "#error"), says);
            assertEquals(await tab.evaluate(`document.querySelector("#main").hidden`), true);
          }
          const plain = await browser.newPage();
          await plain.evaluateOnNewDocument("delete Navigator.prototype.gpu");
          await plain.goto(url);
          await until(plain, `document.querySelector("#error").textContent !== ""`);
          assertMatch(await textOf(plain, "#error"), /^This browser offers no WebGPU/);
        }, GPU_ARGUMENTS));
    }),
});
