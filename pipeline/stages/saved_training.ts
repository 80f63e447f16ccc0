/**
 * Which checkpoint a training goes on from, and what forbids that.
 *
 * @module
 */

import { basename } from "node:path";
import type { Variants } from "../../kernels/device/variants.ts";
import { InputError, say, setting, type Text } from "../../kernels/errors.ts";
import { sha256 } from "../run/files.ts";
import type { Manifest, StageIdentity } from "../run/manifest.ts";
import { canonical } from "../run/seal.ts";
import type { Recipe } from "../training/recipe.ts";
import { listCheckpoints, loadCheckpointState } from "../training/resume.ts";
import { commandOf } from "./command.ts";
import type { Work } from "./stage.ts";
import { type Place, statesOf, TRAINING_REVISION } from "./training_target.ts";

/** A training that is about to begin. */
interface Beginning {
  run: string;
  place: Place;
  /** What it depends on now. */
  identity: StageIdentity;
  /** The manifest of a training that ended here before. */
  before: Manifest | null;
  /**
   * What the user accepts: that training starts again, that it goes on although values differ, that values
   * differ.
   */
  accepts: { again: boolean; resume: boolean; changes: boolean };
}

/** A training with what its states depend on: the hash of the settings and the inputs is `key`. */
interface BeginningOnDevice extends Beginning {
  settings: Recipe & { adapter: string; variants: Partial<Variants> };
  key: string;
}

/** Throws an `InputError` where the training that ended here had other values on the same shards, unless changes are accepted. */
export function refuseChanged({ run, place, identity, before, accepts }: Beginning): void {
  if (!before || before.key === identity.key || accepts.changes) return;
  if (canonical(before.inputs) !== canonical(identity.inputs)) return;
  const then = { revision: before.revision, ...before.configuration };
  const now = { revision: TRAINING_REVISION, ...identity.configuration };
  refuseChange(place, run, "it was trained", then, now);
}

/**
 * Loads the latest checkpoint that the training can go on from; undefined where it starts anew. Throws an `InputError` where a
 * checkpoint was made with other values and nobody accepted that, or where the user wants to go on and no checkpoint allows it.
 */
export async function loadSaved(
  { run, place, identity, before, accepts, settings, key }: BeginningOnDevice,
  emit: Work["emit"],
): ReturnType<typeof loadCheckpointState> {
  if (accepts.again) return undefined;
  const { name, recipe } = place;
  const metrics = await Deno.readFile(place.metrics).catch(() => new Uint8Array());
  const damaged: Text[] = [];
  const onDamaged = (what: Text) => void damaged.push(what);
  let own = false; // whether a checkpoint was made with these very values: starting again loses nothing
  const saved = await loadCheckpointState(statesOf(place), recipe.model, (context, step) => {
    const { metricsBytes, metricsSha256 } = context;
    own ||= context.key === key;
    if (step > recipe.steps) return false;
    const isCut = metricsBytes > metrics.length;
    if (isCut || metricsSha256 !== undefined && sha256(metrics.subarray(0, metricsBytes)) !== metricsSha256) {
      onDamaged(
        `Cannot resume at step ${step} as the metrics up to it must be whole: "${place.metrics}" is not`,
      );
      return false;
    }
    if (context.key === key || accepts.resume) return true;
    if (!accepts.changes && canonical(context.inputs) === canonical(identity.inputs)) {
      const now = { revision: TRAINING_REVISION, ...settings };
      refuseChange(place, run, `its checkpoint of step ${step} was made`, context.settings, now);
    }
    return false;
  }, onDamaged);
  const follows = saved ? "goes on from the one before" : "has no other to go on from";
  for (const what of damaged) emit({ type: "warning", message: say`${what}; ${name} ${follows}` });
  if (accepts.resume && !saved && !own && before?.key !== identity.key) {
    await refuseLoss(place, before !== null);
  }
  return saved;
}

/**
 * Throws an `InputError` where there is a training of which no checkpoint can be continued: a new training
 * would replace it.
 */
async function refuseLoss(place: Place, trained: boolean): Promise<void> {
  const where = statesOf(place);
  const [last] = await listCheckpoints(where);
  if (last === undefined && !trained) return;
  const { name, recipe: { steps } } = place;
  const fact = last === undefined ? "there is none" : `the last is ${basename(last)}`;
  throw new InputError(
    `Cannot resume ${name} as a checkpoint of its model and of at most ${steps} steps must be there: ${fact}`,
    { where, remedy: say`train for more steps, or start again with ${setting("force")}` },
  );
}

/** Throws an `InputError` with both values of the first setting that differs. */
function refuseChange(
  { name, stage }: Place,
  run: string,
  what: string,
  before: Record<string, unknown>,
  now: Record<string, unknown>,
): never {
  const whole = ({ code: _, ...settings }: Record<string, unknown>) => ({
    revision: 1,
    dtype: "f32",
    ...settings,
  });
  const [then, today]: Record<string, unknown>[] = [whole(before), whole(now)];
  const differs = (key: string) => canonical(then[key] ?? null) !== canonical(today[key] ?? null);
  const key = Object.keys({ ...then, ...today }).find(differs) ?? "data";
  throw new InputError(
    `Cannot train ${name} as ${what} with ${key === "variants" ? "other" : "another"} ${key}: ${
      JSON.stringify(then[key])
    } then, ${JSON.stringify(today[key])} now`,
    {
      remedy: say`go on from there with ${commandOf(stage, run, { resume: true })}, or start again with ${
        setting("force")
      }`,
    },
  );
}
