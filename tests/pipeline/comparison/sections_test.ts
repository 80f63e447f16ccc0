import { assert, assertEquals, assertFalse, assertStringIncludes, fail } from "@std/assert";
import { compareRuns } from "../../../pipeline/comparison/mod.ts";
import { words } from "../../../tasks/wording.ts";
import { IGNORED, withBrowser } from "../../browser.ts";
import { inFolder } from "../../tasks/support.ts";
import { removeEvaluation, type Unlike, writeComparedRun } from "./support.ts";

/** Compares runs of these names, with a page; warnings about plots fail. */
async function pageOf(folder: string, runs: Record<string, Unlike>): Promise<string> {
  for (const [i, [name, unlike]] of Object.entries(runs).entries()) {
    await Deno.mkdir(`${folder}/${name}`, { recursive: true });
    await writeComparedRun(`${folder}/${name}`, {
      settings: { rounds: 12 + i },
      perplexity: 45 + i,
      ...unlike,
    });
  }
  const output = `${folder}/out/compare.html`;
  const onWarning = (message: string) => fail(message);
  await compareRuns({ runs: Object.keys(runs).map((name) => `${folder}/${name}`), output, words, onWarning });
  return await Deno.readTextFile(output);
}

const plotsOf = (page: string) =>
  [...page.matchAll(/<figure class="\w+" id="plot-([\w-]+)"/g)].map(([, id]) => id);
const PLOTS = ["em-nll", "em-nmi", "perplexity", "beside", "prefix-perplexity", "perplexity-by-source"];

Deno.test("compareRuns() writes a page with settings, plots, sources and what is missing", () =>
  inFolder(async (folder) => {
    const page = await pageOf(folder, { em: {}, ctbm: {} });
    assertEquals(plotsOf(page), PLOTS);
    const ids = [...page.matchAll(/ id="([^"]+)"/g)].map(([, id]) => id);
    assertEquals(new Set(ids).size, ids.length, "ids must be unique");
    const plain = page.replace(/<\/?span[^>]*>/g, "");
    for (
      const text of [
        "<title>2 SmallTalk runs side by side</title>",
        "lowest perplexity of a mixture: em",
        "<td>--rounds</td><td>12</td><td>13</td>",
        "<td>em</td><td>64</td><td>45.00</td><td>40.50 to 49.50</td>",
        "deno task train-dense --run",
      ]
    ) assertStringIncludes(plain, text);
    assertEquals(await pageOf(folder, { em: {}, ctbm: {} }), page);
  }));

Deno.test("compareRuns() plots the runs that have something to show, and those that are paired by document", () =>
  inFolder(async (folder) => {
    const pair = { documents: [3, 4] };
    const page = await pageOf(folder, {
      a: pair,
      b: { documents: [3.1, 4.2] },
      c: { documents: [1] },
      d: pair,
    });
    assertEquals(plotsOf(page), PLOTS);
    const section = (id: string) => page.slice(page.indexOf(`id="plot-${id}"`)).split("</figure>")[0];
    const rows = [...section("beside").matchAll(/<tr><td>(\w)<\/td>/g)].map(([, name]) => name);
    assertEquals(rows, ["b", "d"]);
    await Deno.remove(`${folder}/b/partitioner`, { recursive: true });
    await removeEvaluation(`${folder}/c`);
    const { runs } = await compareRuns({
      runs: ["a", "b", "c", "d"].map((name) => `${folder}/${name}`),
      output: `${folder}/x.html`,
    });
    assertEquals(runs.map(({ evaluation }) => evaluation !== null), [true, true, false, true]);
    const after = await Deno.readTextFile(`${folder}/x.html`);
    const heads = [...after.matchAll(/<th scope="col"[^>]*>EM round<\/th>(.*?)<\/tr>/g)].map(([, rest]) =>
      rest
    );
    assert(heads.length === 2 && heads.every((head) => !head.includes(">b<") && head.includes(">c<")));
  }));

Deno.test("compareRuns() escapes names of runs, also in plots, and leaves out plots that cannot tell so many apart", () =>
  inFolder(async (folder) => {
    const page = await pageOf(folder, { "<script>alert(1)</script>&\"'": {}, "\u202eb": {} });
    assertFalse(/<script|\u202e/.test(page));
    assertStringIncludes(page, "&lt;/script&gt;"); // the folder's name ends there, at its last slash
    const many = Object.fromEntries(Array.from({ length: 11 }, (_, i) => [`run-${i}`, {}]));
    assertEquals(plotsOf(await pageOf(folder, many)), ["perplexity", "beside"]);
  }));

Deno.test({
  name: "the page of compareRuns() fits desktops and phones, in light and dark, and loads nothing",
  ignore: IGNORED,
  fn: () =>
    inFolder(async (folder) => {
      await pageOf(folder, { "a-run-with-quite-a-long-name-for-a-legend": {}, b: {}, c: {} });
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
