import { assertEquals, assertMatch } from "@std/assert";
import { wordText } from "../../../../kernels/errors.ts";
import { NAMES, writeManifest } from "../../../../pipeline/graph/mod.ts";
import { createWords } from "../../../../pipeline/serving/server/words.ts";
import { IGNORED, withBrowser } from "../../../browser.ts";
import { gpu } from "../../../kernels/support.ts";
import { inFolder } from "../../../tasks/support.ts";
import { servingRun } from "../support.ts";
import { serving } from "./support.ts";

const WORDS = [["harbour", "sail"], ["await"], ["upon"]];

/** Names the experts of a run. */
async function nameExperts(run: string): Promise<void> {
  const node = { key: "0", name: NAMES, revision: 1, settings: {}, inputs: {}, files: {} };
  await Deno.mkdir(`${run}/${NAMES}`, { recursive: true });
  await writeManifest(`${run}/${NAMES}`, { ...node, result: { words: WORDS } });
}

Deno.test("createWords() reads the words of experts once; none without a partition, nor from a damaged one", async () => {
  await inFolder(async (run) => {
    await servingRun(run);
    const warnings: string[] = [];
    const create = () => createWords(run, (message) => warnings.push(wordText(message)));
    assertEquals(await create()(), null);
    await nameExperts(run);
    const words = create();
    assertEquals(await words(), WORDS);
    assertEquals(warnings, []);
    const path = `${run}/${NAMES}/manifest.json`;
    await Deno.writeTextFile(path, (await Deno.readTextFile(path)).replace("sail", "rail"));
    assertEquals(await words(), WORDS); // they were read before
    assertEquals(await create()(), null);
    assertEquals(warnings.length, 1);
    assertMatch(warnings[0], /^experts are listed without their words: Cannot .*names\/manifest\.json/);
  });
});

Deno.test({
  name: "GET /v1/models and the page tell the words of every expert",
  ignore: IGNORED || gpu === null,
  fn: () =>
    inFolder(async (run) => {
      await servingRun(run);
      await nameExperts(run);
      await serving(run, [], async ({ url }) => {
        const { data }: { data: { words: string[] }[] } = await (await fetch(`${url}/v1/models`)).json();
        assertEquals((await (await fetch(`${url}/v1/models/expert-01`)).json()).words, data[3].words);
        await withBrowser(async (browser) => {
          const page = await browser.newPage();
          await page.goto(url);
          await page.waitForFunction('document.querySelectorAll("#bars li").length === 3');
          const words = await page.evaluate(
            '[...document.querySelectorAll("#bars .words")].map((one) => one.textContent)',
          );
          assertEquals(words, data.slice(2).map(({ words }) => words.join(", ")));
          assertMatch((words as string[])[0], /harbour/);
        });
      });
    }),
});
