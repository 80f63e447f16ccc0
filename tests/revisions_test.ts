// Bits that move without a new revision of their stage fail here. After a change that is meant to move them: raise the stage's
// `revision`, then run this file once with SMALLTALK_RECORD=1, which writes fixtures/revisions.json anew.

import { assert, assertEquals } from "@std/assert";
import {
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
import { fromBatch, lineageOf, toBatch } from "../pipeline/rows/arrow.ts";
import { joinScores } from "../pipeline/rows/join.ts";
import { jsonText, sha256 } from "../pipeline/run/files.ts";
import { type Manifest, outputsHash, readManifest } from "../pipeline/run/manifest.ts";
import { gpu } from "./kernels/support.ts";
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
      // After the evaluation, which would read it: what is recorded of it is that of the models of before.
      await trainDense("compute", options);
      await trainSwitch(options);

      const stages: Recorded["stages"] = {};
      for (const { name, revision } of graphOf({ ...defaultConfiguration(), ...SMALL_SETTINGS }).stages) {
        const manifest: Manifest | null = await readManifest(run, name);
        assert(manifest !== null, `stage ${name} must have run`);
        stages[name] = { revision, outputs: outputsHash(manifest) };
      }
      const revisionOf = (name: string) => stages[name.replace("made-up ", "")].revision;
      for (const [name, outputs] of Object.entries(await madeUpOutputs(run, `${folder}/made-up`))) {
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
