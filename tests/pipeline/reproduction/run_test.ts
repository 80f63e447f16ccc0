import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { InputError, wordText } from "../../../kernels/errors.ts";
import { writeKnown } from "../../../pipeline/reproduction/folder.ts";
import { readStudies } from "../../../pipeline/reproduction/results.ts";
import { runStudies } from "../../../pipeline/reproduction/run.ts";
import type { Setup } from "../../../pipeline/reproduction/study.ts";
import { inFolder } from "../../tasks/support.ts";
import { gridOf, note, ratesFor, SMALL } from "./support.ts";

/** Notes a run that gains over each of its dense models. */
const gaining = (root: string, setup: Setup): Promise<void> =>
  note(root, setup, { gains: setup.models.slice(1, 3).map(() => [10, 9, 11]) });

Deno.test("pages tell of every study with as many seeds as are there, however many this command asks for", () =>
  inFolder(async (root) => {
    await writeKnown(root, { rates: ratesFor("experts", "segments") });
    const noted = gridOf(["experts", "segments"], {}, { seeds: 3 }).runs();
    for (const setup of noted) await gaining(root, setup);
    const runsOf = async (name: string) =>
      (await readStudies(`${root}/studies.json`)).studies.find((one) => one.name === name)?.runs;
    const run = async (studies: string[], seeds: number) => {
      const warnings: string[] = [];
      await runStudies({ run: root, sources: SMALL, studies, seeds }, {
        onEvent: (event) => event.type === "warning" && warnings.push(wordText(event.message)),
      });
      return warnings;
    };
    assertEquals(await run(["segments"], 1), []);
    assertEquals((await runsOf("experts"))?.length, 5); // 2 and 8 experts, and 4 with three seeds
    assertEquals((await runsOf("segments"))?.length, 3);
    const { settings } = await readStudies(`${root}/studies.json`);
    assertEquals([settings.corpus, settings.expertSteps, settings.expertRate], [
      "wide",
      768,
      undefined,
    ]);
    assertStringIncludes(
      await Deno.readTextFile(`${root}/reproduction.md`),
      "corpusCharacters 1500000",
    );
    // Of a seed that is not complete nothing is reported, and of the others as before.
    const last = noted.find(({ name }) => name === "em-4-experts-seed-2")!;
    await Deno.remove(`${root}/outcomes/${last.name}.json`);
    assertEquals(await run(["segments"], 1), []);
    assertEquals((await runsOf("experts"))?.length, 4);
    assertEquals((await runsOf("segments"))?.length, 2);
    // What is damaged is reported: a study that is asked for stops, others are left out with a
    // word.
    const second = `${root}/outcomes/em-4-experts-seed-1.json`;
    const whole = await Deno.readTextFile(second);
    await Deno.writeTextFile(second, whole.slice(0, -9));
    await assertRejects(() => run(["segments"], 1), InputError, `remove "${second}"`);
    for (const setup of gridOf(["assignment"]).runs()) await gaining(root, setup);
    const warnings = await run(["assignment"], 2);
    assertEquals(warnings.map((one) => one.split(/[,:]/)[0]), [
      'the study "assignment" has one seed alone',
      ...["experts", "segments", "partitioners"].map((name) => `the study "${name}" is left out`),
    ]);
    await Deno.writeTextFile(second, whole);
    // Notes elsewhere of more seeds than are asked for are taken in, too.
    const other = `${root}/other`;
    await writeKnown(other, { rates: ratesFor("experts") });
    await gaining(other, last);
    const sources = { run: root, sources: SMALL, studies: ["segments"], from: [other] };
    const results = await runStudies(sources);
    assert(results.some(({ runs }) => runs.length === 5));
  }));
