import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import type { Page } from "puppeteer-core";
import { InputError } from "../../../kernels/errors.ts";
import { adoptExpert } from "../../../pipeline/run/adopt.ts";
import { exportSite } from "../../../pipeline/run/export_site.ts";
import { trainExpert } from "../../../pipeline/run/models.ts";
import { generate } from "../../../pipeline/serving/generate.ts";
import { serveSite } from "../../../pipeline/web/static_server.ts";
import { gpu } from "../../kernels/support.ts";
import {
  assertReadable,
  GPU_ARGUMENTS,
  IGNORED,
  reachByTab,
  textOf,
  until,
  withBrowser,
} from "../../browser.ts";
import { copyFolder, inFolder } from "../../tasks/support.ts";
import { withPartition } from "../run/support.ts";

const EXPERTS = {
  expertHidden: 16,
  expertLayers: 1,
  expertHeads: 2,
  // Pictures are of experts that write words.
  expertSteps: Deno.env.has("SMALLTALK_SCREENSHOTS") ? 400 : 12,
  expertWarmup: 2,
  expertBatch: 8,
};
const LLAMA = { ...EXPERTS, expertArchitecture: "llama", expertKvHeads: 1 } as const;
const NEW_TOKENS = 32;
const PROMPTS = ["the ship and the sea", "return value ; const count"];
/** Most bytes of the script, compressed. */
const MOST_SCRIPT = 250_000;

/** A site at an address. */
interface Address {
  url: string;
  asked: string[]; // paths of requests
  close(): Promise<void>; // ends the server
}

/** Runs a test with the site of a small run of two experts: GPT-NeoX, and a Llama that it adopted. */
async function withSite(
  test: (about: Address & { run: string; site: string }) => Promise<void>,
): Promise<void> {
  await withPartition(async (run) => {
    const other = `${run}/../other`;
    copyFolder(run, other);
    await trainExpert(0, { run, gpu: gpu!, sources: { flags: EXPERTS } });
    await trainExpert(1, { run: other, gpu: gpu!, sources: { flags: LLAMA } });
    await adoptExpert({ run, expert: 1, from: `${other}/experts/expert-01` });
    await inFolder(async (folder) => {
      const site = `${folder}/site/below`;
      await exportSite({ run, output: site });
      await atAddress(`${folder}/site`, async ({ url, ...address }) => {
        await test({ run, site, url: `${url}below/`, ...address });
      });
    });
  });
}

/** Serves a folder while a test runs. */
async function atAddress(folder: string, test: (address: Address) => Promise<void>): Promise<void> {
  const asked: string[] = [];
  const closing = new AbortController();
  const listening = Promise.withResolvers<string>();
  const served = serveSite(folder, {
    signal: closing.signal,
    onListen: listening.resolve,
    onRequest: (path) => asked.push(path.replace("/below/", "")),
  });
  const close = async () => {
    closing.abort();
    await served;
  };
  try {
    await test({ url: await listening.promise, asked, close });
  } finally {
    await close();
  }
}

/** Counts the bytes of a file as servers compress it. */
async function countCompressed(path: string): Promise<number> {
  const file = await Deno.open(path);
  const compressed = file.readable.pipeThrough(new CompressionStream("gzip"));
  return (await new Response(compressed).bytes()).length;
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
  await page.focus("#prompt");
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
    "a site routes and writes as generate does, downloads one expert, and nothing on a second visit, also without a network",
  ignore: IGNORED || gpu === null,
  fn: () =>
    withSite(({ run, site, url, asked, close }) =>
      withBrowser(async (browser) => {
        const script = await countCompressed(`${site}/script.js`);
        assert(script <= MOST_SCRIPT, `the script has ${script} bytes`);
        const about = await Deno.readTextFile(`${site}/site.json`);
        assert(!about.includes("/other"), "the folder of an adopted expert is nobody's business");
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
        await set("temperature", 0);
        await set("length", NEW_TOKENS);
        for (const [i, prompt] of PROMPTS.entries()) {
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
          if (i === 0) {
            assertEquals(before, 2); // the routers
            assertEquals(fetched, [`experts/expert-0${chosen}/model.safetensors`]);
          }
        }
        const experts = new Set(weights(asked).filter((path) => path.startsWith("experts/")));
        assertMatch(
          await textOf(page, "#share"),
          new RegExp(`^Downloaded: ${experts.size} of 2 experts, `),
        );

        // Both experts together, one of them a Llama.
        const options = { run, gpu: gpu!, prompt: PROMPTS[0], temperature: 0 };
        const mixed = await generate({ ...options, mix: 2, maxNewTokens: NEW_TOKENS });
        const together = (await Array.fromAsync(mixed)).join("");
        await types(page, PROMPTS[0]);
        await set("mix", 2);
        assertEquals(await writes(page), PROMPTS[0] + together);
        assertMatch(await textOf(page, "#why"), /Mixed: \d+% expert \d, \d+% expert \d\.$/);
        await set("mix", 1);

        await page.evaluate(`document.querySelector("#more").open = true`);
        await page.click("#all");
        await until(
          page,
          `document.querySelectorAll("article").length === 2 && document.querySelector("#stop").disabled`,
        );
        await assertReadable(page, "site");
        const controls = await page.evaluate(
          `[...document.querySelectorAll("textarea, input, select, button, summary")]
            .filter((control) => control.checkVisibility() && !control.disabled)
            .map(({ id, textContent }) => id || textContent)`,
        );
        assertEquals(await reachByTab(page, "prompt"), controls);

        // A device that is lost: the page opens another one, and goes on.
        const before = await writes(page);
        await page.evaluate("devices.at(-1).destroy()");
        assertEquals(await writes(page), before);
        assertEquals(await textOf(page, "#error"), "");
        assertEquals(await page.evaluate("devices.length"), 2);

        await page.evaluate("navigator.serviceWorker.ready.then(() => {})");
        asked.length = 0;
        await opens(page, url);
        await types(page, PROMPTS[0]);
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
        await other.select("#model", "expert-00");
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

        await close();
        await opens(page, url);
        await types(page, PROMPTS[1]);
        assertStringIncludes(await writes(page), PROMPTS[1]);
        assertEquals(await textOf(page, "#error"), "");
        await opens(page, `${url}index.html?again`); // by another name
      }, GPU_ARGUMENTS)
    ),
});

/** What a page fetches, and what it says of that. */
const BROKEN: [script: string, says: RegExp][] = [
  ["", /tokenizer\.json" as .* it has 2 bytes instead of 2147483647; copy/],
  [
    `void (globalThis.fetch = () => Promise.resolve(new Response(new ReadableStream({
      pull: (controller) => controller.error(new TypeError("network error")),
    }))))`,
    /tokenizer\.json" as the server must send the whole file: it does not; look at/,
  ],
  [
    `void (globalThis.fetch = () => Promise.reject(new TypeError("failed")))`,
    /tokenizer\.json" as the server must send the whole file: it does not; look at/,
  ],
];

Deno.test("a run whose partitioner has no routers is refused as a site in one line", () =>
  withPartition(async (run) => {
    const exporting = () => exportSite({ run, output: `${run}/../site` });
    const { message } = await assertRejects(exporting, InputError, "routers must choose");
    assertMatch(
      message,
      /^Cannot export .* as a site as .*: random does; partition with partitioner em$/,
    );
  }, { partitioner: "random" }));

Deno.test({
  name: "a site that is hostile or broken does nothing but say so",
  ignore: IGNORED,
  fn: () =>
    inFolder(async (folder) => {
      const page = await Deno.readTextFile(
        new URL("../../../pipeline/serving/page/index.html", import.meta.url),
      );
      assertStringIncludes(page, "default-src 'none'");
      assert(!page.includes("unsafe"));
      const { bundleScript } = await import("../../../pipeline/web/bundle.ts");
      await Deno.writeTextFile(`${folder}/index.html`, page);
      await Deno.writeTextFile(`${folder}/script.js`, await bundleScript());
      const expert = { name: "e", weights: "e/w", words: [], example: null };
      const sha256 = "0".repeat(64);
      const good = {
        format: 1,
        title: "t",
        texts: {},
        files: { "e/w": { bytes: 1, sha256 } },
        experts: [expert],
      };
      const cases: [site: unknown, says: RegExp][] = [
        ["{", /must be JSON/],
        [{ ...good, format: 9 }, /format must be right/],
        [{ ...good, experts: [] }, /experts must be right/],
        [{ ...good, files: { "e/w": { bytes: 1e15, sha256 } } }, /files\.e\/w\.bytes must be/],
        [{ ...good, files: {} }, /experts must be right: Expected weights/],
        [{ ...good, files: { "../w": { bytes: 1, sha256 } } }, /files\.\.\.\/w must be/],
        [{ ...good, texts: { "https://a.b/c": "" } }, /texts\.https.* must be/],
        [
          { ...good, title: "<img src=x onerror=alert(1)>", experts: [{ ...expert, words: 3 }] },
          /words/,
        ],
      ];
      await atAddress(folder, ({ url }) =>
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
          // Texts with HTML in them are shown as they are.
          const html = "<img src=x onerror=alert(1)>";
          const shown = { ...expert, words: [html], example: html };
          const text = JSON.stringify({ ...good, title: html, experts: [shown] });
          await Deno.writeTextFile(`${folder}/site.json`, text);
          await tab.goto(url);
          await until(tab, `document.querySelector("#examples button")`);
          await tab.click("#examples button");
          for (const id of ["title", "examples", "scores"]) {
            assertStringIncludes(await textOf(tab, `#${id}`), html);
          }
          await tab.click("#write");
          await until(tab, `document.querySelector("#stop").disabled`);
          assertEquals(await tab.evaluate(`document.querySelector("#prompt").value`), html);
          assertEquals(await tab.evaluate(`document.querySelectorAll("img").length`), 0);
          assertMatch(await textOf(tab, "#error"), /^Cannot /);
          // A huge size takes no memory before as many bytes have come.
          const huge = { ...good.files, "tokenizer.json": { bytes: 2 ** 31 - 1, sha256 } };
          await Deno.writeTextFile(`${folder}/site.json`, JSON.stringify({ ...good, files: huge }));
          await Deno.writeTextFile(`${folder}/tokenizer.json`, "{}");
          await tab.goto(url);
          await until(tab, `document.querySelector("#error").textContent !== ""`);
          for (const [fetched, says] of BROKEN) {
            await tab.evaluate(fetched);
            await tab.click("#write");
            await until(tab, `${says}.test(document.querySelector("#error").textContent)`);
          }
          const plain = await browser.newPage();
          await plain.evaluateOnNewDocument("delete Navigator.prototype.gpu");
          await plain.goto(url);
          await until(plain, `document.querySelector("#error").textContent !== ""`);
          assertMatch(await textOf(plain, "#error"), /^This browser offers no WebGPU/);
        }, GPU_ARGUMENTS));
    }),
});

Deno.test("a site's server answers for what is no file", () =>
  inFolder(async (folder) => {
    await Deno.mkdir(`${folder}/below`);
    await Deno.writeTextFile(`${folder}/below/index.html`, "here");
    await atAddress(folder, async ({ url }) => {
      const cases: [path: string, status: number, text: string][] = [
        ["below", 200, "here"],
        ["below/", 200, "here"],
        ["%zz", 400, "no path"],
        ["x%00", 400, "no path"],
        ["nothing", 404, "not here"],
        ["..%2f..%2fetc%2fpasswd", 404, "not here"],
      ];
      for (const [path, status, text] of cases) {
        const response = await fetch(url + path);
        assertEquals([response.status, await response.text()], [status, text], path);
      }
    });
  }));
