// Bits that move without a new revision of their stage fail here. After a change that is meant to
// move them: raise the stage's `revision`, then run this file once with SMALLTALK_RECORD=1, which
// writes fixtures/revisions.json anew.

import { assert, assertEquals } from "@std/assert";
import { askRun, evaluateRun, partition, trainDense, trainExpert } from "../mod.ts";
import { trainModels } from "../pipeline/run/mod.ts";
import { switchTarget } from "../pipeline/stages/mod.ts";
import { hashFiles, MANIFEST, readManifest } from "../pipeline/graph/mod.ts";
import { askRevision } from "../pipeline/stages/ask.ts";
import { jsonText, sha256 } from "../pipeline/graph/files.ts";
import { encodeQuestions } from "../pipeline/evaluation/choices/questions.ts";
import { cutPassages, MADE_TASKS } from "../pipeline/evaluation/choices/suite.ts";
import { type Question, TASKS } from "../pipeline/evaluation/choices/tasks.ts";
import { embeddedCorpus } from "../pipeline/text/corpora/corpus.ts";
import { gpu } from "./kernels/support.ts";
import { CHARACTERS, GOLDEN } from "./pipeline/evaluation/choices/support.ts";
import { SMALL_SETTINGS } from "./pipeline/run/support.ts";
import { inFolder, smallCorpus } from "./tasks/support.ts";

/**
 * Revision and hash of outputs of each stage, or of each of its models; what is `made-up` needs no
 * adapter.
 */
type Stages = Record<string, { revision: number; outputs: string }>;

interface Recorded {
  /** The adapter whose model math is recorded: another build may round otherwise. */
  adapter: string;
  stages: Stages;
}

const FILE = new URL("../fixtures/revisions.json", import.meta.url);
const RECORDS = Deno.env.get("SMALLTALK_RECORD") === "1";
const EVERYWHERE = /^(tokenizer|tokens|text|made-up .*)$/;
const EXPERTS = {
  expertHidden: 8,
  expertLayers: 1,
  expertHeads: 2,
  expertBatch: 4,
  expertSteps: 6,
  expertWarmup: 2,
  validateEvery: 3,
};

/** Lists the nodes of a run, but for the indexes of its text, which hold paths. */
async function nodesIn(run: string, folder = ""): Promise<string[]> {
  const nodes: string[] = [];
  for (const { name, isDirectory } of Deno.readDirSync(`${run}/${folder}`)) {
    const path = `${folder}${name}`;
    if (!isDirectory || ["index", "locks", "partial", "scratch"].includes(name)) continue;
    const isNode = await Deno.stat(`${run}/${path}/${MANIFEST}`).then(() => true, () => false);
    nodes.push(...isNode ? [path] : await nodesIn(run, `${path}/`));
  }
  return nodes.sort();
}

/** Hashes the nodes of every folder of a run. */
async function outputsOf(run: string, prefix = ""): Promise<Stages> {
  const stages: Stages = {};
  for (const [folder, nodes] of Map.groupBy(await nodesIn(run), (node) => node.split("/")[0])) {
    const manifests = await Promise.all(nodes.map((node) => readManifest(`${run}/${node}`)));
    const hashes = manifests.map((manifest) => `${manifest!.name} ${hashFiles(manifest!)}`);
    const revision = Math.max(...manifests.map((manifest) => manifest!.revision));
    stages[prefix + folder] = { revision, outputs: sha256(hashes.join("\n")) };
  }
  return stages;
}

/**
 * Hashes the questions of every zero-shot task, of its own kind of documents, in tokens that are
 * characters.
 */
async function madeUpQuestions(): Promise<Record<string, string>> {
  const texts = await Array.fromAsync(embeddedCorpus("default", 40_000));
  const passages = cutPassages(
    texts.map((document) => ({ ...document, tokens: document.text.length >> 1 })),
    128,
  );
  const asked = new Map<string, Question[]>();
  for (const [name, { make }] of MADE_TASKS) asked.set(name, make(passages));
  for (const [name, { ask }] of TASKS) asked.set(name, GOLDEN[name].map(({ doc }) => ask(doc)));
  const hashes: Record<string, string> = {};
  for (const [name, questions] of asked) {
    const prompts = await encodeQuestions(CHARACTERS, questions, 150);
    const tokens = prompts.map(({ choices }) =>
      choices.map(({ context, continuation }) => [context.join(), continuation.join()])
    );
    hashes[`made-up zero-shot-${name}`] = sha256(JSON.stringify([questions, tokens]));
  }
  return hashes;
}

const PIQA = { goal: "sail wave", sol1: "gull shore", sol2: "mast deck", label: 1 };

Deno.test({
  name: "the smallest pipeline makes the bits that its stages' revisions stand for",
  ignore: gpu === null,
  fn: () =>
    inFolder(async (folder) => {
      const [run, random] = [`${folder}/run`, `${folder}/random`];
      await Deno.writeTextFile(`${folder}/docs.jsonl`, smallCorpus(64));
      const flags = { ...SMALL_SETTINGS, input: [`${folder}/docs.jsonl`], blockBytes: 4_000 };
      await partition({ run, gpu: gpu!, sources: { flags } });
      const byHash = { ...flags, partitioner: "random", method: "balanced" };
      await partition({ run: random, sources: { flags: byHash } });
      const options = { run, gpu: gpu!, sources: { flags: EXPERTS } };
      for (const expert of [0, 1]) await trainExpert(expert, options);
      for (const match of ["batch", "steps"] as const) await trainDense(match, options);
      await evaluateRun({ run, gpu: gpu!, resamples: 20 });
      await Deno.writeTextFile(`${folder}/piqa.jsonl`, JSON.stringify(PIQA));
      // All tasks are asked alike; what sets them apart is their questions.
      await askRun({ run, gpu: gpu!, resamples: 20, data: folder });
      // After the evaluation, which would read it: what is recorded of it is that of the models of
      // before.
      await trainDense("compute", options);
      await trainModels(() => [switchTarget()], options);

      const stages: Stages = { ...await outputsOf(run), ...await outputsOf(random, "made-up ") };
      for (const [name, outputs] of Object.entries(await madeUpQuestions())) {
        stages[name] = {
          revision: askRevision(name.replace("made-up zero-shot-", "")),
          outputs,
        };
      }
      assert("switch" in stages && "evaluation" in stages && "made-up partition" in stages);
      if (RECORDS) await Deno.writeTextFile(FILE, jsonText({ adapter: gpu!.adapter, stages }));
      const recorded: Recorded = JSON.parse(await Deno.readTextFile(FILE));
      assertEquals(Object.keys(stages).sort(), Object.keys(recorded.stages).sort());
      const comparable = (name: string) =>
        EVERYWHERE.test(name) || gpu!.adapter === recorded.adapter;
      const moved = Object.keys(stages).filter((name) =>
        comparable(name) && JSON.stringify(stages[name]) !== JSON.stringify(recorded.stages[name])
      );
      assertEquals(
        moved,
        [],
        "these stages' bits moved: raise their revision, then record them anew",
      );
    }),
});
