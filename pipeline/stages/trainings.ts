/**
 * Says how the trainings of a run stand, as often as asked: from their metrics, their checkpoints, the times that they note and the
 * holds of their names. Reads what is new since it was last asked, opens no shard and changes nothing.
 *
 * @module
 */

import { trainingFlops } from "../cost/flops.ts";
import { readRouters } from "../cost/mixture.ts";
import { readPart } from "../partition/manifests.ts";
import { adoptionOf } from "../training/adoption.ts";
import { exists, hashFile, isMissing } from "../run/files.ts";
import { heldIn } from "../run/lock.ts";
import type { Owner } from "../run/claims.ts";
import { type Manifest, readManifest } from "../run/manifest.ts";
import { type Time, timeOf } from "../run/timing.ts";
import type { Configuration } from "../settings/configuration.ts";
import { readLastMetrics } from "../training/metrics.ts";
import { listCheckpoints } from "../training/resume.ts";
import { needConfiguration } from "./run_folder.ts";
import { tokenizeResult } from "./tokenize.ts";
import { baselineTargets } from "./baselines.ts";
import { expertTarget } from "./train_expert.ts";
import { modelOf, type Target, type TrainingData } from "./training_target.ts";

/** How a training stands. */
export interface Training {
  /** The model, for instance `expert-02`. */
  model: string;
  /**
   * Whether it is at work, was stopped in the middle, is complete, came from another trainer, or has not begun; `damaged` where its
   * manifest cannot be read, or its metrics are not what that says.
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
  /** Reads how they stand now: experts by id, then the dense models. */
  read(): Promise<Training[]>;
}

/** A line of times of a training. */
type StepTime = Time & { step: number };

/** What the steps of a training follow from besides the settings; `vocabulary` is the tokenizer's. */
type Known = Pick<TrainingData, "sequences" | "heldOut" | "routers"> & { vocabulary?: number };

/** Lines of times that a speed is the mean of. */
const RECENT = 5;

/** Opens the trainings of a run. Throws an `InputError` where the folder is no run. */
export async function openTrainings(run: string): Promise<TrainingsReader> {
  await needConfiguration(run, "watch", true);
  const times = createTimes(`${run}/metrics/timing.jsonl`);
  const isSound = createSoundness();
  const known = new Map<string, Promise<Known | undefined>>(); // of each model; it stays
  return {
    async read() {
      const configuration = await needConfiguration(run, "watch", true);
      await times.read();
      const targets = [
        ...Array.from({ length: configuration.experts }, (_, expert) => expertTarget(expert)),
        ...baselineTargets(),
      ];
      const optional = new Set(targets.filter(({ optional }) => optional).map(({ name }) => name));
      const all = await Promise.all(targets.map(async (target) => {
        const { name } = target;
        if (!known.has(name)) {
          const data = readKnown(run, configuration, target);
          known.set(name, data);
          if (await data === undefined) known.delete(name); // not made yet
        }
        const data = await known.get(name);
        return await trainingOf(run, configuration, target, {
          data,
          times: times.of(`train-${name}`),
          isSound: (made) => isSound(run, `metrics/${name}.jsonl`, made),
        });
      }));
      return all.filter(({ model, state }) => state !== "waiting" || !optional.has(model));
    },
  };
}

/** Reads what a model's steps follow from; undefined where its part is not there. */
async function readKnown(
  run: string,
  configuration: Configuration,
  { name, folder, tellsCost }: Target,
): Promise<Known | undefined> {
  try {
    const tokenize = await readManifest(run, "tokenize"); // a part that lies alone has none
    const all = tokenize && tokenizeResult(tokenize, run);
    if (folder.startsWith("experts/")) {
      const { train: { sequences } } = await readPart(`${run}/partition/${name}`);
      return { sequences, vocabulary: all?.vocabulary };
    }
    if (!all) return undefined;
    const { trainSequences: sequences, testSequences: heldOut, vocabulary } = all;
    const routers = tellsCost ? await readRouters(configuration, run) : undefined;
    return { sequences, heldOut, vocabulary, routers };
  } catch {
    return undefined; // what is damaged is told by who needs it
  }
}

async function trainingOf(
  run: string,
  settings: Configuration,
  target: Target,
  { data, times, isSound }: {
    data: Known | undefined;
    times: readonly StepTime[];
    isSound(made: Manifest): Promise<boolean>;
  },
): Promise<Training> {
  const { name, folder } = target;
  const place = `${run}/${folder}`;
  const configuration = { ...settings, vocabularySize: data?.vocabulary ?? settings.vocabularySize };
  const [read, found, held, [last]] = await Promise.all([
    readManifest(run, `train-${name}`).catch(() => undefined),
    readLastMetrics(`${run}/metrics/${name}.jsonl`),
    heldIn(run, (name, mode) => name === `train-${target.name}` && mode !== "read"),
    listCheckpoints(`${place}/checkpoints`),
  ]);
  const holders = held.map(({ owner }) => owner);
  const works = holders.length > 0;
  const isDamaged = !works && (read === undefined || read !== null && !await isSound(read));
  const [made, metrics] = isDamaged ? [undefined, null] : [read, found]; // damaged figures are not shown
  const adoption = adoptionOf(made ?? null);
  const batch = target.batch(configuration);
  const trained = Number(made?.result.steps ?? NaN);
  const steps = Number.isFinite(trained) ? trained : stepsOf(configuration, target, data);
  const { step, tokens, loss = null, rate = null } = metrics?.last ?? { step: 0, tokens: 0 };
  const begun = metrics !== null || last !== undefined || await exists(`${place}/config.json`);
  const state = works
    ? "training"
    : made === undefined
    ? "damaged"
    : adoption
    ? "adopted"
    : made
    ? "complete"
    : begun
    ? "stopped"
    : "waiting";
  const tokensPerSecond = works ? speedOf(times) : null;
  const perStep = step > 0 ? tokens / step : null;
  const stepsPerSecond = tokensPerSecond !== null && perStep ? tokensPerSecond / perStep : null;
  const model = modelOf(target, configuration);
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
    flopsPerSecond: stepsPerSecond &&
      stepsPerSecond * trainingFlops(model, batch, configuration.sequenceLength),
    utilisation: works ? times.at(-1)?.utilisation ?? null : null,
    secondsLeft: stepsPerSecond && steps !== null ? Math.max(0, steps - step) / stepsPerSecond : null,
    checkpoint: last === undefined ? null : await checkpointOf(last),
    updated: metrics?.at?.toISOString() ?? null,
    holders,
    ...adoption && { from: adoption.from },
  };
}

/** Tells whether a file is what the manifest of its stage says; one that has not changed since is not read again. */
function createSoundness() {
  const known = new Map<string, { of: string; isSound: boolean }>();
  return async (run: string, path: string, { outputs }: Manifest): Promise<boolean> => {
    const record = outputs[path];
    const info = await Deno.stat(`${run}/${path}`).catch(() => null);
    if (!record || !info) return true; // nothing is shown of it
    const of = [record.sha256, info.size, info.mtime?.getTime()].join();
    if (known.get(path)?.of !== of) {
      const isSound = (await hashFile(`${run}/${path}`)).sha256 === record.sha256;
      known.set(path, { of, isSound });
    }
    return known.get(path)!.isSound;
  };
}

/** Counts the steps of a training; null where that takes what is not there. */
function stepsOf(
  configuration: Configuration,
  target: Target,
  data: Known = { sequences: NaN },
): number | null {
  try {
    return target.steps(configuration, data);
  } catch {
    return null;
  }
}

async function checkpointOf(path: string): Promise<Training["checkpoint"]> {
  const at = await Deno.stat(path).then(({ mtime }) => mtime, () => null);
  return { step: Number(/step-(\d+)/.exec(path)![1]), at: at?.toISOString() ?? null };
}

/** Gives the tokens a second over the last lines: tokens of all of them by the seconds of all of them. */
function speedOf(times: readonly StepTime[]): number | null {
  let [tokens, seconds] = [0, 0];
  for (const { tokensPerSecond, seconds: own } of times) {
    if (typeof tokensPerSecond !== "number") continue;
    tokens += tokensPerSecond * own;
    seconds += own;
  }
  return seconds > 0 ? tokens / seconds : null;
}

/** Reads the file of times as it grows, and keeps the last few of each stage. */
function createTimes(path: string) {
  const recent = new Map<string, StepTime[]>();
  let at = 0;
  let rest = "";
  const take = (line: string) => {
    const told = timeOf(line);
    if (told?.step === undefined) return; // a stage's, or a round's
    const time: StepTime = { ...told, step: told.step };
    const known = recent.get(time.stage) ?? [];
    const again = known.length > 0 && time.step <= known.at(-1)!.step; // it was started anew, or resumed
    recent.set(time.stage, [...again ? [] : known, time].slice(-RECENT));
  };
  return {
    of: (stage: string): readonly StepTime[] => recent.get(stage) ?? [],
    async read() {
      try {
        using file = await Deno.open(path);
        if ((await file.stat()).size < at) [at, rest] = [0, ""]; // another file
        await file.seek(at, Deno.SeekMode.Start);
        const decoder = new TextDecoder();
        for await (const chunk of file.readable) {
          at += chunk.length;
          const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
          rest = lines.pop()!;
          for (const line of lines) take(line);
        }
      } catch (error) {
        if (!isMissing(error)) throw error;
      }
    },
  };
}
