import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { InputError, wordText } from "../../../kernels/errors.ts";
import { readRunConfiguration } from "../../../pipeline/graph/configuration.ts";
import { hashFile } from "../../../pipeline/graph/files.ts";
import { readManifest } from "../../../pipeline/graph/node.ts";
import { writeKnown } from "../../../pipeline/reproduction/folder.ts";
import { planStudies } from "../../../pipeline/reproduction/plan.ts";
import { readStudies } from "../../../pipeline/reproduction/results.ts";
import { runStudies } from "../../../pipeline/reproduction/run.ts";
import type { Setup } from "../../../pipeline/reproduction/study.ts";
import { inFolder, smallCorpus } from "../../tasks/support.ts";
import { SMALL_SETTINGS } from "../run/support.ts";
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
    const leftOut = (name: string) => `the study "${name}" is left out`;
    const warnings = await run(["assignment"], 2);
    assertEquals(warnings.map((one) => one.split(/[,:]/)[0]), [
      'the study "assignment" has one seed alone',
      ...["experts", "segments", "partitioners", "branch", "architecture"].map(leftOut),
      ...["sensitivity", "schedule"].map(leftOut),
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

Deno.test("the study of branching begins its second run from the dense model of its first, which its notes need no more", () =>
  inFolder(async (folder) => {
    await Deno.writeTextFile(`${folder}/docs.jsonl`, smallCorpus());
    const flags = {
      ...SMALL_SETTINGS,
      input: [`${folder}/docs.jsonl`],
      expertHidden: 8,
      expertLayers: 1,
      expertHeads: 2,
      expertBatch: 4,
      expertSteps: 8,
      expertRate: 1e-3,
      denseRate: 1e-3,
    };
    const run = `${folder}/studies`;
    const options = { run, studies: ["branch"], sources: { flags } };
    const left = async () => {
      const { jobs } = await planStudies(options);
      return jobs.filter(({ done }) => !done).map(({ run, job }) => `${run} ${job}`);
    };
    assertEquals((await left()).length, 8); // partition, two experts and a dense model, twice
    const [{ runs, findings }] = await runStudies(options);
    assertEquals(findings.table.rows.length, 2);
    const [first, second] = runs;
    const { configuration } = (await readRunConfiguration(`${run}/${second}`))!;
    assertEquals(configuration.init, `${run}/${first}/dense`);
    const { sha256 } = await hashFile(`${run}/${first}/dense/model.safetensors`);
    for (const node of ["experts/expert-00", "experts/expert-01", "dense"]) {
      assertEquals((await readManifest(`${run}/${second}/${node}`))?.settings.init, sha256);
    }
    assertEquals(await left(), []);
    await Deno.remove(`${run}/${first}`, { recursive: true });
    assertEquals(await left(), []);
  }));
