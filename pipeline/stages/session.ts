/**
 * Opens a run folder for work: takes its locks, settles its settings, opens its device. Everything that makes
 * something in a run goes through here.
 *
 * @module
 */

import { InputError, say, setting } from "../../kernels/errors.ts";
import { type Gpu, openGpu } from "../../kernels/device/gpu.ts";
import type { Variants } from "../../kernels/device/variants.ts";
import { saturatedValues } from "../../kernels/matmul/matmul.ts";
import { processorWarning, saturationWarning } from "../doctor/expected.ts";
import type { RunEvent } from "../run/events.ts";
import { exists, refuseLink } from "../run/files.ts";
import { type Hold, lockRun, removeDeadLocks } from "../run/lock.ts";
import type { Owner } from "../run/claims.ts";
import { type Manifest, readManifest } from "../run/manifest.ts";
import { Vouched } from "../run/vouched.ts";
import type { Configuration } from "../settings/configuration.ts";
import type { Sources } from "../settings/resolution.ts";
import { readRunConfiguration } from "../run/configuration.ts";
import { type BesideOthers, runPart, runStage } from "./executor.ts";
import type { Part } from "./notes.ts";
import type { Stage, Work } from "./stage.ts";
import { needStage, type States, statesOf } from "./state.ts";
import {
  checkAlone,
  forget,
  type Former,
  formerOf,
  ownFolders,
  removeDamagedManifests,
  removePartialConfigurations,
  RUN,
  SETTINGS,
  SETTLING_MS,
} from "./run_folder.ts";
import { type SessionKind, settledSettings, withoutInput, writeSettings } from "./session_settings.ts";

/** Where to work, and with what. */
export interface RunOptions {
  /** Run folder, made if missing. */
  run: string;
  /** Where the settings come from. The run's `config.json` gives those that are not set there. */
  sources?: Sources;
  /** Accepts values that differ from those of the run. If none differs, runs every stage again. */
  force?: boolean;
  /**
   * Hashes existing files instead of trusting their sizes, and makes those again that are damaged or missing,
   * nothing else. A damaged manifest of what is made counts as missing, unless that is a model.
   */
  check?: boolean;
  /**
   * Other runs: a stage that one of them has made of the same settings and inputs is copied from it, after
   * a check of its hashes.
   */
  reuse?: readonly string[];
  /** Threads that turn text into tokens; one for every core unless given; with 1, one core. Never changes what they make. */
  workers?: number;
  /** `high-performance`, `low-power` or part of the name that the GPU must have. */
  adapter?: string;
  /** Forms of kernels to run instead of the adapter's own. */
  variants?: Partial<Variants>;
  /** Refuses an adapter that runs on the processor. */
  requireGpu?: boolean;
  /** An open device to use instead of opening one; it stays open. */
  gpu?: Gpu;
}

/** Watches a run and may end it. */
export interface RunWatch {
  /** Called with every event. */
  onEvent?: (event: RunEvent) => void;
  /** Ends the run; complete files stay. */
  signal?: AbortSignal;
}

/** A run folder that is open for work. */
export interface Session {
  /** What stages get to work with. */
  work: Work;
  /** The states of the run's stages. */
  states: States;
  /** Runs a stage unless it is up to date: see `runStage`. */
  run(stage: Stage, beside?: BesideOthers): Promise<Manifest>;
  /** Makes a part of a stage: see `runPart`. */
  part(stage: Stage, part: Part): Promise<Record<string, unknown>>;
}

/**
 * Opens a run folder, runs `body` in it, and leaves the folder in order, however the work ends.
 *
 * Throws an `InputError` for settings that contradict those of the run, and what the stages throw; a
 * `RunError` where another process makes the same or goes by other settings, or where there is no GPU; and
 * the reason of the signal where it ends the work.
 */
export async function inRun<Result>(
  options: RunOptions,
  { onEvent = () => {}, signal: ending }: RunWatch,
  kind: SessionKind,
  body: (session: Session) => Promise<Result>,
): Promise<Result> {
  const { run, force = false, check } = options;
  const { task, beside, aside = false, documents } = kind;
  const sources = documents ? withoutInput(options.sources) : options.sources ?? {};
  await checkReused(options.reuse);
  const settle = () => settledSettings(run, sources, force, kind);
  if (beside !== "others") await settle(); // so that refused values neither make nor touch a folder
  const isNew = !await exists(run);
  const losing = new AbortController();
  const signal = AbortSignal.any([losing.signal, ...ending ? [ending] : []]);
  let present: Hold | undefined;
  const emit = (event: RunEvent) => {
    if (event.type === "stage") present?.makes(event.state === "started" ? event.stage : undefined);
    onEvent(event);
  };
  const lock = lockerOf(run, task, emit, losing, signal);
  const device = deviceOf(options, emit);
  let settling: Hold | undefined;
  let before: Former | undefined;
  try {
    // Settings are settled by one process at a time: a second one finds those of the first.
    settling = await lock(SETTINGS, { patience: SETTLING_MS });
    for (const folder of ownFolders()) await refuseLink(`${run}/${folder}`);
    await removePartialConfigurations(run);
    before = await formerOf(run);
    // Again: until now another process may have settled values and made something with them.
    const { configuration, changed, edited, exists: isThere } = await settle();
    if (!aside && (changed.length > 0 || edited || !isThere)) await checkAlone(run, lock);
    if (beside === undefined && !aside) present = await lock(RUN, { mode: "read" });
    // A missing adapter or an unknown form fails before any stage runs.
    if (beside !== "others" && asksForDevice(options)) await device.open(configuration);
    const write = (gpu?: Gpu) => writeSettings(run, configuration, kind, gpu);
    const stay = changed.length === 0 && !edited; // then nobody needs to wait
    if (beside !== "others" || stay) {
      await write();
      await settling();
    }
    const states = statesOf({ run, configuration });
    if (check && beside === undefined) {
      const made = states.graph.get(task) ? [task] : states.graph.partition.map(({ name }) => name);
      await removeDamagedManifests(run, made, emit);
    }
    let noted: Promise<void> | undefined;
    const note = async (gpu: Gpu) => {
      const settling = await lock(SETTINGS, { patience: SETTLING_MS });
      await write(gpu).finally(settling);
    };
    let written: Promise<void> | undefined;
    const work: Work = {
      run,
      configuration,
      force: force && stay,
      check,
      reuse: options.reuse,
      workers: options.workers ?? navigator.hardwareConcurrency,
      files: new Vouched(),
      documents,
      readStandardInput: (sources.flags?.input ?? sources.file?.input ?? []).includes("-"),
      gpu: async () => {
        const gpu = await device.open(configuration);
        if (beside === undefined && !aside) await (noted ??= note(gpu)); // stages ask for the device side by side
        return gpu;
      },
      manifest: (name) => {
        const stage = states.graph.get(name);
        if (stage) return needStage({ run, configuration }, states, stage, task);
        throw new RangeError(
          `Cannot read the manifest of "${name}" for "${task}" as it must be a stage of the run: it is none`,
        );
      },
      known: (name) => readManifest(run, name),
      lock,
      settle: async (ready) => {
        const value = await ready();
        if (!stay) await (written ??= write().then(settling)); // the first of stages that run side by side writes
        return value;
      },
      emit,
      signal,
    };
    const result = await body({
      work,
      states,
      run: (stage, beside) => runStage(work, states, stage, beside),
      part: (stage, part) => runPart(work, states, stage, part),
    });
    await device.warn();
    return result;
  } catch (error) {
    await settling?.();
    await present?.();
    if (before && beside === undefined && !aside && !signal.aborted) await forget(run, task, before);
    throw error;
  } finally {
    device.close();
    await settling?.();
    await present?.();
    await removeDeadLocks(run);
    if (isNew) await Deno.remove(run).catch(() => {}); // unless something is in it
  }
}

/** Throws an `InputError` where a folder that stages are to be copied from is no run. */
export async function checkReused(runs: readonly string[] = []): Promise<void> {
  for (const where of runs) {
    if (await readRunConfiguration(where)) continue;
    throw new InputError(
      say`Cannot copy from "${where}" as ${setting("reuse")} must name runs: there is none`,
      { where },
    );
  }
}

/**
 * Returns the function that takes holds in a run folder. It says whom it waits for, and ends the work where a
 * hold is lost.
 */
export function lockerOf(
  run: string,
  task: string,
  emit: (event: RunEvent) => void,
  losing: AbortController,
  signal: AbortSignal,
): Work["lock"] {
  return async (name, more) => {
    const onWait = ({ pid, host, task }: Owner) =>
      emit({
        type: "warning",
        message: `waits for "${name}", which process ${pid}${host && ` on ${host}`} holds for task "${task}"`,
      });
    const hold = await lockRun(run, name, task, { onWait, signal, ...more });
    hold.lost.addEventListener("abort", () => losing.abort(hold.lost.reason));
    return hold;
  };
}

/** Whether the options say which device it must be, or how kernels run on it. */
function asksForDevice({ adapter, requireGpu, variants = {} }: RunOptions): boolean {
  return Boolean(adapter || requireGpu || Object.keys(variants).length > 0);
}

/**
 * Returns what opens the device on its first call: stages that run side by side share it. A device that was
 * handed over stays open.
 */
function deviceOf(options: RunOptions, emit: (event: RunEvent) => void) {
  let own: Gpu | undefined;
  let opening: Promise<Gpu> | undefined;
  const open = async (configuration: Configuration) => own = await openGpuFor(options, configuration, emit);
  return {
    open: async (configuration: Configuration) => options.gpu ?? await (opening ??= open(configuration)),
    /** Says what the work lost to f16. */
    warn: async () => {
      const used = options.gpu ?? own;
      const warning = used && saturationWarning(await saturatedValues(used));
      if (warning) emit({ type: "warning", message: warning });
    },
    close: () => own?.close(),
  };
}

/**
 * Opens the device for work on models of a configuration, says which it is, and warns of a processor where
 * a GPU was to be expected.
 */
export async function openGpuFor(
  { adapter, variants, requireGpu }: Pick<RunOptions, "adapter" | "variants" | "requireGpu">,
  configuration: Configuration,
  emit: (event: RunEvent) => void,
): Promise<Gpu> {
  const gpu = await openGpu({ adapter: adapter || undefined, variants, requireGpu });
  emit({ type: "adapter", adapter: gpu.adapter, kind: gpu.kind });
  const warning = await processorWarning(gpu, configuration);
  if (warning) emit({ type: "warning", message: warning });
  return gpu;
}
