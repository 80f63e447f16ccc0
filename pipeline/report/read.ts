/**
 * Reads what a run folder holds, for a report; each part may be missing.
 *
 * @module
 */

import { relative, resolve } from "node:path";
import { InputError, say, task, type TaskReference, type Text } from "../../kernels/errors.ts";
import { readZeroShot, type ZeroShotResult } from "../evaluation/choices/results.ts";
import { type Evaluation, readEvaluation } from "../evaluation/evaluation.ts";
import {
  type PartitionManifest,
  type PartManifest,
  readPart,
  readPartition,
} from "../partition/manifests.ts";
import { routesByPrefix } from "../partition/partitioners.ts";
import { type AdoptedExpert, adoptedExperts } from "../run/adoption.ts";
import type { ExpertName } from "../partition/names.ts";
import { readRunConfiguration, type RunConfiguration } from "../run/configuration.ts";
import { readRoundMetrics, type RoundMetrics } from "../run/events.ts";
import { exists, isFolder, withRemedy } from "../run/files.ts";
import { isPages, type Manifest, manifestNames, readManifest, vouchedFiles } from "../run/manifest.ts";
import { printable } from "../run/printable.ts";
import { readTimes, type Time } from "../run/timing.ts";
import type { Vouched } from "../run/vouched.ts";
import { expertNames } from "../stages/names.ts";
import { partitionRemedy, partsAlone } from "../stages/parts_alone.ts";
import { anythingBegun } from "../stages/state.ts";
import { baselineTargets } from "../stages/baselines.ts";
import { expertTarget } from "../stages/train_expert.ts";
import { ZERO_SHOT, zeroShotPath, zeroShotTasks } from "../stages/zero_shot.ts";
import { readStepMetrics, type StepMetrics } from "../training/metrics.ts";
import { type Claims, readClaims } from "./reproduction.ts";

/** The training metrics of one model. */
export interface Curve {
  /** Name of the model, as in its metrics file. */
  model: string;
  /** Id, if it is an expert. */
  expert: number | null;
  /** Lines of the file. */
  points: Pick<StepMetrics, "step" | "tokens" | "loss" | "validationLoss" | "reports">[];
}

/** The contents of a run folder; `null` and empty lists stand for parts that are not there yet. */
export interface RunRecord {
  /** Name of the folder. */
  name: string;
  /** Path of the folder as a command takes it. */
  path: string;
  /** Its `config.json`. */
  config: RunConfiguration;
  /** Whether its partitioner routes by a prefix; otherwise the true labels of held-out text choose the experts. */
  routes: boolean;
  /** Experts whose parts lie here without the run that they come from. */
  alone: number[];
  /** Manifests of its stages, by name. */
  manifests: Record<string, Manifest>;
  /** EM rounds; empty where routers of another run were used. */
  rounds: RoundMetrics[];
  /** The partition, and its experts by id. */
  partition: { whole: PartitionManifest; parts: PartManifest[] } | null;
  /** What sets each expert apart; null where its tokenizer or the shards of the partition are not there. */
  names: ExpertName[] | null;
  /** Experts by id, then the baselines. */
  curves: Curve[];
  /** How long stages, rounds and trainings took. */
  times: Time[];
  /** Experts that other trainers made. */
  adopted: AdoptedExpert[];
  /** Results on held-out text. */
  evaluation: Evaluation | null;
  /** Results of zero-shot tasks, in the order in which tasks are listed. */
  zeroShot: ZeroShotResult[];
  /** Claims of the paper. */
  reproduction: Claims | null;
}

/**
 * Reads a run folder. Throws an `InputError` where the folder is none of a run, and where a file in it, which it names, cannot
 * be what it must be. `doing` says in messages what for; `names` says whether the experts' names are read too.
 */
export async function readRun(
  run: string,
  { doing = "report on", names = true }: { doing?: string; names?: boolean } = {},
): Promise<RunRecord> {
  const refuse = async (must: string) =>
    new InputError(`Cannot ${doing} "${run}" as it must ${must}`, {
      where: run,
      remedy: await partitionRemedy(run),
    });
  const notARun = (reason: string) => refuse(`be a run folder: ${reason}`);
  if (!await exists(run)) throw await notARun("there is no such folder");
  if (!await isFolder(run)) throw await notARun("it is a file");
  const config = await readRunConfiguration(run);
  if (config === null) throw await notARun("it has no config.json");
  const vouched = await vouchedFiles(run);
  vouched.add(run, (await readManifest(run, "reproduce"))?.outputs ?? {}); // the claims are read below
  const path = resolve(run);
  const inside = relative(Deno.cwd(), path);
  const record: RunRecord = {
    name: printable(path.split("/").at(-1) || path),
    path: printable(inside.startsWith("..") ? path : inside || "."),
    config,
    routes: await routesByPrefix(run),
    alone: await partsAlone(run),
    manifests: {},
    rounds: await ifThere(
      `${run}/metrics/rounds.jsonl`,
      (path) => readRoundMetrics(path, vouched),
      forced(run, "train-routers"),
    ) ??
      [],
    partition: await ifThere(
      `${run}/partition/manifest.json`,
      () => readParts(run, vouched),
      forced(run, "split"),
    ),
    names: null,
    curves: await readCurves(run, vouched),
    times: await readTimes(run),
    adopted: await adoptedExperts(run),
    evaluation: await ifThere(
      `${run}/evaluation.json`,
      (path) => readEvaluation(path, vouched),
      forced(run, "evaluate"),
    ),
    zeroShot: await readTasks(run, vouched),
    reproduction: await ifThere(
      `${run}/reproduction.json`,
      (path) => readClaims(path, vouched),
      say`run ${task("reproduce", { run })} again`,
    ),
  };
  for (const name of await manifestNames(run)) {
    if (isPages(name)) continue;
    record.manifests[name] = (await readManifest(run, name))!;
  }
  if (names && record.partition) record.names = await expertNames(run, vouched);
  if (isEmpty(record) && !await anythingBegun(run, config.configuration)) {
    throw await refuse("hold something that a task made: it holds a configuration and nothing made with it");
  }
  return record;
}

const forced = (run: string, name: string, settings: TaskReference["with"] = {}): Text =>
  say`run ${task(name, { ...settings, run, force: true })}`;

const isEmpty = (
  { rounds, partition, curves, adopted, evaluation, zeroShot, reproduction }: RunRecord,
): boolean =>
  rounds.length + curves.length + adopted.length + zeroShot.length === 0 &&
  [partition, evaluation, reproduction].every((part) => part === null);

/**
 * Reads a file, or returns null where there is none. If the file is damaged, the error says how to mend it.
 */
async function ifThere<T>(
  path: string,
  read: (path: string) => Promise<T>,
  remedy: Text,
): Promise<T | null> {
  if (!await exists(path)) return null;
  return await read(path).catch(withRemedy(remedy));
}

async function readParts(run: string, vouched: Vouched): Promise<NonNullable<RunRecord["partition"]>> {
  const whole = await readPartition(`${run}/partition`, vouched);
  const parts: PartManifest[] = [];
  for (const { folder } of whole.parts) parts.push(await readPart(`${run}/partition/${folder}`, vouched));
  return { whole, parts };
}

async function readTasks(run: string, vouched: Vouched): Promise<ZeroShotResult[]> {
  const results: ZeroShotResult[] = [];
  for (const task of zeroShotTasks()) {
    const remedy = forced(run, ZERO_SHOT, { task });
    const result = await ifThere(
      `${run}/${zeroShotPath(task)}`,
      (path) => readZeroShot(path, vouched),
      remedy,
    );
    if (result) results.push(result);
  }
  return results;
}

async function readCurves(run: string, vouched: Vouched): Promise<Curve[]> {
  const folder = `${run}/metrics`;
  const files = await exists(folder) ? await Array.fromAsync(Deno.readDir(folder)) : [];
  const baselines = baselineTargets();
  const curves: Curve[] = [];
  for (const { name } of files) {
    const [, model, id] = /^(expert-(\d+)|.+)\.jsonl$/.exec(name) ?? [];
    const expert = id === undefined ? null : Number(id);
    const target = expert === null ? baselines.find(({ name }) => name === model) : expertTarget(expert);
    if (target === undefined) continue;
    const remedy = forced(run, target.command.task, target.command.with);
    const points = await ifThere(`${folder}/${name}`, (path) => readStepMetrics(path, vouched), remedy) ?? [];
    if (points.length > 0) curves.push({ model, expert, points });
  }
  const rank = ({ model, expert }: Curve) =>
    expert ?? 1e9 * (1 + baselines.findIndex(({ name }) => name === model));
  return curves.sort((a, b) => rank(a) - rank(b));
}
