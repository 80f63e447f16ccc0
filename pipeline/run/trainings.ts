/**
 * Reports how the trainings of a run stand, as often as asked: from the metrics and checkpoints in
 * their folders, the times that they note and the locks of their nodes. Opens no shard and changes
 * nothing.
 *
 * @module
 */

import { trainingFlops } from "../cost/flops.ts";
import { readRouters } from "../cost/mixture.ts";
import { describeNodes, type NodeRecord } from "../graph/describe.ts";
import { listOwners } from "../graph/lock.ts";
import { findDamage, givenNode, type Manifest, readManifest, TOKENIZER } from "../graph/node.ts";
import { readTimes, type Time } from "../graph/timing.ts";
import { Walk } from "../graph/walk.ts";
import type { Configuration } from "../settings/configuration.ts";
import { readTextCounts } from "../text/counts.ts";
import { describeAdoption } from "../training/adoption.ts";
import { METRICS_FILE, readLastMetrics } from "../training/metrics.ts";
import { listCheckpoints, metricsPath } from "../training/resume.ts";
import { needConfiguration, partIn } from "../stages/parts.ts";
import { nameCompared, readJobPlan } from "./jobs.ts";
import { allTargets, type Target, type TrainingText } from "../stages/targets.ts";
import { trainStage } from "../stages/train.ts";

/**
 * How a training stands.
 *
 * - `model`, for instance `expert-02`, and the processes that train it (`holders`); `from`: where
 *   another trainer's model came from.
 * - `state`: whether it is at work, was stopped in the middle, is complete, came from another
 *   trainer, or has not begun; `damaged` where
 *   its manifest cannot be read, or its files are not what that says.
 * - `step`: steps so far, as far as its metrics tell; of how many (`steps`), null where that is not
 *   known.
 * - `loss` and learning `rate` of the last line of metrics, and the last loss on held-out sequences
 *   of its part; nats per predicted token.
 * - `tokens`: real ones, trained on.
 * - Where it is at work: tokens and FLOP/s over the last lines of metrics, and seconds that are
 *   left at that speed. Also the share of what
 *   the device reaches, where the training notes it.
 * - `checkpoint`: the step of the last one, and when that was made; `updated`: when metrics were
 *   last written; both in ISO 8601.
 *
 * @ignore Its type is inferred.
 */
export type Training = Awaited<ReturnType<typeof describeTraining>>;

type State = "training" | "stopped" | "complete" | "adopted" | "waiting" | "damaged";

/**
 * What the steps of a training follow from apart from the settings; `vocabulary` is the
 * tokenizer's.
 */
type Known = TrainingText & { vocabulary: number };

const RECENT = 5; // lines of times that a speed is the mean of
const TIMES_BYTES = 2 ** 20;

/**
 * Reads how the trainings of a run stand now: experts by id, then the models of all text. Of these
 * it leaves out the ones that have not begun and that no plan of jobs names. Throws an `InputError`
 * where the folder is no run.
 */
export async function readTrainings(run: string): Promise<Training[]> {
  const configuration = await needConfiguration(run);
  const planned = nameCompared((await readJobPlan(run))?.dense ?? []);
  const targets = allTargets(configuration);
  const times = await readTimes(run, TIMES_BYTES);
  // Each is judged by its own manifest: nobody looks at what it was trained on.
  const walk = new Walk(run, targets.map(({ node }) => givenNode(node)));
  const records = await describeNodes(walk, await listOwners(run));
  const all = await Promise.all(
    targets.map((target, i) => describeTraining(run, configuration, target, records[i], times)),
  );
  return all.filter(({ model, state }, i) =>
    state !== "waiting" || targets[i].expert !== undefined || planned.includes(model)
  );
}

/**
 * Reads what a model's steps follow from. Throws where its text is not there, or damaged, which is
 * reported by who needs it.
 */
async function readKnown(
  run: string,
  configuration: Configuration,
  { part, tellsCost }: Target,
): Promise<Known> {
  if (part !== undefined) {
    const manifestOf = async (name: string) => (await readManifest(`${run}/${name}`))!;
    const vocabulary = Number((await manifestOf(TOKENIZER)).result.entries);
    return { vocabulary, sequences: partIn(part, await manifestOf(part)).train.sequences };
  }
  const { vocabulary, trainSequences: sequences, testSequences: heldOut } =
    (await readTextCounts(run))!;
  const routers = tellsCost ? await readRouters(configuration, run) : undefined;
  return { vocabulary, sequences, heldOut, routers };
}

async function describeTraining(
  run: string,
  runConfiguration: Configuration,
  target: Target,
  record: NodeRecord,
  times: readonly Time[],
) {
  const { name, node } = target;
  const place = `${run}/${node}`;
  const stage = trainStage(target);
  const { owners: holders, manifest } = record;
  const works = holders.length > 0;
  const text = await readKnown(run, runConfiguration, target).catch(() => undefined);
  const configuration = {
    ...runConfiguration,
    vocabularySize: text?.vocabulary ?? runConfiguration.vocabularySize,
  };
  const isDamaged = !works &&
    (record.state === "damaged" || manifest !== null && await hasOtherMetrics(place, manifest));
  const finished = works || isDamaged ? null : manifest;
  const adoption = describeAdoption(finished);
  const scratches = finished ? [] : record.scratches.map(({ path }) => path);
  const last = await findLatestCheckpoint(scratches);
  const partials = record.partials.map(({ path }) => path);
  const folders = works ? partials : finished ? [place] : [];
  const path = await newest(folders.map((folder) => `${folder}/${METRICS_FILE}`)) ??
    (last && metricsPath(last));
  const metrics = path === undefined || isDamaged ? null : await readLastMetrics(path);
  const ended = adoption ? "adopted" : "complete";
  const open = scratches.length > 0 ? "stopped" : "waiting";
  const state: State = works ? "training" : isDamaged ? "damaged" : finished ? ended : open;
  const steps = typeof finished?.result.steps === "number"
    ? finished.result.steps
    : await Promise.try(() => target.steps(configuration, text ?? { sequences: NaN })).catch(() =>
      null
    ); // that takes what is not there
  const { step, tokens, loss = null, rate = null } = metrics?.last ?? { step: 0, tokens: 0 };
  const tokensPerSecond = works ? findSpeed(times, stage) : null;
  const latest = works ? times.findLast((time) => time.stage === stage && time.step) : undefined;
  const stepsPerSecond = tokensPerSecond !== null && step > 0 && tokens > 0
    ? tokensPerSecond * step / tokens
    : null;
  const flopsPerStep = async () => {
    const batch = target.batch(configuration);
    const { sequenceLength } = configuration;
    return trainingFlops(await target.model(configuration), batch, sequenceLength);
  };
  return {
    model: name,
    state,
    loss,
    validationLoss: metrics?.validationLoss ?? null,
    rate,
    tokens,
    step: state === "complete" && steps !== null ? steps : step,
    steps: adoption ? null : steps,
    tokensPerSecond,
    flopsPerSecond: stepsPerSecond && stepsPerSecond * await flopsPerStep(),
    utilisation: latest?.utilisation ?? null,
    secondsLeft: stepsPerSecond && steps !== null
      ? Math.max(0, steps - step) / stepsPerSecond
      : null,
    checkpoint: last === undefined ? null : await findCheckpoint(last),
    updated: metrics?.at?.toISOString() ?? null,
    holders,
    ...adoption && { from: adoption.from },
  };
}

/** Whether the metrics of a model, which are shown, are not what its manifest says. */
async function hasOtherMetrics(place: string, manifest: Manifest): Promise<boolean> {
  const { [METRICS_FILE]: note } = manifest.files;
  return note !== undefined &&
    await findDamage(place, { ...manifest, files: { [METRICS_FILE]: note } }, true) !== undefined;
}

/** Gives the file that was written last; undefined where none is there. */
async function newest(paths: readonly string[]): Promise<string | undefined> {
  const modified = (path: string) => Deno.stat(path).then(({ mtime }) => Number(mtime), () => -1);
  const times = await Promise.all(paths.map(modified));
  const most = Math.max(-1, ...times);
  return most < 0 ? undefined : paths[times.indexOf(most)];
}

/** Finds the checkpoint that was written last in the folders of a training that has not ended. */
export const findLatestCheckpoint = async (
  scratches: readonly string[],
): Promise<string | undefined> =>
  await newest((await Promise.all(scratches.map(listCheckpoints))).flat());

async function findCheckpoint(path: string): Promise<{ step: number; at: string | null }> {
  const at = await Deno.stat(path).then(({ mtime }) => mtime, () => null);
  return { step: Number(/step-(\d+)/.exec(path)![1]), at: at?.toISOString() ?? null };
}

/**
 * Gives the tokens a second over the last lines of a training since it last began or went on: all
 * their tokens by all their seconds.
 */
function findSpeed(times: readonly Time[], stage: string): number | null {
  const steps = times.filter((time) => time.stage === stage && time.step !== undefined);
  const restart = steps.findLastIndex(({ step }, i) => i > 0 && step! <= steps[i - 1].step!);
  let tokens = 0;
  let all = 0;
  for (const { tokensPerSecond, seconds } of steps.slice(Math.max(0, restart)).slice(-RECENT)) {
    if (typeof tokensPerSecond !== "number") continue;
    tokens += tokensPerSecond * seconds;
    all += seconds;
  }
  return all > 0 ? tokens / all : null;
}
