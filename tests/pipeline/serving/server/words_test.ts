import { assertEquals } from "@std/assert";
import { NAMES, writeManifest } from "../../../../pipeline/graph/mod.ts";
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

Deno.test("a server tells the words of every expert; none without a partition, nor from a damaged one", async () => {
  await inFolder(async (run) => {
    await servingRun(run);
    const path = `${run}/${NAMES}/manifest.json`;
    const damage = async () => {
      await Deno.writeTextFile(path, (await Deno.readTextFile(path)).replace("sail", "rail"));
    };
    const cases: [prepare: () => Promise<void>, words: unknown[]][] = [
      [() => Promise.resolve(), [null, null, null]],
      [() => nameExperts(run), WORDS],
      [damage, [null, null, null]],
    ];
    for (const [prepare, expected] of cases) {
      await prepare();
      await serving(run, [], async ({ url, log }) => {
        const { data }: { data: { words: string[] }[] } = await (await fetch(`${url}/v1/models`)).json();
        assertEquals(data.slice(2).map(({ words }) => words), expected);
        assertEquals((await (await fetch(`${url}/v1/models/expert-01`)).json()).words, expected[1]);
        const isWarned = /experts are listed without their words: Cannot .*names\/manifest\.json/.test(log());
        assertEquals(isWarned, prepare === damage, log());
      });
    }
  });
});

Deno.test({
  name: "the page tells the words of every expert",
  ignore: IGNORED || gpu === null,
  fn: () =>
    inFolder(async (run) => {
      await servingRun(run);
      await nameExperts(run);
      await serving(run, [], async ({ url }) => {
        await withBrowser(async (browser) => {
          const page = await browser.newPage();
          await page.goto(url);
          await page.waitForFunction('document.querySelectorAll("#bars li").length === 3');
          const words = await page.evaluate(
            '[...document.querySelectorAll("#bars .words")].map((one) => one.textContent)',
          );
          assertEquals(words, WORDS.map((words) => words.join(", ")));
        });
      });
    }),
});
