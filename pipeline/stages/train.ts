/**
 * Trains the models of a run: experts and baselines, each beside others that work in the run.
 *
 * @module
 */

import { type Gpu, openGpu } from "../../kernels/device/gpu.ts";
import type { AdapterKind } from "../../kernels/device/variants.ts";
import { InputError, say, setting, task } from "../../kernels/errors.ts";
import { trainingMemory, type TrainingMemoryOptions } from "../cost/memory.ts";
import type { ModelConfig } from "../model/shape.ts";
import { adoptedExperts, adoptionOf } from "../training/adoption.ts";
import { readRunConfiguration } from "../run/configuration.ts";
import { manifestStamp, readManifest } from "../run/manifest.ts";
import type { Configuration } from "../settings/configuration.ts";
import { createTogether } from "../training/together.ts";
import type { RunEvent } from "../run/events.ts";
import { HeldError } from "../run/lock.ts";
import type { BesideOthers } from "./executor.ts";
import { inRun, openGpuFor, type RunOptions, type RunWatch } from "./session.ts";
import { needConfiguration } from "./run_folder.ts";
import type { Stage } from "./stage.ts";
import { denseTarget, type Match } from "./train_dense.ts";
import { expertTarget } from "./train_expert.ts";
import type { Target, TrainingOptions } from "./training_target.ts";
import { trainingStage } from "./train_model.ts";
import { type TrainResult, trainResult } from "../nodes/training_result.ts";
import { switchTarget } from "./train_switch.ts";

/** Where a model is trained, and how. */
export interface TrainOptions extends RunOptions, TrainingOptions {}

/**
 * Trains expert `expert` of a run on its own part, unless that is up to date.
 *
 * Throws an `InputError` where there is no such part, values contradict earlier ones, files are damaged or
 * do not belong together, and a `RunError` that says how to go on where a loss is not finite.
 */
export async function trainExpert(
  expert: number,
  options: TrainOptions,
  watch: RunWatch = {},
): Promise<TrainResult> {
  const check = (experts: number) => checkExpert("train", options.run, expert, experts);
  return await trainTarget(expertTarget(expert), options, watch, { check });
}

/**
 * Trains experts of a run one after another. Those that another process holds come last: a warning names that
 * process, and once all others are trained this one waits for it. So several processes may be called with
 * the same experts, and share them, with `force` too: what another one finishes from now on is not trained
 * again. A single one is not waited for. Throws as `trainExpert` does, at the first that fails.
 */
export async function trainExpertsInTurn(
  experts: readonly number[],
  options: TrainOptions,
  watch: RunWatch = {},
): Promise<TrainResult[]> {
  if (experts.length === 1) return [await trainExpert(experts[0], options, watch)];
  const results = new Map<number, TrainResult>();
  const later: number[] = [];
  const since = new Map<number, string | null>();
  for (const expert of experts) since.set(expert, await stampOf(expertTarget(expert), options));
  const train = async (expert: number, patience?: number) =>
    await trainTarget(expertTarget(expert), options, watch, {
      check: (experts) => checkExpert("train", options.run, expert, experts),
      beside: { patience, since: since.get(expert) },
    });
  for (const expert of experts) {
    const result = await train(expert).catch(deferring(expertTarget(expert), options, watch));
    if (result === HELD) later.push(expert);
    else results.set(expert, result);
  }
  for (const expert of later) results.set(expert, await train(expert, Infinity));
  return experts.map((expert) => results.get(expert)!);
}

/** Gives the stamp of a model's manifest, by which what another process makes from now on is known. */
async function stampOf(target: Target, options: TrainOptions): Promise<string | null> {
  return await manifestStamp(options.run, trainingStage(target, options).name);
}

/** Stands for the result of a training that another process holds. */
const HELD = Symbol("held by another process");

/** Returns what handles the error of a training: where another process holds its model, it says so; other errors it throws. */
function deferring(target: Target, options: TrainOptions, { onEvent = () => {} }: RunWatch) {
  return (error: unknown): typeof HELD => {
    if (!(error instanceof HeldError && error.held === trainingStage(target, options).name)) throw error;
    onEvent({ type: "warning", message: `${target.name} of "${options.run}" comes last: ${error.by}` });
    return HELD;
  };
}

/** Throws an `InputError` where training would replace a model that came from elsewhere. */
async function refuseAdopted(run: string, { name }: Stage, { force, trial }: TrainingOptions): Promise<void> {
  if (force || trial) return;
  const adoption = adoptionOf(await readManifest(run, name));
  if (!adoption) return;
  throw new InputError(
    `Cannot run "${name}" as what it makes must not come from elsewhere: it was adopted from "${adoption.from}"`,
    { remedy: say`train it here instead with ${setting("force")}` },
  );
}

/**
 * Throws an `InputError` where a run holds experts that came from elsewhere, of which what trains all
 * experts would find out only when it comes to them; nothing where `force` gives them up.
 */
export async function refuseAdoptedExperts(
  verb: string,
  { run, force, check }: Pick<RunOptions, "run" | "force" | "check">,
): Promise<void> {
  if (force) return;
  const adopted = await adoptedExperts(run).catch((error) => {
    if (check && error instanceof InputError) return []; // a damaged manifest vouches for nothing
    throw error;
  });
  if (adopted.length === 0) return;
  const [{ expert, from }, ...others] = adopted;
  const more = others.length > 0 ? `, and ${others.length} more` : "";
  throw new InputError(
    `Cannot ${verb} "${run}" as every expert must be trained there: expert ${expert} was adopted from "${from}"${more}`,
    {
      where: run,
      remedy: say`choose another ${setting("run")}, or run ${
        task("train-expert", { run, expert, force: true })
      } first`,
    },
  );
}

/** How several models are trained at once. Those that do not fit the memory together follow. */
export interface TrainTogetherOptions extends TrainOptions {
  /**
   * Other runs: the same models of each are trained in the same bank, as are seeds of one model. Models
   * of another shape, other settings of training or another course of the rate have a bank of their own.
   */
  also?: readonly string[];
}

/**
 * Trains experts of a run side by side in one process, as a bank: each step in the dispatches of one, to
 * the bits that `trainExpert` gives each. Those that are up to date are left out; those that go on from
 * another step than the others have a bank of their own. Where one fails, the others go on, and its error
 * is thrown at the end. Where another process holds one of several, a warning says so; once the others are
 * trained this process waits for it. Throws as `trainExpert` does. Gives the results run by run. `experts` are those of
 * every run, or a function that gives those of each.
 */
export async function trainExperts(
  experts: readonly number[] | ((run: string) => readonly number[]),
  options: TrainTogetherOptions,
  watch: RunWatch = {},
): Promise<TrainResult[]> {
  const of = typeof experts === "function" ? experts : () => experts;
  const check = (run: string, most: number) => {
    for (const expert of of(run)) checkExpert("train", run, expert, most);
  };
  return await trainTogether("train-expert all", (run) => of(run).map(expertTarget), options, watch, check);
}

/**
 * Trains a dense baseline of several runs as {@linkcode trainExperts} trains experts, to the bits that
 * `trainDense` gives each.
 */
export async function trainDenseTogether(
  match: Match,
  options: TrainTogetherOptions,
  watch: RunWatch = {},
): Promise<TrainResult[]> {
  return await trainInEach(denseTarget(match), options, watch);
}

/**
 * Trains the Switch Transformer of several runs as {@linkcode trainExperts} trains experts, to the bits
 * that `trainSwitch` gives each.
 */
export async function trainSwitchTogether(
  options: TrainTogetherOptions,
  watch: RunWatch = {},
): Promise<TrainResult[]> {
  return await trainInEach(switchTarget(), options, watch);
}

/** Trains a model of every run that the options name; a single one is trained alone. */
async function trainInEach(
  target: Target,
  options: TrainTogetherOptions,
  watch: RunWatch,
): Promise<TrainResult[]> {
  if (!options.also?.length) return [await trainTarget(target, options, watch)];
  return await trainTogether(taskOf(target), () => [target], options, watch);
}

/** Says how the training of models works in a run folder; `task` is what messages call it. */
const kindOf = (task: string, targets: readonly Target[], { resume, trial }: TrainingOptions) => ({
  task,
  beside: "others",
  partSuffices: targets.every(({ notesShards }) => notesShards),
  accepts: resume || trial !== undefined,
  aside: trial !== undefined,
} as const);

/** Gives the words that name what trains a model. */
const taskOf = ({ command: { task, with: flags = {} } }: Target) => [task, ...Object.values(flags)].join(" ");

/**
 * Gives the sizes of the banks that train so many models of one shape at once. On the processor there are two, as one
 * computes while the other is between two kernels, or waits for its host.
 */
const banksOf = (models: number, kind: AdapterKind): number[] =>
  kind === "software" && models > 1 ? [Math.ceil(models / 2), Math.floor(models / 2)] : [models];

/** Predicts the device memory of training so many models of one shape at once: every bank has activations of its own. */
export function memoryTogether(
  config: ModelConfig,
  models: number,
  { kind = "software", ...sizes }: Omit<TrainingMemoryOptions, "models" | "asInBankOf">,
): number {
  const totals = banksOf(models, kind).map((models) =>
    trainingMemory(config, { ...sizes, models, asInBankOf: 1, kind }).total
  );
  return totals.reduce((sum, total) => sum + total);
}

/**
 * Trains the models that `targetsOf` gives of each run as banks; `task` is what messages call it. `check` is
 * called with each run and its number of experts, of all runs before anything is trained.
 */
async function trainTogether(
  task: string,
  targetsOf: (run: string) => readonly Target[],
  { also = [], ...options }: TrainTogetherOptions,
  { onEvent = () => {}, signal }: RunWatch,
  check: (run: string, experts: number) => void = () => {},
): Promise<TrainResult[]> {
  const { memory = Infinity } = options;
  const runs = [options.run, ...also];
  const configurations = await besides(options.run, also, task);
  configurations.forEach(({ experts }, i) => check(runs[i], experts));
  const more: Gpu[] = [];
  const together = createTogether({
    fits: ({ model, gpu: { kind, maxBindingBytes: limit }, ...sizes }, models) =>
      memoryTogether(model, models, { ...sizes, length: model.context, kind, limit }) <= memory,
    async devices(own, models) {
      if (banksOf(models, own.kind).length === 1) return [own];
      if (more.length === 0) {
        more.push(await openGpu({ adapter: options.adapter || undefined, variants: own.variants }));
      }
      return [own, ...more];
    },
  });
  const members = await Promise.all(
    runs.map(async (run) =>
      await Promise.all(
        targetsOf(run).map(async (target) => {
          const member = together.member();
          return { run, target, since: await stampOf(target, { ...options, run }), ...member };
        }),
      )
    ),
  );
  // Runs share a device. A single one opens its own where it is needed.
  const gpu = options.gpu ??
    (also.length > 0 ? await openGpuFor(options, configurations[0], onEvent) : undefined);
  const told = (run: string) => (event: RunEvent) =>
    onEvent(
      "stage" in event && run !== options.run ? { ...event, stage: `${event.stage} of ${run}` } : event,
    );
  const kind = kindOf(task, members.flat().map(({ target }) => target), options);
  try {
    const results = await Promise.allSettled(members.map(async (own, i) => {
      try {
        return await inRun(
          { ...options, run: runs[i], gpu },
          { onEvent: told(runs[i]), signal },
          kind,
          async ({ work, run }) => {
            check(runs[i], work.configuration.experts);
            for (const { target } of own) {
              await refuseAdopted(runs[i], trainingStage(target, options), options);
            }
            return await Promise.allSettled(own.map(async ({ target, since, train, leave }) => {
              try {
                const stage = trainingStage(target, { ...options, train });
                return trainResult(await run(stage, { since }), runs[i]);
              } catch (error) {
                if (members.flat().length === 1) throw error; // there is nothing else to do meanwhile
                return deferring(target, { ...options, run: runs[i] }, { onEvent: told(runs[i]) })(error);
              } finally {
                leave();
              }
            }));
          },
        );
      } finally {
        for (const { leave } of own) leave();
      }
    }));
    const trained = results.flatMap((ofRun) => valueOf(ofRun).map(valueOf));
    const all: TrainResult[] = [];
    for (const [i, { run, target, since }] of members.flat().entries()) {
      const result = trained[i];
      const watch = { onEvent: told(run), signal };
      const beside = { patience: Infinity, since };
      const again = () => trainTarget(target, { ...options, run, gpu }, watch, { beside });
      all.push(result === HELD ? await again() : result);
    }
    return all;
  } finally {
    for (const opened of more) opened.close();
    if (!options.gpu) gpu?.close();
  }
}

/** Gives what a promise came to; throws what it was rejected with. */
function valueOf<Value>(result: PromiseSettledResult<Value>): Value {
  if (result.status === "rejected") throw result.reason;
  return result.value;
}

/** Throws an `InputError` where a run has no such expert; `what` is what is to be done to it. */
export function checkExpert(what: string, run: string, expert: number, experts: number): void {
  if (Number.isSafeInteger(expert) && expert >= 0 && expert < experts) return;
  throw new InputError(
    `Cannot ${what} expert ${expert} as it must be one of 0 to ${
      experts - 1
    }: the run "${run}" has ${experts} experts`,
  );
}

/** Trains one model in a run folder beside others that work there. */
async function trainTarget(
  target: Target,
  options: TrainOptions,
  watch: RunWatch,
  { check = () => {}, beside }: { check?: (experts: number) => void; beside?: BesideOthers } = {},
): Promise<TrainResult> {
  return await inRun(options, watch, kindOf(taskOf(target), [target], options), async ({ work, run }) => {
    check(work.configuration.experts);
    const stage = trainingStage(target, options);
    await refuseAdopted(options.run, stage, options);
    return trainResult(await run(stage, beside), options.run);
  });
}

/**
 * Reads the configurations of a run and of those whose models are trained beside it. Throws an `InputError`
 * where one is no run folder, or is another one by a second name: the run would wait for itself.
 */
export async function besides(run: string, also: readonly string[], task: string): Promise<Configuration[]> {
  const configurations = [await needConfiguration(run, task, true, true)];
  const named = new Map([[await Deno.realPath(run), run]]);
  for (const where of also) {
    const existing = await readRunConfiguration(where, { edited: true });
    if (!existing) {
      throw new InputError(
        say`Cannot train models of "${where}" as ${setting("also")} must name runs: there is none`,
        { where },
      );
    }
    const real = await Deno.realPath(where);
    const other = named.get(real);
    if (other !== undefined) {
      throw new InputError(
        say`Cannot train models of "${where}" twice as ${
          setting("also")
        } must name other runs: it is the run "${other}"`,
        { where },
      );
    }
    named.set(real, where);
    configurations.push(existing.configuration);
  }
  return configurations;
}

/**
 * Reads how many experts a run has, from its configuration. Throws an `InputError` where it is no run
 * folder, and where one of the runs of `also` is none or has another number of experts. Messages name the
 * task `by`, which asks.
 */
export async function expertsOf(
  run: string,
  also: readonly string[] = [],
  by = "train-expert",
): Promise<number> {
  const { experts } = await needConfiguration(run, by, true);
  const [, ...others] = also.length > 0 ? await besides(run, also, by) : [];
  const other = others.findIndex((configuration) => configuration.experts !== experts);
  if (other < 0) return experts;
  throw new InputError(
    say`Cannot train all experts of "${also[other]}" beside those of "${run}" as ${
      setting("also")
    } must name runs of as many experts: they have ${others[other].experts} and ${experts}`,
    { where: also[other], remedy: "train them by themselves" },
  );
}

/**
 * Trains a dense baseline on the whole training set, unless that is up to date: with E times the expert's
 * batch and its steps (`batch`, the paper's protocol), or with its batch and E times its steps (`steps`):
 * tokens, training FLOPs and inference cost equal those of the mixture; or a larger model for as many FLOPs
 * as the mixture's training takes (`compute`). Throws as `trainExpert` does.
 */
export async function trainDense(
  match: Match,
  options: TrainOptions,
  watch: RunWatch = {},
): Promise<TrainResult> {
  return await trainTarget(denseTarget(match), options, watch);
}

/**
 * Trains the Switch Transformer of a run on the whole training set, unless that is up to date: with E
 * times the expert's batch and its steps, so for as many tokens as all experts see. Throws as `trainExpert`
 * does.
 */
export async function trainSwitch(options: TrainOptions, watch: RunWatch = {}): Promise<TrainResult> {
  return await trainTarget(switchTarget(), options, watch);
}
