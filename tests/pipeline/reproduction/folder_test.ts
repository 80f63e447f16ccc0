import {
  assert,
  assertEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import {
  checkHolds,
  checkParts,
  checkStudies,
  namesOfNotes,
  noteFile,
  Notes,
  readKnown,
  readNote,
  writeKnown,
} from "../../../pipeline/reproduction/folder.ts";
import type { Outcome, Setup } from "../../../pipeline/reproduction/study.ts";
import { runOneStage } from "../../../pipeline/run/partition.ts";
import { STAGES } from "../../../pipeline/stages/stages.ts";
import { seal } from "../../../pipeline/graph/schema.ts";
import type { Configuration } from "../../../pipeline/settings/configuration.ts";
import { hashes, inFolder } from "../../tasks/support.ts";
import { gridOf, outcome, ratesFor, setupsFor } from "./support.ts";

const [EM] = setupsFor("partitioners");
const SETUP: Setup = {
  ...EM,
  models: ["experts", "dense"],
  choices: { mix: [1, 2], routeLengths: [1, 2] },
};
const RATES = ratesFor("experts", "partitioners");
const notesIn = (root: string, flags: Partial<Configuration> = {}, rates = RATES) =>
  new Notes(gridOf(["experts"], flags, { known: { rates } }), root);

Deno.test("a note tells of a run of its settings, choices, models and learning rates, and of no other one", () =>
  inFolder(async (root) => {
    await notesIn(root).write(outcome(SETUP));
    assertEquals(await namesOfNotes(root), [EM.name]);
    assertEquals(
      (await notesIn(root).find(SETUP))?.evaluation.scores,
      outcome(SETUP).evaluation.scores,
    );
    const reported = async (
      one: Partial<Setup> = {},
      flags: Partial<Configuration> = {},
      rates = RATES,
    ) => await notesIn(root, flags, rates).find({ ...SETUP, ...one }) !== undefined;
    const others = Object.fromEntries(
      Object.keys(RATES).map((recipe) => [recipe, { rate: 0.008, trials: [] }]),
    );
    const cases: [tells: boolean, Partial<Setup>, Partial<Configuration>?, typeof RATES?][] = [
      [true, {}],
      [true, { models: ["experts"] }],
      [true, { choices: undefined }],
      [true, { label: "another label" }],
      [true, {}, { switchExperts: 3 }], // of a model that is none of these
      [true, {}, { expertRate: 0.004, denseRate: 0.004 }, {}],
      [true, {}, { expertRate: 0.004, denseRate: 0 }, {}], // 0 stands for that of the experts
      [false, { name: "another-seed-0" }],
      [false, { settings: { ...EM.settings, seed: 1 } }],
      [false, { models: ["experts", "dense-steps"] }],
      [true, { choices: { mix: [1, 2], routeLengths: [2] } }],
      [false, { choices: { mix: [1, 2], routeLengths: [2, 3] } }],
      [false, { choices: { mix: [1, 4] } }],
      [false, { choices: { routeBy: "self" } }],
      [false, {}, { expertRate: 0.008 }],
      [false, {}, { denseRate: 0.008 }],
      [false, {}, { expertSteps: 7 }],
      [false, {}, { corpusCharacters: 1000 }],
      [false, {}, {}, others],
      [false, {}, {}, {}], // they are still to be found
    ];
    for (const [tells, ...one] of cases) {
      assertEquals(await reported(...one), tells, JSON.stringify(one));
    }
    // A stage that makes other bytes since.
    const score = STAGES.get("score")!;
    const nodes: typeof score.nodes = async (of, request) =>
      (await score.nodes(of, request)).map((node) => ({ ...node, revision: 99 }));
    STAGES.set("score", { ...score, nodes });
    try {
      assertEquals(await reported(), false);
    } finally {
      STAGES.set("score", score);
    }
  }));

Deno.test("a note tells of the same text wherever it lies, names no path, and nothing is noted of text that is gone", () =>
  inFolder(async (root) => {
    const place = async (folder: string, text: string) => {
      await Deno.mkdir(`${root}/${folder}`, { recursive: true });
      await Deno.writeTextFile(`${root}/${folder}/docs.jsonl`, text);
      return { input: [`${root}/${folder}/docs.jsonl`] };
    };
    const note = (flags: Partial<Configuration>, folder = root) =>
      notesIn(folder, flags).write(outcome(SETUP));
    const reported = async (flags: Partial<Configuration>) =>
      await notesIn(root, flags).find(SETUP) !== undefined;
    await note(await place("one", '{"text":"a"}'));
    assert(!(await Deno.readTextFile(`${root}/${noteFile(EM.name)}`)).includes(root));
    assert(await reported(await place("two", '{"text":"a"}')));
    assert(!await reported(await place("one", '{"text":"b"}')));
    // Where a path says which source a document is of, it must be the same one.
    const sourced = { sourceFromPath: `${root}/{source}/*` };
    await note({ ...await place("one", '{"text":"a"}'), ...sourced });
    assert(await reported({ ...await place("one", '{"text":"a"}'), ...sourced }));
    assert(!await reported({ ...await place("two", '{"text":"a"}'), ...sourced }));
  }));

Deno.test("a note that is not as it was written, or cannot be true, is damage, and reports how to go on", () =>
  inFolder(async (root) => {
    assertEquals(await readNote(root, EM.name), null);
    await notesIn(root).write(outcome(EM));
    const path = `${root}/${noteFile(EM.name)}`;
    const text = await Deno.readTextFile(path);
    const sealed = (change: (outcome: Outcome) => void) => {
      const { checksum: _, ...note } = JSON.parse(text);
      change(note.outcome);
      return JSON.stringify(seal(note));
    };
    const damaged = [
      ...["", "{}", text.slice(0, -9), text.replace('"perplexity": 30', '"perplexity": 31')],
      text.replace('"format": 1', '"format": 2'),
      sealed(({ evaluation }) => evaluation.experts = -1),
    ];
    for (const other of damaged) {
      await Deno.writeTextFile(path, other);
      const read = () => readNote(root, EM.name);
      const { message } = await assertRejects(read, InputError, "what a run came to");
      assert(message.endsWith(`; remove "${path}": what it held is made again`), message);
    }
    await Deno.writeTextFile(path, sealed(() => {}));
    assert(await readNote(root, EM.name));
  }));

Deno.test("findings are noted side by side, with trials that diverged; what is there stays, and damage is reported", () =>
  inFolder(async (root) => {
    const rate = (rate: number) => ({ rate, trials: [{ rate, validationLoss: Infinity }] });
    await writeKnown(root, { rates: { one: rate(1) } });
    await writeKnown(root, { rates: { two: rate(2), one: rate(2) } });
    const search = { routerRate: 0.1, rounds: 2, trials: [] };
    await writeKnown(root, { routers: { three: search } });
    const known = { rates: { one: rate(1), two: rate(2) }, routers: { three: search } };
    assertEquals(await readKnown(root), known);
    assertEquals(await readKnown(`${root}/none`, root), known);
    await Deno.writeTextFile(
      `${root}/rates.json`,
      '{"format":1,"rates":{"a":{"rate":-1,"trials":[]}}}',
    );
    await assertRejects(() => readKnown(root), InputError, "learning rates");
    await writeKnown(`${root}/other`, { rates: { one: rate(1) } });
    const text = '{"format":1,"routers":{"a":{"routerRate":0.1,"rounds":0,"trials":[]}}}';
    await Deno.writeTextFile(`${root}/other/routers.json`, text);
    await assertRejects(() => checkHolds(`${root}/other`), InputError, "settings of routers");
    await Deno.writeTextFile(`${root}/rates.json`, '{"format":1,"rates":{}}');
    await Deno.remove(`${root}/routers.json`);
    await assertRejects(() => checkHolds(root), InputError, "Cannot go on from");
  }));

Deno.test("what folders elsewhere tell of a run is taken in unless what is there fits, and only where that is asked for", () =>
  inFolder(async (folder) => {
    const [root, one, two] = ["root", "one", "two"].map((name) => `${folder}/${name}`);
    const rates = ratesFor("assignment");
    const [balanced, optimal, argmax] = setupsFor("assignment");
    const note = (place: string, setup: Setup, mixture: number, flags = {}) =>
      notesIn(place, flags).write(outcome(setup, { mixture }));
    await note(root, balanced, 30, { expertSteps: 7 });
    await note(root, argmax, 31);
    await note(one, optimal, 32, { expertSteps: 7 });
    for (const setup of [balanced, optimal, argmax]) await note(two, setup, 33);
    const before = await hashes(root);
    const found = (keep: boolean) =>
      Promise.all([balanced, optimal, argmax].map(async (setup) => {
        const notes = new Notes(gridOf(["experts"], {}, { known: { rates } }), root, [one, two]);
        return (await notes.find(setup, keep))!.evaluation.scores.mixture!.perplexity;
      }));
    assertEquals(await found(false), [33, 33, 31]);
    assertEquals(await hashes(root), before);
    assertEquals(await found(true), [33, 33, 31]);
    const reported = [balanced, optimal, argmax].map(({ name }) => readNote(root, name));
    const perplexities = (await Promise.all(reported)).map((note) =>
      note!.outcome.evaluation.scores.mixture
    );
    assertEquals(perplexities.map((score) => score!.perplexity), [33, 33, 31]);
  }));

/** Checks a study with some flags. */
const check = (
  root: string,
  name: string,
  flags: Partial<Configuration> = {},
  options: { seeds?: number; only?: string[] } = {},
) => checkStudies(root, gridOf([name], flags, options));

Deno.test("studies are refused in a folder that is a run, of text that is read once, or with nothing to compare", () =>
  inFolder(async (root) => {
    const input = ["-"];
    const refused = async (text: string, ...of: [string, Partial<Configuration>, object?]) => {
      const { message } = await assertRejects(() => check(root, ...of), InputError);
      assertStringIncludes(message, text);
    };
    await refused("as every run must read the text", "prefix", { input });
    for (const name of ["prefix", "short"]) {
      await refused("must be more than 4: it is 4", name, { prefix: 4, prefixLengths: [] });
      await check(root, name, { prefix: 5 });
    }
    await check(root, "segments", { prefix: 4 });
    await refused("a larger holdout", "segments", { holdout: 0 });
    await Deno.writeTextFile(`${root}/config.json`, "{}");
    await refused("it is a run itself", "segments", {});
  }));

Deno.test("text without held-out sequences, or with fewer labels than experts, is refused before anything is trained", () => {
  const part = (testSequences: number, ...labels: string[]) => ({
    testSequences,
    sources: Object.fromEntries(labels.map((label) => [label, 1])),
  });
  const [segments, partitioners] = ["segments", "partitioners"].map((name) => setupsFor(name));
  const few = [part(1, "a", "b"), part(0, "b", "c")];
  checkParts("run", few, segments);
  checkParts("run", [part(1, "a", "b"), part(0, "c", "d")], partitioners);
  assertThrows(
    () => checkParts("run", few, partitioners),
    InputError,
    'Cannot make "source-4-experts-seed-0" as there must be at least as many labels of sources as experts: there are 3, experts is 4',
  );
  assertThrows(() => checkParts("run", [part(0, "a")], segments), InputError, "there are none");
});

Deno.test("a run of other settings is reported at once, with a remedy", () =>
  inFolder(async (root) => {
    const [setup] = setupsFor("segments");
    const run = `${root}/${setup.name}`;
    const flags = { corpusCharacters: 100_000, vocabularySize: 300 };
    const configuration = gridOf(["segments"], flags).configuration(setup);
    await runOneStage({ run, stage: "tokenizer", sources: { flags: configuration } });
    await check(root, "segments", flags);
    const other = { ...flags, vocabularySize: 301 };
    const { message } = await assertRejects(() => check(root, "segments", other), InputError);
    assertStringIncludes(message, "vocabularySize must be what its config.json");
    assertStringIncludes(message, `or remove "${run}"`);
  }));
