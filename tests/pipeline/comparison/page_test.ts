import { assertEquals, assertFalse, assertMatch, assertStringIncludes, fail } from "@std/assert";
import { compareRuns } from "../../../pipeline/comparison/compare.ts";
import { valueText } from "../../../pipeline/comparison/page.ts";
import { words } from "../../../tasks/wording.ts";
import { IGNORED, withBrowser } from "../../browser.ts";
import { inFolder } from "../../tasks/support.ts";
import { writeComparedRun } from "./support.ts";

/** Compares runs of these names, with a page; warnings about plots fail. */
async function pageOf(folder: string, names: string[]): Promise<string> {
  const runs = names.map((name) => `${folder}/${name}`);
  for (const [i, run] of runs.entries()) {
    await Deno.mkdir(run, { recursive: true });
    await writeComparedRun(run, { settings: { rounds: 12 + i }, perplexity: 45 + i });
  }
  const output = `${folder}/out/compare.html`;
  const onWarning = (message: string) => fail(message);
  await compareRuns({ runs, output, words, onWarning });
  return await Deno.readTextFile(output);
}

const plotsOf = (page: string) =>
  [...page.matchAll(/<figure class="\w+" id="plot-([\w-]+)"/g)].map(([, id]) => id);

Deno.test("compareRuns() writes a page with settings, plots, sources and what is missing", async () => {
  await inFolder(async (folder) => {
    const page = await pageOf(folder, ["em", "ctbm"]);
    assertEquals(plotsOf(page), [
      "rounds-nllpertoken",
      "rounds-nmi",
      "perplexity",
      "prefix-perplexity",
      "perplexity-by-source",
    ]);
    const ids = [...page.matchAll(/ id="([^"]+)"/g)].map(([, id]) => id);
    assertEquals(new Set(ids).size, ids.length, "ids must be unique");
    assertStringIncludes(page, "<title>2 SmallTalk runs side by side</title>");
    assertStringIncludes(page, "lowest perplexity of a mixture: em");
    const plain = page.replace(/<\/?span[^>]*>/g, "");
    assertMatch(plain, /<td>--rounds<\/td><td>12<\/td><td>13<\/td>/);
    assertMatch(page, /<td>em<\/td><td>45\.00<\/td><td>40\.50 to 49\.50<\/td><td>3 of 3<\/td>/);
    assertStringIncludes(page, "deno task compare</code> from the files of the runs");
    assertStringIncludes(plain, "deno task train-dense --run");
    assertEquals(await pageOf(folder, ["em", "ctbm"]), page);
  });
});

Deno.test("compareRuns() escapes names of runs, also in plots", async () => {
  await inFolder(async (folder) => {
    const page = await pageOf(folder, ["<script>alert(1)</script>&\"'", "\u202eb"]);
    assertFalse(/<script/.test(page));
    assertFalse(page.includes("\u202e"));
    assertStringIncludes(page, "&lt;/script&gt;"); // the folder's name ends there, at its last slash
  });
});

Deno.test("compareRuns() leaves out plots that cannot tell so many runs apart", async () => {
  await inFolder(async (folder) => {
    const names = Array.from({ length: 11 }, (_, i) => `run-${i}`);
    const page = await pageOf(folder, names);
    assertEquals(plotsOf(page), ["perplexity"]);
    assertStringIncludes(page, "Of more than 10 runs there are no plots by prefix and by source.");
    for (const name of names) assertStringIncludes(page, `<td>${name}</td>`);
  });
});

Deno.test({
  name: "the page of compareRuns() fits desktops and phones, in light and dark, and loads nothing",
  ignore: IGNORED,
  fn: () =>
    inFolder(async (folder) => {
      await pageOf(folder, ["a-run-with-quite-a-long-name-for-a-legend", "b", "c"]);
      await withBrowser(async (browser) => {
        for (const width of [1200, 360]) {
          for (const value of ["light", "dark"]) {
            const page = await browser.newPage();
            const asked: string[] = [];
            page.on("request", (request) => asked.push(request.url()));
            await page.setViewport({ width, height: 900 });
            await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value }]);
            await page.goto(`file://${folder}/out/compare.html`);
            const scroll = await page.evaluate("document.documentElement.scrollWidth");
            assertEquals(scroll, width, `${value}, ${width} pixels`);
            assertEquals(asked.filter((url) => !url.startsWith("data:")).length, 1);
            await page.close();
          }
        }
      });
    }),
});

Deno.test("valueText() writes what a setting may be", () => {
  assertEquals([undefined, "", [], ["a", "b"], 0, false].map(valueText), [
    "–",
    "none",
    "none",
    "a, b",
    "0",
    "false",
  ]);
});
