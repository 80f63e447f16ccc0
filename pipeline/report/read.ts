// Reads what a run folder holds, for a page; each part may be missing. No other file of a report or
// a comparison looks into run folders.

import { createHash } from "node:crypto";
import { relative, resolve } from "node:path";
import { InputError, say, task, type TaskReference, type Text } from "../../kernels/errors.ts";
import { zeroShotTasks } from "../evaluation/choices/suite.ts";
import { readZeroShot } from "../evaluation/choices/results.ts";
import { type DocumentScores, readDocumentScores } from "../evaluation/tables.ts";
import { readEvaluation } from "../evaluation/evaluation.ts";
import { PARTIAL, SCRATCH } from "../graph/folder.ts";
import {
  ALL_TEST,
  EVALUATION,
  findDamage,
  hashFiles,
  type Manifest,
  nodesIn,
  PARTITIONER,
  partNode,
  readManifest,
  SEQUENCES,
  TOKENIZER,
  ZERO_SHOT,
} from "../graph/node.ts";
import { expertNames } from "../partition/names.ts";
import { evaluateClean } from "../run/evaluate_run.ts";
import { readOverlap } from "../run/overlap.ts";
import { OVERLAP } from "../stages/overlap.ts";
import { REPORT } from "../stages/page.ts";
import { onlyParts, partIn, partitionRemedy, sideCounts } from "../stages/parts.ts";
import { findRemedy } from "../run/output.ts";
import { nodeFolders } from "../run/settings.ts";
import type { Configuration } from "../settings/configuration.ts";
import { allTargets, type Target } from "../stages/targets.ts";
import { TRAIN_RESULT } from "../stages/train_result.ts";
import { partitionCounts } from "../partition/metrics.ts";
import { routesByPrefix } from "../partition/partitioners.ts";
import { fromBatch, readShards } from "../rows/arrow.ts";
import { adoptedExperts } from "../training/adoption.ts";
import { readRunConfiguration } from "../graph/configuration.ts";
import { readRoundMetrics } from "../graph/events.ts";
import { askAll, checkRunFolder, exists, listEntries, withRemedy } from "../graph/files.ts";
import { printable } from "../graph/printable.ts";
import { conform } from "../graph/schema.ts";
import { readTimes, secondsByNode } from "../graph/timing.ts";
import { readLineageSteps } from "../stages/derivation.ts";
import { listLacks, readStatus } from "../run/status.ts";
import { blocksIn, readTextCounts } from "../text/counts.ts";
import { METRICS_FILE, readStepMetrics } from "../training/metrics.ts";
import type { Lacking } from "./page.ts";
import { readClaims } from "./reproduction.ts";

/**
 * How long something took: seconds, or that it was copied from another run; undefined where that is
 * not known.
 */
export type Spent = number | "copied" | undefined;

/** The contents of a run folder; `null` and empty lists stand for parts that are not there yet. */
export type RunRecord = Awaited<ReturnType<typeof readRun>>;

/** The parts of a run, and measures over all of them. */
export type PartitionRecord = NonNullable<RunRecord["partition"]>;
/** The training metrics of one model, and how long its training took. */
export type Curve = RunRecord["curves"][number];

/** Names a part that a run lacks, and the task that makes it. */
export function lacking(
  { alone, path: run }: RunRecord,
  part: string,
  name: string,
  settings: TaskReference["with"] = {},
): Lacking {
  return alone.length > 0 && name !== "train-expert"
    ? { part, because: onlyParts(alone) }
    : { part, task: task(name, { ...settings, run }) };
}

/** Reads a file of a run with a reader; null where there is none. */
type Read = <T>(path: string, reader: (path: string) => Promise<T>) => Promise<T | null>;

/**
 * Gives what reads files of nodes, or of tasks. The error of one that is damaged says how to mend
 * it.
 */
const readerOf = (run: string, configuration: Configuration): Read => async (path, reader) => {
  if (!await exists(`${run}/${path}`)) return null;
  return await reader(`${run}/${path}`).catch(async (error) => {
    // The error may be of another file than the one that was asked for.
    const named = error.where?.startsWith(`${run}/`) ? error.where.slice(run.length + 1) : path;
    return withRemedy(await findRemedy(run, named, configuration))(error);
  });
};

/** Reads the curve of a model that was trained, and whether its weights lie here. */
const readModel = async (
  run: string,
  { name: model, node, expert, path }: Target,
  read: Read,
  spentOn: (node: string) => Spent,
) => ({
  model,
  expert: expert ?? null,
  path,
  seconds: spentOn(node),
  points: await read(`${node}/${METRICS_FILE}`, readStepMetrics) ?? [],
  hasWeights: await exists(`${run}/${node}/model.safetensors`),
});

/**
 * Reads a run folder. Throws an `InputError` where the folder is none of a run. Also where a file
 * in it, which the error names, cannot be what it must be. `doing` says in messages what for; with
 * `details` names of experts and figures on clean documents are found too.
 */
export async function readRun(run: string, { doing = "report on", details = true } = {}) {
  const refuse = (
    must: string,
    remedy: Text = say`name the folder that ${task("partition")} wrote`,
  ) => new InputError(`Cannot ${doing} "${run}" as it must ${must}`, { where: run, remedy });
  const first = await partitionRemedy(run);
  if (!await exists(run)) throw refuse("be a run folder: there is no such folder", first);
  await checkRunFolder(run);
  const config = await readRunConfiguration(run);
  if (config === null) throw refuse("be a run folder: it has no config.json");
  const read = readerOf(run, config.configuration);
  const nodes = await readNodes(run);
  const secondsOf = secondsByNode(await readTimes(run));
  const spentOn = (node: string): Spent => nodes.get(node)?.made.from ? "copied" : secondsOf(node);
  const reproduction = await read("reproduction.json", readClaims);
  const begun = [
    ...await listEntries(`${run}/${SCRATCH}`),
    ...await listEntries(`${run}/${PARTIAL}`),
  ];
  if (nodes.size === 0 && !reproduction && begun.length === 0) {
    const rule =
      "hold something that a task made: it holds a configuration and nothing made with it";
    throw refuse(rule, first);
  }
  const targets = allTargets(config.configuration).filter(({ node }) => nodes.has(node));
  const models = await Promise.all(targets.map((target) => readModel(run, target, read, spentOn)));
  const zeroShot = await Promise.all(
    zeroShotTasks().map((task) => read(`${ZERO_SHOT}/${task}/${task}.json`, readZeroShot)),
  );
  const status = await readStatus(run);
  const evaluation = await read(`${EVALUATION}/evaluation.json`, readEvaluation);
  const { state: overlapState } = status.stages.find(({ stage }) => stage === OVERLAP) ?? {};
  const overlap = overlapState === "up to date" ? await readOverlap(run) : null;
  const clean = details && overlap && evaluation &&
    await read(`${EVALUATION}/evaluation.arrow`, () => evaluateClean(run, evaluation));
  const path = resolve(run);
  const inside = relative(Deno.cwd(), path);
  const partition = joinParts(nodes, config.configuration.experts);
  const switched = nodes.get("switch");
  const text = await readTextCounts(run);
  return {
    run, // as it was named
    name: printable(path.split("/").at(-1) || path),
    path: printable(inside.startsWith("..") ? path : inside || "."), // as a command takes it
    config,
    text, // what it came to in tokens
    routes: await routesByPrefix(run), // else the true labels of held-out text choose the experts
    alone: status.parts, // experts whose parts lie here without their run
    lineage: await readLineageSteps(run), // the runs that it derives from
    // What is not up to date, but for the report itself.
    lacks: listLacks(status.stages.filter(({ stage }) => stage !== REPORT)),
    // On which it was made.
    adapters: [...new Set([...nodes.values()].flatMap((manifest) => manifest.made.adapter ?? []))],
    folders: await summarizeFolders(run, nodes, spentOn),
    // A tree's rounds are those of its first level.
    rounds: await read(`${PARTITIONER}/rounds.jsonl`, readRoundMetrics) ??
      await read(`${PARTITIONER}/root/rounds.jsonl`, readRoundMetrics) ?? [],
    partition,
    names: details && partition ? await expertNames(run) : null, // what sets each expert apart
    curves: models.filter(({ points }) => points.length > 0),
    // Experts whose weights lie here.
    weights: models.flatMap(({ expert, hasWeights }) => hasWeights ? expert ?? [] : []),
    switchCost: switched ? conform(TRAIN_RESULT, switched.result).cost ?? null : null,
    adopted: await adoptedExperts(run),
    evaluation,
    // The evaluation on held-out documents that share nothing with training text.
    clean: clean || null,
    heldOut: countHeldOut(nodes, text?.testSequences ?? null),
    overlap,
    zeroShot: zeroShot.filter((result) => result !== null),
    reproduction,
  };
}

/** Reads the manifests of all nodes of a run, by name. */
async function readNodes(run: string): Promise<Map<string, Manifest>> {
  const nodes = new Map<string, Manifest>();
  for (const folder of nodeFolders()) {
    for await (const name of nodesIn(run, folder)) {
      nodes.set(name, (await readManifest(`${run}/${name}`))!);
    }
  }
  return nodes;
}

/** Puts the parts of all experts together; null where one is not there. */
function joinParts(nodes: ReadonlyMap<string, Manifest>, experts: number) {
  const names = Array.from({ length: experts }, (_, expert) => partNode(expert, experts));
  if (!names.every((name) => nodes.has(name))) return null;
  const parts = names.map((name) => partIn(name, nodes.get(name)!));
  const { settings, result } = nodes.get(parts[0].assignments[0]) ?? {};
  const counts = (side: "train" | "test") =>
    partitionCounts(parts.map((part) => sideCounts(part[side])));
  const test = counts("test");
  return {
    experts,
    parts,
    train: counts("train"),
    ...test.sequences > 0 ? { test } : {},
    ...settings?.method === undefined ? {} : { method: String(settings.method) },
    ...result?.costs === undefined ? {} : { costs: String(result.costs) },
  };
}

const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0);

/**
 * Sums up every folder of nodes: how many there are, their files and bytes that are still there,
 * how long they took, and what they counted.
 */
async function summarizeFolders(
  run: string,
  nodes: ReadonlyMap<string, Manifest>,
  spentOn: (node: string) => Spent,
) {
  const folders = Map.groupBy(nodes.keys(), (name) => name.split("/")[0]);
  folders.delete("report"); // a page tells nothing of itself
  return await Array.fromAsync(folders, async ([folder, names]) => {
    const all = names.map((name) => nodes.get(name)!);
    const damages = await askAll(
      names,
      (name) => findDamage(`${run}/${name}`, nodes.get(name)!, false),
    );
    const whole = all.filter((_, i) => damages[i] === undefined);
    const sizes = whole.flatMap(({ files }) => Object.values(files).map(({ bytes }) => bytes));
    const spent = names.map(spentOn);
    const times = spent.filter((seconds) => typeof seconds === "number");
    const seconds: Spent = times.length > 0
      ? sum(times)
      : spent.includes("copied")
      ? "copied"
      : undefined;
    const count = (name: string) => sum(all.map(({ result }) => Number(result[name] ?? 0)));
    return {
      folder,
      nodes: all.length,
      seconds,
      files: sizes.length,
      bytes: sum(sizes),
      counts: {
        tokens: count("tokens"),
        sequences: count("sequences"),
        documents: count("documents"),
      },
    };
  });
}

/**
 * Describes the held-out text: the hash of its shards, its sequences, and whether the evaluation is
 * of it.
 */
function countHeldOut(nodes: ReadonlyMap<string, Manifest>, sequences: number | null) {
  const list = nodes.get(SEQUENCES);
  const evaluated = nodes.get(EVALUATION)?.inputs[ALL_TEST];
  const sha256 = list ? hashFiles(list, "test") : evaluated;
  return sha256 === undefined ? null : { sha256, sequences, evaluated: evaluated === sha256 };
}

/**
 * Hashes the tokens of a run's held-out sequences, however they are cut into blocks; null where a
 * shard is not there.
 */
export async function heldOutTokens({ run }: Pick<RunRecord, "run">): Promise<string | null> {
  const [list, tokenizer] = [
    await readManifest(`${run}/${SEQUENCES}`),
    await readManifest(`${run}/${TOKENIZER}`),
  ];
  if (!list || !tokenizer) return null;
  const paths = blocksIn(list).map((block) => `${run}/tokens/${block}/test.arrow`);
  for (const path of paths) if (!await exists(path)) return null;
  const hash = createHash("sha256").update(
    `${tokenizer.result.entries} ${tokenizer.result.tokenizer}`,
  );
  for await (const batch of readShards(paths)) {
    const { rows, tokens, length } = fromBatch(batch, run, ["tokens"]);
    const width = tokens!.length / rows;
    for (let row = 0; row < rows; row++) {
      const real = tokens!.slice(row * width, row * width + length[row]);
      hash.update(Uint32Array.of(length[row])).update(Uint32Array.from(real));
    }
  }
  return hash.digest("hex");
}

/** Reads the scores of the held-out documents of an evaluated run. */
export async function loadDocumentScores({ run }: RunRecord): Promise<DocumentScores> {
  return await readDocumentScores(`${run}/${EVALUATION}/evaluation.arrow`)
    .catch(withRemedy(say`run ${task("evaluate", { run, check: true })}`));
}
