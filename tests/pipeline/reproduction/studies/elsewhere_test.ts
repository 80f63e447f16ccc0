import { assertEquals, assertRejects } from "@std/assert";
import { InputError } from "../../../../kernels/errors.ts";
import { notedOf, readKnown, takeIn } from "../../../../pipeline/reproduction/studies/elsewhere.ts";
import {
  namesOfNotes,
  noteFile,
  readOutcome,
  rememberHashes,
  writeNote,
} from "../../../../pipeline/reproduction/studies/outcomes.ts";
import {
  configurationOf,
  routerSearchesOf,
  setupsOf,
} from "../../../../pipeline/reproduction/studies/pieces.ts";
import { readRates, writeRates } from "../../../../pipeline/reproduction/studies/rates.ts";
import {
  readRouterSearches,
  writeRouterSearches,
} from "../../../../pipeline/reproduction/studies/router_search.ts";
import { resolveConfiguration } from "../../../../pipeline/settings/resolution.ts";
import { hashes, inFolder } from "../../../tasks/support.ts";
import { ratesFor, SMALL, study, wholeOutcome } from "./support.ts";

const ALL = setupsOf([study("partitioners")], SMALL, 1);
const [EM, CLUSTERS, , , RANDOM] = ALL;
const HASHES = rememberHashes();
const OPTIONS = { studies: [study("partitioners")], sources: SMALL, seeds: 1, hashesOf: HASHES };
const note = (place: string, setup: typeof EM, mixture: number, steps?: number) => {
  const configuration = { ...configurationOf(SMALL, setup), ...steps && { expertSteps: steps } };
  return writeNote(place, wholeOutcome(setup, mixture), configuration, HASHES);
};

Deno.test("what folders elsewhere found is taken in beside what is there, which stays unless it is of other settings", () =>
  inFolder(async (folder) => {
    const [root, one, two] = ["root", "one", "two"].map((name) => `${folder}/${name}`);
    const rate = (rate: number) => ({ rate, trials: [] });
    const [random, clusters] = routerSearchesOf([study("partitioners")], SMALL, 1).keys();
    const { routerRate, rounds } = resolveConfiguration(SMALL);
    const search = { routerRate, rounds, trials: [] };
    await writeRates(root, { here: rate(1), both: rate(1) });
    await writeRates(one, { both: rate(2), there: rate(2) });
    await writeRates(two, { there: rate(3), ...ratesFor("partitioners") });
    await writeRouterSearches(two, { [random]: search, [clusters]: search });
    await note(root, RANDOM, 30, 7); // of other settings
    await note(one, EM, 31);
    await note(one, CLUSTERS, 32, 7);
    for (const [setup, mixture] of [[EM, 33], [CLUSTERS, 34], [RANDOM, 35]] as const) {
      await note(two, setup, mixture);
    }
    const rates = { here: rate(1), both: rate(1), there: rate(2), ...ratesFor("partitioners") };
    const searches = { [random]: search, [clusters]: search };
    assertEquals(await readKnown(root, [one, two]), { rates, searches });
    const asked = { ...OPTIONS, rates };
    const noted = [[EM.name, one], [CLUSTERS.name, two], [RANDOM.name, two]] as const;
    assertEquals(await notedOf(root, [one, two], ALL, asked), new Map(noted));
    assertEquals(await namesOfNotes(root), [RANDOM.name]); // nothing is written until it is taken in

    await takeIn(root, [one, two], OPTIONS);
    assertEquals([await readRates(root), await readRouterSearches(root)], [rates, searches]);
    assertEquals(await notedOf(root, [], ALL, asked), new Map(noted.map(([name]) => [name, root])));
    const told = await Promise.all([EM, CLUSTERS, RANDOM].map((setup) => readOutcome(root, setup, asked)));
    assertEquals(told.map((outcome) => outcome?.evaluation.scores.mixture?.perplexity), [31, 34, 35]);
    // Of a run that only another study needs, too, where nothing is noted of it.
    const [eight] = setupsOf([study("experts")], SMALL, 1).filter(({ name }) =>
      name === "em-8-experts-seed-0"
    );
    await note(two, eight, 36);
    await writeRates(two, ratesFor("experts"));
    await takeIn(root, [two], OPTIONS);
    assertEquals(await namesOfNotes(root), [eight, EM, CLUSTERS, RANDOM].map(({ name }) => name).sort());
    const before = await hashes(root);
    for (const from of [[], [two], [root]]) {
      await takeIn(root, from, OPTIONS);
      assertEquals(await hashes(root), before, from.join());
    }
    // A run that is evaluated in the folder is looked at itself.
    await Deno.mkdir(`${root}/${EM.name}/manifests`, { recursive: true });
    await Deno.writeTextFile(`${root}/${EM.name}/manifests/evaluate.json`, "{");
    await assertRejects(() => notedOf(root, [], ALL, asked), InputError, "a stage's manifest");
  }));

Deno.test("a folder that holds nothing of studies, and damage, are told before anything is written", () =>
  inFolder(async (folder) => {
    const [root, one, empty] = ["root", "one", "empty"].map((name) => `${folder}/${name}`);
    await Deno.mkdir(empty);
    await note(one, EM, 30);
    for (const from of [empty, `${folder}/none`]) {
      await assertRejects(
        () => takeIn(root, [one, from], OPTIONS),
        InputError,
        `Cannot go on from "${from}"`,
      );
    }
    for (
      const [file, text, message] of [
        [noteFile(CLUSTERS.name), "{}", "what a run came to"],
        ["rates.json", "{", "learning rates"],
        ["rates.json", '{"format":1,"rates":{"a":{"rate":-1,"trials":[]}}}', "learning rates"],
        [
          "routers.json",
          '{"format":1,"routers":{"a":{"routerRate":0.1,"rounds":0,"trials":[]}}}',
          "settings of routers",
        ],
        [
          "routers.json",
          '{"format":1,"routers":{"a":{"routerRate":-1,"rounds":1,"trials":[]}}}',
          "settings of routers",
        ],
      ]
    ) {
      await Deno.writeTextFile(`${one}/${file}`, text);
      await assertRejects(() => takeIn(root, [one], OPTIONS), InputError, message);
      await Deno.remove(`${one}/${file}`);
    }
    await assertRejects(() => Deno.stat(root), Deno.errors.NotFound);
    await Deno.writeTextFile(`${empty}/rates.json`, '{"format":1,"rates":{}}');
    await assertRejects(() => takeIn(root, [empty], OPTIONS), InputError, "Cannot go on from");
  }));
