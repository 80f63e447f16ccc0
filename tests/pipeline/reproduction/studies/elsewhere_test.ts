import { assertEquals, assertRejects } from "@std/assert";
import { InputError } from "../../../../kernels/errors.ts";
import { readKnown, takeIn } from "../../../../pipeline/reproduction/studies/elsewhere.ts";
import {
  namesOfNotes,
  noteFile,
  readOutcome,
  writeNote,
} from "../../../../pipeline/reproduction/studies/outcomes.ts";
import { configurationOf } from "../../../../pipeline/reproduction/studies/pieces.ts";
import { readRates, writeRates } from "../../../../pipeline/reproduction/studies/rates.ts";
import {
  readRouterSearches,
  writeRouterSearches,
} from "../../../../pipeline/reproduction/studies/router_search.ts";
import { hashes, inFolder } from "../../../tasks/support.ts";
import { setupsFor, SMALL, wholeOutcome } from "./support.ts";

const [FIRST, SECOND] = setupsFor("partitioners");

Deno.test("what folders elsewhere found is taken in beside what is there, which stays; the first one named holds", () =>
  inFolder(async (folder) => {
    const [root, one, two] = ["root", "one", "two"].map((name) => `${folder}/${name}`);
    const search = (routerRate: number) => ({ routerRate, rounds: 12, trials: [] });
    const rate = (rate: number) => ({ rate, trials: [] });
    const note = (place: string, setup: typeof FIRST, mixture: number) =>
      writeNote(place, wholeOutcome(setup, mixture), configurationOf(SMALL, setup));
    await writeRates(root, { here: rate(1), both: rate(1) });
    await writeRates(one, { both: rate(2), there: rate(2) });
    await writeRates(two, { there: rate(3), last: rate(3) });
    await writeRouterSearches(two, { clusters: search(0.5) });
    await note(one, FIRST, 31);
    await note(two, FIRST, 32);
    await note(two, SECOND, 33);
    const known = await readKnown(root, [one, two]);
    assertEquals(await known.notedOf([FIRST, SECOND], SMALL), new Set([FIRST.name, SECOND.name]));
    assertEquals(await namesOfNotes(root), []);
    await takeIn(root, [one, two]);
    const rates = { here: rate(1), both: rate(1), there: rate(2), last: rate(3) };
    const routers = { clusters: search(0.5) };
    assertEquals([known.rates, known.searches], [rates, routers]);
    assertEquals([await readRates(root), await readRouterSearches(root)], [rates, routers]);
    const told = async () =>
      (await Promise.all([FIRST, SECOND].map((setup) => readOutcome(root, setup, SMALL))))
        .map((outcome) => outcome?.evaluation.scores.mixture?.perplexity);
    assertEquals(await told(), [31, 33]);
    const before = await hashes(root);
    for (const from of [[], [two], [root]]) {
      await takeIn(root, from);
      assertEquals(await hashes(root), before, from.join());
    }
  }));

Deno.test("a folder that holds nothing of studies, and damage, are told before anything is written", () =>
  inFolder(async (folder) => {
    const [root, one, empty] = ["root", "one", "empty"].map((name) => `${folder}/${name}`);
    await Deno.mkdir(empty);
    await writeNote(one, wholeOutcome(FIRST), configurationOf(SMALL, FIRST));
    for (const from of [empty, `${folder}/none`]) {
      await assertRejects(() => takeIn(root, [one, from]), InputError, `Cannot go on from "${from}"`);
    }
    await writeNote(one, wholeOutcome(SECOND), configurationOf(SMALL, SECOND));
    await Deno.writeTextFile(`${one}/${noteFile(SECOND.name)}`, "{}");
    await assertRejects(() => takeIn(root, [one]), InputError, "what a run came to");
    await Deno.remove(`${one}/${noteFile(SECOND.name)}`);
    await Deno.writeTextFile(`${one}/rates.json`, "{");
    await assertRejects(() => takeIn(root, [one]), InputError, "learning rates");
    await assertRejects(() => Deno.stat(root), Deno.errors.NotFound);
  }));
