import { assert, assertEquals, assertRejects } from "@std/assert";
import { InputError } from "../../../../kernels/errors.ts";
import {
  findNote,
  namesOfNotes,
  noteFile,
  readNote,
  readOutcome,
  rememberHashes,
  writeNote,
} from "../../../../pipeline/reproduction/studies/outcomes.ts";
import { configurationOf } from "../../../../pipeline/reproduction/studies/pieces.ts";
import type { Outcome, Setup } from "../../../../pipeline/reproduction/studies/study.ts";
import { seal } from "../../../../pipeline/run/seal.ts";
import type { Configuration } from "../../../../pipeline/settings/configuration.ts";
import { STAGES } from "../../../../pipeline/stages/graph.ts";
import { inFolder } from "../../../tasks/support.ts";
import { ratesFor, setupsFor, SMALL, wholeOutcome } from "./support.ts";

const [EM] = setupsFor("partitioners");
const SETUP: Setup = { ...EM, models: ["experts", "dense"], choices: { mix: [1, 2], routeLengths: [1, 2] } };
const WHOLE = wholeOutcome(SETUP);
const ASKED = { sources: SMALL, rates: ratesFor("experts"), hashesOf: rememberHashes() };

Deno.test("a note tells of a run of its settings, choices, models and learning rates, and of no other one", () =>
  inFolder(async (root) => {
    await writeNote(root, WHOLE, { ...configurationOf(SMALL, SETUP), expertRate: 0.004 }, ASKED.hashesOf);
    assertEquals(await namesOfNotes(root), [EM.name]);
    assertEquals(await readOutcome(root, SETUP, ASKED), WHOLE);
    const told = async (one: Partial<Setup> = {}, flags: Partial<Configuration> = {}, rates = ASKED.rates) =>
      await findNote([root], { ...SETUP, ...one }, { ...ASKED, sources: { ...SMALL, flags }, rates }) !==
        undefined;
    const rateOf = (rate: number) =>
      Object.fromEntries(Object.keys(ASKED.rates).map((recipe) => [recipe, { rate, trials: [] }]));
    const cases: [tells: boolean, Partial<Setup>, Partial<Configuration>?, typeof ASKED.rates?][] = [
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
      [false, {}, {}, rateOf(0.008)],
      [false, {}, {}, {}], // they are still to be found
      [false, {}, { expertRate: 0.004 }, {}],
    ];
    for (const [tells, ...one] of cases) assertEquals(await told(...one), tells, JSON.stringify(one));
    // A stage whose results have changed since.
    const kind = STAGES.get("score")!;
    const of = (c: Configuration) => kind.of(c).map((one) => ({ ...one, revision: 99 }));
    STAGES.set("score", { ...kind, of });
    try {
      assertEquals(await told(), false);
    } finally {
      STAGES.set("score", kind);
    }
    // A run that is begun beside it does not hide it, and of several folders the first whose note fits holds.
    await Deno.mkdir(`${root}/${EM.name}`);
    await Deno.writeTextFile(`${root}/${EM.name}/config.json`, "{}");
    assertEquals(await readOutcome(root, SETUP, ASKED), WHOLE);
    const other = { ...SETUP, choices: undefined };
    await writeNote(`${root}/other`, wholeOutcome(other), configurationOf(SMALL, SETUP), ASKED.hashesOf);
    assertEquals((await findNote([`${root}/other`, root], SETUP, ASKED))?.folder, root);
    assertEquals((await findNote([`${root}/other`, root], other, ASKED))?.folder, `${root}/other`);
  }));

Deno.test("a note tells of the same text wherever it lies, names no path, and nothing is noted of text that is gone", () =>
  inFolder(async (root) => {
    const place = async (folder: string, text: string) => {
      await Deno.mkdir(`${root}/${folder}`, { recursive: true });
      await Deno.writeTextFile(`${root}/${folder}/docs.jsonl`, text);
      return { input: [`${root}/${folder}/docs.jsonl`] };
    };
    const asked = (flags: Partial<Configuration>) =>
      ({ ...ASKED, sources: { ...SMALL, flags }, hashesOf: rememberHashes() }) as const;
    const note = (flags: Partial<Configuration>, folder = root) => {
      const { sources, hashesOf } = asked(flags);
      return writeNote(folder, WHOLE, configurationOf(sources, SETUP), hashesOf);
    };
    const told = async (flags: Partial<Configuration>) =>
      await findNote([root], SETUP, asked(flags)) !== undefined;
    await note(await place("one", '{"text":"a"}'));
    assert(!(await Deno.readTextFile(`${root}/${noteFile(EM.name)}`)).includes(root));
    assert(await told(await place("two", '{"text":"a"}')));
    assert(!await told(await place("one", '{"text":"b"}')));
    assert(!await told({ input: [...(await place("one", '{"text":"a"}')).input, `${root}/two/docs.jsonl`] }));
    // Where a path says which source a document is of, it must be the same one.
    const sourced = { sourceFromPath: "" };
    await note({ ...await place("one", '{"text":"a"}'), ...sourced });
    assert(await told({ ...await place("one", '{"text":"a"}'), ...sourced }));
    assert(!await told({ ...await place("two", '{"text":"a"}'), ...sourced }));
    for (const gone of [{ input: ["-"] }, { init: root }, { routers: root }]) {
      assert(!await told(gone));
      await note(gone, `${root}/gone`);
    }
    assertEquals(await namesOfNotes(`${root}/gone`), []);
  }));

Deno.test("a note that is not as it was written, or cannot be true, is damage, and says how to go on", () =>
  inFolder(async (root) => {
    assertEquals(await readNote(root, EM.name), null);
    await writeNote(root, wholeOutcome(EM), configurationOf(SMALL, EM), ASKED.hashesOf);
    const path = `${root}/${noteFile(EM.name)}`;
    const text = await Deno.readTextFile(path);
    const sealed = (change: (outcome: Outcome) => void) => {
      const { checksum: _, ...note } = JSON.parse(text);
      change(note.outcome);
      return JSON.stringify(seal(note));
    };
    const damaged = [
      ...["", "{}", "[]", text.slice(0, -9), text.replace('"perplexity": 30', '"perplexity": 31')],
      sealed(({ partition }) => void partition.experts.pop()),
      sealed(({ trained }) => void trained.experts!.pop()),
      sealed(({ trained }) => trained.dense = []),
      sealed(({ evaluation }) => void evaluation.prefixes.pop()),
      sealed(({ evaluation }) => delete evaluation.scores.mixture),
      sealed(({ evaluation: { segments } }) =>
        void segments.push({ expert: 4, sequences: 1, share: 1, tokens: 1, perplexity: { mixture: 1 } })
      ),
    ];
    for (const other of damaged) {
      assert(other !== text);
      await Deno.writeTextFile(path, other);
      const { message } = await assertRejects(
        () => readNote(root, EM.name),
        InputError,
        "what a run came to",
      );
      assert(message.endsWith(`; remove "${path}": what it held is made again`), message);
    }
    await Deno.writeTextFile(path, text.replace('"format": 1', '"format": 2'));
    await assertRejects(() => readNote(root, EM.name), InputError, "use the version that wrote it");
    await Deno.writeTextFile(path, sealed(() => {}));
    assert(await readNote(root, EM.name));
  }));
