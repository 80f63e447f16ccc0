/**
 * Says how the trainings of a run stand, as often as asked: from the metrics and checkpoints in their folders, the times that they note and
 * the locks of their nodes. Opens no shard and changes nothing.
 *
 * @module
 */

import { trainingFlops } from "../cost/flops.ts";
import { readRouters } from "../cost/mixture.ts";
import { partialsOf, scratchesOf } from "../graph/folder.ts";
import { listOwners, type Owner } from "../graph/lock.ts";
import { findDamage, type Manifest, readManifest } from "../graph/manifest.ts";
import { partOf, TOKENIZER } from "../graph/places.ts";
import { readTimes, type Time } from "../run/timing.ts";
import type { Configuration } from "../settings/configuration.ts";
import { readTextCounts } from "../text/counts.ts";
import { adoptionOf } from "../training/adoption.ts";
import { METRICS, readLastMetrics } from "../training/metrics.ts";
import { listCheckpoints, metricsPath } from "../training/resume.ts";
import { needConfiguration, partIn } from "./parts.ts";
import { allTargets, type Target, type TrainingText } from "./targets.ts";

/** How a training stands. */
export interface Training {
  /** The model, for instance `expert-02`. */
  model: string;
  /**
   * Whether it is at work, was stopped in the middle, is complete, came from another trainer, or has not begun; `damaged` where its
   * manifest cannot be read, or its files are not what that says.
   */
  state: "training" | "stopped" | "complete" | "adopted" | "waiting" | "damaged";
  /** Steps so far, as far as its metrics tell. */
  step: number;
  /** Steps in all; null where that is not known. */
  steps: number | null;
  /** Mean loss of the last line of metrics, nats per predicted token. */
  loss: number | null;
  /** Last loss on held-out sequences of its part, nats per predicted token. */
  validationLoss: number | null;
  /** Learning rate of the last line of metrics. */
  rate: number | null;
  /** Real tokens trained on. */
  tokens: number;
  /** Tokens a second, over the last lines of metrics; null where it isn't at work. */
  tokensPerSecond: number | null;
  /** FLOP/s at that speed. */
  flopsPerSecond: number | null;
  /** Share of what the device reaches, where the training notes it. */
  utilisation: number | null;
  /** Seconds that are left at that speed. */
  secondsLeft: number | null;
  /** The last checkpoint: its step, and when it was made, ISO 8601. */
  checkpoint: { step: number; at: string | null } | null;
  /** When its metrics were last written, ISO 8601. */
  updated: string | null;
  /** Who trains it. */
  holders: Owner[];
  /** Where it came from, where another trainer made it. */
  from?: string;
}

/** Reads the trainings of a run. */
export interface TrainingsReader {
  /** Reads how they stand now: experts by id, then the models of all text. */
  read(): Promise<Training[]>;
}

/** What the steps of a training follow from besides the settings; `vocabulary` is the tokenizer's. */
type Known = TrainingText & { vocabulary: number };

const RECENT = 5; // lines of times that a speed is the mean of
const TIMES_BYTES = 2 ** 20;

/** Opens the trainings of a run. Throws an `InputError` where the folder is no run. */
export async function openTrainings(run: string): Promise<TrainingsReader> {
  await needConfiguration(run);
  const known = new Map<string, Known>(); // of each model; it stays
  return {
    async read() {
      const configuration = await needConfiguration(run);
      const [owners, times] = [await listOwners(run), await readTimes(run, TIMES_BYTES)];
      const all = await Promise.all(
        allTargets(configuration).map(async (target) => {
          const { name, node, optional } = target;
          const text = known.get(name) ?? await readKnown(run, configuration, target).catch(() => undefined);
          if (text) known.set(name, text);
          const training = await trainingOf(run, configuration, target, {
            text,
            holders: owners.filter((owner) => owner.node === node),
            times: recent(times, `train-${name}`),
          });
          return training.state === "waiting" && optional ? [] : [training];
        }),
      );
      return all.flat();
    },
  };
}

/** Reads what a model's steps follow from. Throws where its text is not there, or damaged, which is told by who needs it. */
async function readKnown(
  run: string,
  configuration: Configuration,
  { expert, tellsCost }: Target,
): Promise<Known> {
  if (expert !== undefined) {
    const part = partOf(expert), of = async (name: string) => (await readManifest(`${run}/${name}`))!;
    const vocabulary = Number((await of(TOKENIZER)).result.entries);
    return { vocabulary, sequences: partIn(part, await of(part)).train.sequences };
  }
  const { vocabulary, trainSequences: sequences, testSequences: heldOut } = (await readTextCounts(run))!;
  return {
    vocabulary,
    sequences,
    heldOut,
    routers: tellsCost ? await readRouters(configuration, run) : undefined,
  };
}

async function trainingOf(
  run: string,
  settings: Configuration,
  target: Target,
  { text, holders, times }: { text?: Known; holders: Owner[]; times: readonly Time[] },
): Promise<Training> {
  const { name, node } = target;
  const works = holders.length > 0;
  const place = `${run}/${node}`;
  const manifest = await readManifest(place).catch(() => undefined);
  const isDamaged = !works && (manifest === undefined || manifest && await isOther(place, manifest));
  const made = works || isDamaged ? null : manifest;
  const { path, last, begun } = made
    ? { path: `${place}/${METRICS}`, begun: true }
    : await progressOf(run, node, works);
  const metrics = path === undefined || isDamaged ? null : await readLastMetrics(path);
  const adoption = adoptionOf(made);
  const configuration = { ...settings, vocabularySize: text?.vocabulary ?? settings.vocabularySize };
  const steps = typeof made?.result.steps === "number"
    ? made.result.steps
    : await stepsOf(configuration, target, text);
  const { step, tokens, loss = null, rate = null } = metrics?.last ?? { step: 0, tokens: 0 };
  const tokensPerSecond = works ? speedOf(times) : null;
  const perStep = step > 0 ? tokens / step : null;
  const stepsPerSecond = tokensPerSecond !== null && perStep ? tokensPerSecond / perStep : null;
  const state = works
    ? "training"
    : isDamaged
    ? "damaged"
    : adoption
    ? "adopted"
    : made
    ? "complete"
    : begun
    ? "stopped"
    : "waiting";
  return {
    model: name,
    state,
    step: state === "complete" && steps !== null ? steps : step,
    steps: adoption ? null : steps,
    loss,
    validationLoss: metrics?.validationLoss ?? null,
    rate,
    tokens,
    tokensPerSecond,
    flopsPerSecond: stepsPerSecond && stepsPerSecond *
        trainingFlops(
          await target.model(configuration),
          target.batch(configuration),
          configuration.sequenceLength,
        ),
    utilisation: works ? times.at(-1)?.utilisation ?? null : null,
    secondsLeft: stepsPerSecond && steps !== null ? Math.max(0, steps - step) / stepsPerSecond : null,
    checkpoint: last === undefined ? null : await checkpointOf(last),
    updated: metrics?.at?.toISOString() ?? null,
    holders,
    ...adoption && { from: adoption.from },
  };
}

/** Whether files of a model are not what its manifest says; its metrics are hashed, as they are shown. */
async function isOther(place: string, manifest: Manifest): Promise<boolean> {
  if (await findDamage(place, manifest, false) !== undefined) return true;
  const { [METRICS]: own } = manifest.files;
  return own !== undefined &&
    await findDamage(place, { ...manifest, files: { [METRICS]: own } }, true) !== undefined;
}

/** Finds the metrics of a training that has not ended, those of a process at work first, and its last checkpoint. */
async function progressOf(
  run: string,
  node: string,
  works: boolean,
): Promise<{ path?: string; last?: string; begun: boolean }> {
  const scratches = await scratchesOf(run, node);
  const states = (await Promise.all(scratches.map(listCheckpoints))).flat();
  const last = await newest(states);
  const partials = works ? await partialsOf(run, node) : [];
  const path = await newest(partials.map((folder) => `${folder}/${METRICS}`));
  return { path: path ?? (last && metricsPath(last)), last, begun: scratches.length > 0 };
}

/** Gives the file that was written last; undefined where none is there. */
async function newest(paths: readonly string[]): Promise<string | undefined> {
  const times = await Promise.all(
    paths.map((path) => Deno.stat(path).then(({ mtime }) => Number(mtime), () => -1)),
  );
  const most = Math.max(-1, ...times);
  return most < 0 ? undefined : paths[times.indexOf(most)];
}

/** Counts the steps of a training; null where that takes what is not there. */
async function stepsOf(
  configuration: Configuration,
  target: Target,
  text?: TrainingText,
): Promise<number | null> {
  try {
    return await target.steps(configuration, text ?? { sequences: NaN });
  } catch {
    return null;
  }
}

async function checkpointOf(path: string): Promise<Training["checkpoint"]> {
  const at = await Deno.stat(path).then(({ mtime }) => mtime, () => null);
  return { step: Number(/step-(\d+)/.exec(path)![1]), at: at?.toISOString() ?? null };
}

/** Gives the last times of a training, since it last began or went on. */
function recent(times: readonly Time[], stage: string): Time[] {
  const own = times.filter((time) => time.stage === stage && time.step !== undefined);
  const again = own.findLastIndex(({ step }, i) => i > 0 && step! <= own[i - 1].step!);
  return own.slice(Math.max(0, again)).slice(-RECENT);
}

/** Gives the tokens a second over some lines: tokens of all of them by the seconds of all of them. */
function speedOf(times: readonly Time[]): number | null {
  const told = times.filter(({ tokensPerSecond }) => typeof tokensPerSecond === "number");
  const seconds = told.reduce((sum, { seconds }) => sum + seconds, 0);
  return seconds > 0
    ? told.reduce((sum, time) => sum + time.tokensPerSecond! * time.seconds, 0) / seconds
    : null;
}
