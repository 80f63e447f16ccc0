import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { rememberHashes, writeNote } from "../../../../pipeline/reproduction/studies/outcomes.ts";
import {
  configurationOf,
  routerSearchesOf,
  setupsOf,
} from "../../../../pipeline/reproduction/studies/pieces.ts";
import { writeRates } from "../../../../pipeline/reproduction/studies/rates.ts";
import { readStudies } from "../../../../pipeline/reproduction/studies/results.ts";
import {
  type RouterSearches,
  withRouters,
  writeRouterSearches,
} from "../../../../pipeline/reproduction/studies/router_search.ts";
import { runStudies, toldSettings } from "../../../../pipeline/reproduction/studies/run.ts";
import type { Setup } from "../../../../pipeline/reproduction/studies/study.ts";
import { heldIn, lockRun } from "../../../../pipeline/run/lock.ts";
import { resolveConfiguration, type Sources } from "../../../../pipeline/settings/resolution.ts";
import { wordText } from "../../../../kernels/errors.ts";
import { inFolder } from "../../../tasks/support.ts";
import { ratesFor, SMALL, study, wholeOutcome } from "./support.ts";

const hashesOf = rememberHashes();

/** Notes what a run came to that was never made: its mixture gains on every dense model. */
function note(root: string, setup: Setup): Promise<void> {
  const whole = wholeOutcome(setup);
  const gains = setup.models.filter((model) => model !== "experts")
    .map((baseline) => ({ baseline, percent: 10, low: 9, high: 11 }));
  const segment = { expert: 0, sequences: 1, share: 1, tokens: 10, perplexity: { mixture: 30, dense: 40 } };
  const evaluation = { ...whole.evaluation, gains, segments: [segment] };
  return writeNote(root, { ...whole, evaluation }, configurationOf(SMALL, setup), hashesOf);
}

Deno.test("pages tell of every study with as many seeds as are there, however many this command asks for", () =>
  inFolder(async (root) => {
    await writeRates(root, ratesFor("experts", "segments"));
    const noted = setupsOf([study("experts"), study("segments")], SMALL, 3);
    for (const setup of noted) await note(root, setup);
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
    assertEquals([settings.corpus, settings.expertSteps, settings.expertRate], ["wide", 768, undefined]);
    assertStringIncludes(await Deno.readTextFile(`${root}/reproduction.md`), "corpusCharacters 1500000");
    // Of a seed that is not complete nothing is told, and of the others as before.
    const last = noted.find(({ name }) => name === "em-4-experts-seed-2")!;
    await Deno.remove(`${root}/outcomes/${last.name}.json`);
    assertEquals(await run(["segments"], 1), []);
    assertEquals((await runsOf("experts"))?.length, 4);
    assertEquals((await runsOf("segments"))?.length, 2);
    // A seed that nobody asked for and that is damaged is left out with a word, by every study.
    const second = `${root}/outcomes/em-4-experts-seed-1.json`;
    const whole = await Deno.readTextFile(second);
    await Deno.writeTextFile(second, whole.slice(0, -9));
    const warnings = await run(["segments"], 1);
    assertEquals(warnings.map((one) => one.split(":")[0]), [
      'the study "experts" is told without seed 1',
      'the study "segments" is told without seed 1',
    ]);
    assertEquals([(await runsOf("experts"))?.length, (await runsOf("segments"))?.length], [3, 1]);
    await Deno.writeTextFile(second, whole);
    // A study that no seed repeats says so.
    for (const setup of setupsOf([study("assignment")], SMALL, 1)) await note(root, setup);
    assertEquals(await run(["assignment"], 2), [
      'the study "assignment" has one seed alone, however many are asked for',
    ]);
    // Notes elsewhere of more seeds than are asked for are taken in, too.
    const other = `${root}/other`;
    await writeRates(other, ratesFor("experts"));
    await note(other, last);
    const sources = { run: root, sources: SMALL, studies: ["segments"], from: [other] };
    const results = await runStudies(sources);
    assert(results.some(({ runs }) => runs.length === 5));
  }));

Deno.test("pages tell of studies whose settings of routers were given, also where this command gives none", () =>
  inFolder(async (root) => {
    const flags = { rounds: 12 };
    const given = { ...SMALL, flags };
    const recipes = [...routerSearchesOf([study("partitioners")], given, 1).keys()];
    const search = { routerRate: 0.0015, ...flags, trials: [] };
    const searches: RouterSearches = Object.fromEntries(recipes.map((recipe) => [recipe, search]));
    assertEquals(Object.keys(searches).length, 2);
    await writeRouterSearches(root, searches);
    await writeRates(root, ratesFor("partitioners", "segments"));
    for (const setup of setupsOf([study("partitioners"), study("segments")], given, 1, { searches })) {
      await note(root, setup);
    }
    const told = async (sources: Sources, names: string[]) =>
      (await runStudies({ run: root, sources, studies: names })).map((one) => one.study.name);
    assertEquals(await told(given, ["partitioners"]), ["segments", "partitioners"]);
    assertEquals(await told(SMALL, ["segments"]), ["segments", "partitioners"]);
    // Of two searches that differ in what was given, none is taken for the other.
    const others: RouterSearches = Object.fromEntries(
      recipes.map((recipe) => [recipe.replace("12 rounds given", "6 rounds given"), search]),
    );
    await writeRouterSearches(root, others);
    assertEquals(await told(SMALL, ["segments"]), ["segments"]);
    assertEquals(await told(given, ["segments"]), ["segments", "partitioners"]);
  }));

Deno.test("a search that ends while it waits for a run holds nothing any more", () =>
  inFolder(async (root) => {
    const [[, setup]] = routerSearchesOf([study("partitioners")], SMALL, 1, { only: [], rates: {} });
    const preset = resolveConfiguration(SMALL);
    const { name } = withRouters(setup, { routerRate: preset.routerRate, rounds: preset.rounds }, preset);
    const release = await lockRun(root, `${name}-partition`, "partition");
    const ending = new AbortController();
    await assertRejects(
      () =>
        runStudies({ run: root, sources: SMALL, studies: ["partitioners"] }, {
          onEvent: (event) =>
            event.type === "warning" && wordText(event.message).includes(`waits for "${name}-partition"`) &&
            ending.abort(new Error("ended")),
          signal: ending.signal,
        }),
      Error,
      "ended",
    );
    assertEquals((await heldIn(root)).map(({ name }) => name), [`${name}-partition`]);
    await release();
  }));

Deno.test("settings are told that are no defaults: none of an embedded text beside one's own, and rates that are given", () => {
  const { corpus, corpusCharacters, expertRate } = toldSettings(SMALL);
  assertEquals([corpus, corpusCharacters, expertRate], ["wide", 1_500_000, undefined]);
  const own = toldSettings({ ...SMALL, flags: { input: ["own.txt"], expertRate: 0.01, seed: 7 } });
  assertEquals([own.corpus, own.corpusCharacters, own.expertRate], [undefined, undefined, 0.01]);
  assert(!("input" in own) && !("seed" in own));
});
