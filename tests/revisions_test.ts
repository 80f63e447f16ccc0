// Bits that move without a new revision of their stage fail here. After a change that is meant to move them: raise the stage's
// `revision`, then run this file once with SMALLTALK_RECORD=1, which writes fixtures/revisions.json anew.

import { assert, assertEquals } from "@std/assert";
import {
  askRun,
  assign,
  evaluateRun,
  partition,
  readArrow,
  type RecordBatch,
  split,
  trainDense,
  trainExpert,
} from "../mod.ts";
import { graphOf, trainSwitch } from "../pipeline/stages/mod.ts";
import { defaultConfiguration } from "../pipeline/settings/configuration.ts";
import { fromBatch, toBatch } from "../pipeline/rows/arrow.ts";
import { lineageOf } from "../pipeline/rows/lineage.ts";
import { joinScores } from "../pipeline/rows/join.ts";
import { jsonText, sha256 } from "../pipeline/run/files.ts";
import { type Manifest, outputsHash, readManifest } from "../pipeline/run/manifest.ts";
import { encodeQuestions } from "../pipeline/evaluation/choices/prompts.ts";
import { MADE_TASKS, passagesOf } from "../pipeline/evaluation/choices/suite.ts";
import { contextOf, type Question, TASKS } from "../pipeline/evaluation/choices/tasks.ts";
import { defaultCorpus } from "../pipeline/text/corpora/corpus.ts";
import { gpu } from "./kernels/support.ts";
import { GOLDEN } from "./pipeline/evaluation/choices/golden.ts";
import { CHARACTERS } from "./pipeline/evaluation/choices/support.ts";
import { SMALL_SETTINGS } from "./pipeline/stages/support.ts";
import { inFolder, smallCorpus } from "./tasks/support.ts";

interface Recorded {
  /** The adapter whose model math is recorded: another build may round otherwise. */
  adapter: string;
  /** Revision and hash of outputs of each stage; `made-up …` are stages on scores that no adapter made. */
  stages: Record<string, { revision: number; outputs: string }>;
}

const FILE = new URL("../fixtures/revisions.json", import.meta.url);
const RECORDS = Deno.env.get("SMALLTALK_RECORD") === "1";
const EVERYWHERE = /^(corpus|tokenizer|tokenize|made-up .*)$/;
const EXPERTS = {
  expertHidden: 8,
  expertLayers: 1,
  expertHeads: 2,
  expertBatch: 4,
  expertSteps: 6,
  expertWarmup: 2,
  validateEvery: 3,
};

/** Adds costs that a formula gives to the token rows of a shard. */
function madeUp(path: string): ReadableStream<RecordBatch> {
  return ReadableStream.from(async function* () {
    for await (const batch of readArrow(path)) {
      const { tokens: _, ...rows } = fromBatch(batch);
      const nll = Float32Array.from({ length: 2 * rows.rows }, (_, i) => 1 + (i * 7919 % 101) / 64);
      const lineage = { ...lineageOf(batch)!, stage: "score", experts: 2, prefix: 16, routers: "made up" };
      yield toBatch({ ...rows, nll }, lineage);
    }
  }());
}

/** Assigns and splits by made-up costs, and hashes what comes of it. */
async function madeUpOutputs(run: string, folder: string): Promise<Record<string, string>> {
  const [train, test] = ["train", "test"].map((kind) => `${run}/tokens/${kind}-00000.arrow`);
  const assigned = () => assign(madeUp(train), { chunk: 40, experts: 2, prefix: 16 });
  const experts: number[] = [];
  for await (const batch of assigned()) experts.push(...fromBatch(batch).expert!);
  const { outputs } = await split({
    train: joinScores(readArrow(train), assigned()),
    test: joinScores(readArrow(test), madeUp(test)),
  }, { folder, shardSequences: 50, experts: 2, prefix: 16 });
  return { "made-up assign": sha256(experts.join()), "made-up split": outputsHash({ outputs }) };
}

/** Hashes the questions of every zero-shot task, of its own kind of documents, in tokens that are characters. */
async function madeUpQuestions(): Promise<Record<string, string>> {
  const texts = await Array.fromAsync(defaultCorpus({ characters: 40_000 }));
  const passages = passagesOf(
    texts.map((document) => ({ ...document, tokens: document.text.length >> 1 })),
    128,
  );
  const asked = new Map<string, Question[]>();
  for (const [name, { make }] of MADE_TASKS) asked.set(name, make(passages));
  for (const [name, { ask }] of TASKS) asked.set(name, GOLDEN[name].map(({ doc }) => ask(doc)));
  const hashes: Record<string, string> = {};
  for (const [name, questions] of asked) {
    const contexts = questions.map((question) => contextOf(question));
    const prompts = await encodeQuestions(CHARACTERS, questions, contexts, 150);
    const tokens = prompts.map(({ choices }) =>
      choices.map(({ context, continuation }) => [context.join(), continuation.join()])
    );
    hashes[`made-up zero-shot-${name}`] = sha256(JSON.stringify([questions, tokens]));
  }
  return hashes;
}

const ASKED = "zero-shot-piqa"; // all tasks are asked alike; what sets them apart is their questions
const PIQA = { goal: "sail wave", sol1: "gull shore", sol2: "mast deck", label: 1 };

Deno.test({
  name: "the smallest pipeline makes the bits that its stages' revisions stand for",
  ignore: gpu === null,
  fn: () =>
    inFolder(async (folder) => {
      const run = `${folder}/run`;
      await Deno.writeTextFile(`${folder}/docs.jsonl`, smallCorpus(64));
      await partition({ run, sources: { flags: { ...SMALL_SETTINGS, input: [`${folder}/docs.jsonl`] } } });
      const options = { run, gpu: gpu!, sources: { flags: EXPERTS } };
      for (const expert of [0, 1]) await trainExpert(expert, options);
      for (const match of ["batch", "steps"] as const) await trainDense(match, options);
      await evaluateRun({ run, gpu: gpu!, resamples: 20 });
      await Deno.writeTextFile(`${folder}/piqa.jsonl`, JSON.stringify(PIQA));
      await askRun({ run, gpu: gpu!, resamples: 20, data: folder });
      // After the evaluation, which would read it: what is recorded of it is that of the models of before.
      await trainDense("compute", options);
      await trainSwitch(options);

      const stages: Recorded["stages"] = {};
      const graph = graphOf({ ...defaultConfiguration(), ...SMALL_SETTINGS });
      for (const { name, revision } of graph.stages) {
        if (name.startsWith("zero-shot-") && name !== ASKED) continue;
        const manifest: Manifest | null = await readManifest(run, name);
        assert(manifest !== null, `stage ${name} must have run`);
        stages[name] = { revision, outputs: outputsHash(manifest) };
      }
      const revisionOf = (name: string) => graph.get(name.replace("made-up ", ""))!.revision;
      const madeUp = { ...await madeUpOutputs(run, `${folder}/made-up`), ...await madeUpQuestions() };
      for (const [name, outputs] of Object.entries(madeUp)) {
        stages[name] = { revision: revisionOf(name), outputs };
      }
      if (RECORDS) await Deno.writeTextFile(FILE, jsonText({ adapter: gpu!.adapter, stages }));
      const recorded: Recorded = JSON.parse(await Deno.readTextFile(FILE));
      assertEquals(Object.keys(stages).sort(), Object.keys(recorded.stages).sort());
      const comparable = (name: string) => EVERYWHERE.test(name) || gpu!.adapter === recorded.adapter;
      const moved = Object.keys(stages).filter((name) =>
        comparable(name) && JSON.stringify(stages[name]) !== JSON.stringify(recorded.stages[name])
      );
      assertEquals(moved, [], "these stages' bits moved: raise their revision, then record them anew");
    }),
});
