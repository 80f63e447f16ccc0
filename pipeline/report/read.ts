// Reads what a run folder holds, for a page; each part may be missing. No other file of a report or a
// comparison looks into run folders.

import { ZERO_SHOT, zeroShotPath, zeroShotTasks } from "../evaluation/choices/asking.ts";
import { createHash } from "node:crypto";
import { relative, resolve } from "node:path";
import { InputError, say, task, type TaskReference, type Text } from "../../kernels/errors.ts";
import { readZeroShot, type ZeroShotResult } from "../evaluation/choices/results.ts";
import { type DocumentScores, readDocumentScores } from "../evaluation/documents.ts";
import { readEvaluation } from "../evaluation/evaluation.ts";
import { type PartManifest, readPart, readPartition } from "../partition/manifests.ts";
import { routesByPrefix } from "../partition/partitioners.ts";
import { fromBatch, readShards } from "../rows/arrow.ts";
import { adoptedExperts } from "../training/adoption.ts";
import { readRunConfiguration } from "../run/configuration.ts";
import { readRoundMetrics } from "../run/events.ts";
import { exists, isFolder, withRemedy } from "../run/files.ts";
import {
  isPages,
  type Manifest,
  manifestNames,
  outputsHash,
  outputsUnder,
  readManifest,
  vouchedFiles,
} from "../run/manifest.ts";
import { printable } from "../run/printable.ts";
import { readTimes, secondsOf, type Time } from "../run/timing.ts";
import { Vouched } from "../run/vouched.ts";
import { baselineTargets } from "../stages/baselines.ts";
import { DOCUMENTS } from "../stages/evaluate.ts";
import { expertNames } from "../stages/names.ts";
import { onlyParts, partitionRemedy, partsAlone } from "../stages/parts_alone.ts";
import { anythingBegun } from "../stages/state.ts";
import { tokenizeResult } from "../stages/tokenize.ts";
import { expertTarget } from "../stages/train_expert.ts";
import { trainResult } from "../nodes/training_result.ts";
import { readStepMetrics, type StepMetrics } from "../training/metrics.ts";
import type { Lacking } from "./page.ts";
import { readClaims } from "./reproduction.ts";

type Points = Pick<StepMetrics, "step" | "tokens" | "loss" | "validationLoss" | "reports">[];

/** How long something took: seconds, or that it was copied from another run; undefined where that is not known. */
export type Spent = ReturnType<typeof secondsOf>;

/** The contents of a run folder; `null` and empty lists stand for parts that are not there yet. */
export type RunRecord = Awaited<ReturnType<typeof readRun>>;
/** The training metrics of one model: its name, its id if it is an expert, the lines of its file. */
export type Curve = Omit<Awaited<ReturnType<typeof readCurves>>[number], "seconds"> & { seconds?: Spent };

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

/**
 * Reads a run folder. Throws an `InputError` where the folder is none of a run, and where a file in it, which it names, cannot
 * be what it must be. `doing` says in messages what for; `names` says whether the experts' names are read too.
 */
export async function readRun(run: string, { doing = "report on", names = true } = {}) {
  const refuse = async (must: string) => {
    const remedy = await partitionRemedy(run);
    return new InputError(`Cannot ${doing} "${run}" as it must ${must}`, { where: run, remedy });
  };
  const notARun = (reason: string) => refuse(`be a run folder: ${reason}`);
  if (!await exists(run)) throw await notARun("there is no such folder");
  if (!await isFolder(run)) throw await notARun("it is a file");
  const config = await readRunConfiguration(run);
  if (config === null) throw await notARun("it has no config.json");
  const vouched = await vouchedFiles(run);
  vouched.add(run, (await readManifest(run, "reproduce"))?.outputs ?? {}); // the claims are read below
  const file = <T>(
    path: string,
    read: (path: string, vouched: Vouched) => Promise<T>,
    name: string,
    settings: TaskReference["with"] = {},
  ) =>
    ifThere(
      `${run}/${path}`,
      (path) => read(path, vouched),
      say`run ${task(name, { ...settings, run, force: name !== "reproduce" })}`,
    );
  const manifests: Record<string, Manifest> = {};
  for (const name of await manifestNames(run)) {
    if (!isPages(name)) manifests[name] = (await readManifest(run, name))!;
  }
  const times = await readTimes(run);
  const path = resolve(run);
  const inside = relative(Deno.cwd(), path);
  const zeroShot: ZeroShotResult[] = [];
  for (const task of zeroShotTasks()) {
    const result = await file(zeroShotPath(task), readZeroShot, ZERO_SHOT, { task });
    if (result) zeroShot.push(result);
  }
  const partition = await file("partition/manifest.json", () => readParts(run, vouched), "split");
  const record = {
    run, // as it was named
    name: printable(path.split("/").at(-1) || path),
    path: printable(inside.startsWith("..") ? path : inside || "."), // as a command takes it
    config,
    routes: await routesByPrefix(run), // else the true labels of held-out text choose the experts
    alone: await partsAlone(run), // experts whose parts lie here without their run
    stages: Object.values(manifests).map((one) => stageRecord(one, secondsOf(times, one.stage))),
    rounds: await file("metrics/rounds.jsonl", readRoundMetrics, "train-routers") ?? [],
    partition,
    names: names && partition ? await expertNames(run, vouched) : null, // what sets each expert apart
    curves: await readCurves(run, vouched, times),
    weights: await weightsIn(run, manifests), // experts whose weights lie here
    switchCost: manifests["train-switch"] ? trainResult(manifests["train-switch"], run).cost ?? null : null,
    adopted: await adoptedExperts(run),
    evaluation: await file("evaluation.json", readEvaluation, "evaluate"),
    heldOut: heldOut(run, manifests),
    zeroShot,
    reproduction: await file("reproduction.json", readClaims, "reproduce"),
  };
  const { rounds, curves, adopted, evaluation, reproduction } = record;
  const lists = [rounds, curves, adopted, zeroShot];
  const isEmpty = lists.every(({ length }) => length === 0) && !partition && !evaluation && !reproduction;
  if (isEmpty && !await anythingBegun(run, config.configuration)) {
    throw await refuse("hold something that a task made: it holds a configuration and nothing made with it");
  }
  return record;
}

/** Reads a file, or returns null where there is none. If the file is damaged, the error says how to mend it. */
async function ifThere<T>(path: string, read: (path: string) => Promise<T>, remedy: Text): Promise<T | null> {
  if (!await exists(path)) return null;
  return await read(path).catch(withRemedy(remedy));
}

/** Says what a stage made: its files and their bytes, how long it took, what it counted, and the hash of what that depends on. */
function stageRecord({ stage, key, outputs, result }: Manifest, seconds: Spent) {
  const sizes = Object.values(outputs).map(({ bytes }) => bytes);
  const counts = Object.entries(result).filter((entry): entry is [string, number] =>
    typeof entry[1] === "number"
  );
  const bytes = sizes.reduce((a, b) => a + b, 0);
  const made: Record<string, number> = Object.fromEntries(counts);
  return { stage, key, files: sizes.length, bytes, seconds, counts: made };
}

async function readParts(run: string, vouched: Vouched) {
  const whole = await readPartition(`${run}/partition`, vouched);
  const parts: PartManifest[] = [];
  for (const { folder } of whole.parts) parts.push(await readPart(`${run}/partition/${folder}`, vouched));
  return { whole, parts };
}

async function readCurves(run: string, vouched: Vouched, times: readonly Time[]) {
  const folder = `${run}/metrics`;
  const files = await exists(folder) ? await Array.fromAsync(Deno.readDir(folder)) : [];
  const baselines = baselineTargets();
  const curves: { model: string; expert: number | null; points: Points; seconds: Spent }[] = [];
  for (const { name } of files) {
    const [, model, id] = /^(expert-(\d+)|.+)\.jsonl$/.exec(name) ?? [];
    const expert = id === undefined ? null : Number(id);
    const target = expert === null ? baselines.find(({ name }) => name === model) : expertTarget(expert);
    if (target === undefined) continue;
    const remedy = say`run ${task(target.command.task, { ...target.command.with, run, force: true })}`;
    const points = await ifThere(`${folder}/${name}`, (path) => readStepMetrics(path, vouched), remedy) ?? [];
    const seconds = secondsOf(times, `train-${model}`);
    if (points.length > 0) curves.push({ model, expert, points, seconds });
  }
  const rank = ({ model, expert }: typeof curves[number]) =>
    expert ?? 1e9 * (1 + baselines.findIndex(({ name }) => name === model));
  return curves.sort((a, b) => rank(a) - rank(b));
}

/** Lists the experts whose weights lie in a run, by id. */
async function weightsIn(run: string, manifests: Record<string, Manifest>): Promise<number[]> {
  const found: number[] = [];
  for (const { stage, outputs } of Object.values(manifests)) {
    const [, id] = /^train-expert-(\d+)$/.exec(stage) ?? [];
    if (id === undefined) continue;
    const there = await Promise.all(Object.keys(outputs).map((path) => exists(`${run}/${path}`)));
    if (!there.includes(false)) found.push(Number(id));
  }
  return found.sort((a, b) => a - b);
}

const HELD_OUT = "tokens/test-";

/** Describes the held-out text: the hash of its shards, its sequences, and whether the evaluation is of it. */
function heldOut(run: string, { tokenize, evaluate }: Record<string, Manifest>) {
  const sha256 = tokenize ? outputsHash(tokenize, HELD_OUT) : evaluate?.inputs.tokens;
  if (sha256 === undefined) return null;
  const sequences = tokenize ? tokenizeResult(tokenize, run).testSequences : null;
  return { sha256, sequences, evaluated: evaluate?.inputs.tokens === sha256 };
}

/** Hashes the tokens of a run's held-out sequences, whatever their shards; null where a shard is not there. */
export async function heldOutTokens({ run }: RunRecord): Promise<string | null> {
  const tokenize = await readManifest(run, "tokenize");
  if (!tokenize) return null;
  const paths = outputsUnder(tokenize, HELD_OUT).map((path) => `${run}/${path}`);
  for (const path of paths) if (!await exists(path)) return null;
  const { vocabulary, tokenizer } = tokenizeResult(tokenize, run);
  const hash = createHash("sha256").update(`${vocabulary} ${tokenizer}`);
  for await (const batch of readShards(paths, await vouchedFiles(run))) {
    const { rows, tokens, length } = fromBatch(batch, run, ["tokens"]);
    const width = tokens!.length / rows;
    for (let row = 0; row < rows; row++) {
      const real = tokens!.slice(row * width, row * width + length[row]);
      hash.update(Uint32Array.of(length[row])).update(Uint32Array.from(real));
    }
  }
  return hash.digest("hex");
}

/** Reads the scores of the held-out documents of an evaluated run; null where an older version evaluated it. */
export async function readDocuments({ run }: RunRecord): Promise<DocumentScores | null> {
  const { outputs } = (await readManifest(run, "evaluate"))!;
  if (!(DOCUMENTS in outputs)) return null;
  return await readDocumentScores(`${run}/${DOCUMENTS}`, new Vouched().add(run, outputs))
    .catch(withRemedy(say`run ${task("evaluate", { run, force: true })}`));
}
