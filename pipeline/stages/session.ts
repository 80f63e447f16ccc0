/**
 * Opens a run folder to work in: its lock, its settings, its device. Everything that makes something in a run goes through here.
 *
 * @module
 */

import { InputError, say, setting, task as taskOf } from "../../kernels/errors.ts";
import { type Gpu, openGpu } from "../../kernels/device/gpu.ts";
import type { Variants } from "../../kernels/device/variants.ts";
import { processorWarning } from "../doctor/expected.ts";
import { identifyPartitioner } from "../partition/partitioners.ts";
import type { RunEvent } from "../run/events.ts";
import { checkRunFolder, exists, filesUnder, refuseLink, removeIfThere, wholeName } from "../run/files.ts";
import { GLANCE_MS, type Hold, lockRun, LOCKS, type Owner, removeDeadLocks } from "../run/lock.ts";
import { type Manifest, manifestPath, readManifest } from "../run/manifest.ts";
import { Vouched } from "../run/vouched.ts";
import { type Configuration, defaultConfiguration } from "../settings/configuration.ts";
import type { Sources } from "../settings/resolution.ts";
import {
  configurationText,
  readRunConfiguration,
  writeConfigurationText,
  writeRunConfiguration,
} from "../run/configuration.ts";
import type { Document } from "../text/readers.ts";
import { resolveRun } from "./resolution.ts";
import { removeMade, runPart, runStage } from "./executor.ts";
import { graphOf } from "./graph.ts";
import type { Part } from "./notes.ts";
import { checkPlace, configurationRemedy, partitionRemedy } from "./parts_alone.ts";
import type { Stage, Work } from "./stage.ts";
import { hasBegun, needStage, type States, statesOf } from "./state.ts";

/** Says where to work and with what. */
export interface RunOptions {
  /** Run folder, made if missing. */
  run: string;
  /** Where the settings come from; what the run's `config.json` says holds where nothing else is said. */
  sources?: Sources;
  /** Accepts values that differ from the run's; where none does, runs every stage again. */
  force?: boolean;
  /**
   * Hashes what is there instead of believing its sizes, and makes again what is damaged or missing, nothing else; a manifest that is
   * damaged vouches for nothing.
   */
  check?: boolean;
  /** Other runs: a stage that one of them has made of the same settings and inputs is copied from it, after a check of its hashes. */
  reuse?: readonly string[];
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
  /** Told what happens. */
  onEvent?: (event: RunEvent) => void;
  /** Ends the run; what is complete stays. */
  signal?: AbortSignal;
}

/** How a run folder is opened. */
export interface SessionKind {
  /** Task that works there. */
  task: string;
  /**
   * How it goes by the run's settings: to its end, so that nobody changes them meanwhile; as one of the `parts` of a stage, which change
   * no setting; or as one of the `others` in a run that exists, each of which writes its settings when it begins.
   */
  beside?: "parts" | "others";
  /** Whether a part that lies alone suffices, with its run's `config.json` and `tokenizer.json`. */
  partSuffices?: boolean;
  /** Accepts settings that differ from the run's without running anything again for it. */
  accepts?: boolean;
  /** Keeps the settings to itself: the run's `config.json` stays. */
  aside?: boolean;
  /** Text that is handed over, instead of what settings name; they say standard input then. */
  documents?: ReadableStream<Document>;
}

/** A run folder that is open for work. */
export interface Session {
  /** What stages are told. */
  work: Work;
  /** The states of the run's stages. */
  states: States;
  /** Runs a stage unless it is up to date. */
  run(stage: Stage): Promise<Manifest>;
  /** Makes a part of a stage: see `runPart`. */
  part(stage: Stage, part: Part): Promise<Record<string, unknown>>;
}

const SETTLING_MS = 600_000; // settling values takes moments, but where they change: the shards are read first

/** What is held while values are settled, and by those that go by them to their end. */
export const SETTINGS = "settings";
const RUN = "run";

/**
 * Opens a run folder, does the work of `body` in it and leaves the folder as it should be, however the work ends.
 *
 * Throws an `InputError` for settings that contradict the run's and what the stages throw, a `RunError` where another process makes the
 * same or goes by other settings, or there is no GPU, and the signal's reason where it ends the work.
 */
export async function inRun<Result>(
  options: RunOptions,
  { onEvent = () => {}, signal: ending }: RunWatch,
  kind: SessionKind,
  body: (session: Session) => Promise<Result>,
): Promise<Result> {
  const { run, force = false, check, adapter, variants, requireGpu = false } = options;
  const { task, beside, accepts = false, aside = false, documents } = kind;
  const sources = documents ? withoutInput(options.sources) : options.sources ?? {};
  for (const other of options.reuse ?? []) {
    if (await readRunConfiguration(other)) continue;
    throw new InputError(
      say`Cannot copy from "${other}" as ${setting("reuse")} must name runs: there is none`,
      {
        where: other,
      },
    );
  }
  const settle = async () => {
    if (beside === "others") await needConfiguration(run, task, kind.partSuffices, force || accepts);
    else {
      await checkPlace(run, task);
      await checkOwn(run, task);
    }
    const settled = await resolveRun(run, sources, force || accepts);
    if (beside === "parts" && settled.changed.length > 0) throw changedInPart(run, task, settled.changed[0]);
    return { ...settled, configuration: await withPartitioner(settled, sources) };
  };
  if (beside !== "others") await settle(); // so that values that are refused make no folder, and touch none
  const isNew = !await exists(run);
  const losing = new AbortController();
  const signal = AbortSignal.any([losing.signal, ...ending ? [ending] : []]);
  const lock: Work["lock"] = async (name, more) => {
    const onWait = ({ pid, host, task }: Owner) =>
      emit({
        type: "warning",
        message: `waits for "${name}", which process ${pid}${host && ` on ${host}`} holds for task "${task}"`,
      });
    const hold = await lockRun(run, name, task, { onWait, signal, ...more });
    hold.lost.addEventListener("abort", () => losing.abort(hold.lost.reason));
    return hold;
  };
  let present: Hold | undefined;
  const emit = (event: RunEvent) => {
    if (event.type === "stage") present?.makes(event.state === "started" ? event.stage : undefined);
    onEvent(event);
  };
  let settling: Hold | undefined;
  let before: { text: string | null; stages: string } | undefined;
  let gpu = options.gpu;
  let written: Promise<void> = Promise.resolve();
  try {
    // Settings are settled by one process at a time: a second one finds those of the first.
    settling = await lock(SETTINGS, { patience: SETTLING_MS });
    for (const folder of ownFolders()) await refuseLink(`${run}/${folder}`);
    await removePartialConfigurations(run);
    before = { text: await configurationText(run), stages: await stagesMade(run) };
    // Anew: until here another process may have settled values and made something with them.
    const { configuration, changed, edited, exists: isThere } = await settle();
    if (!aside && (changed.length > 0 || edited || !isThere)) await checkAlone(run, lock);
    if (beside === undefined && !aside) present = await lock(RUN, { mode: "read" });
    const write = async (opened?: Gpu) => {
      if (beside === "parts" || aside) return;
      const known = (await readRunConfiguration(run, { edited: true }))?.adapter;
      const used = beside === undefined && opened
        ? { description: opened.adapter, kind: opened.kind, variants: { ...opened.variants } }
        : known;
      await writeRunConfiguration(run, configuration, used);
    };
    const open = async () => {
      gpu = await openGpu({ adapter: adapter || undefined, variants, requireGpu });
      emit({ type: "adapter", adapter: gpu.adapter, kind: gpu.kind });
      const warning = await processorWarning(gpu, configuration);
      if (warning) emit({ type: "warning", message: warning });
      return gpu;
    };
    let opening: Promise<Gpu> | undefined; // stages that work side by side share one device
    const device = async () => gpu ?? await (opening ??= open());
    // A missing adapter or an unknown form fails before any stage runs.
    if (beside !== "others" && (adapter || requireGpu || Object.keys(variants ?? {}).length > 0)) {
      await device();
    }
    const stay = changed.length === 0 && !edited; // then nobody needs to wait
    if (beside !== "others" || stay) {
      await write();
      await settling();
    }
    const states = statesOf({ run, configuration });
    if (check && beside === undefined) {
      await removeDamagedManifests(run, states.graph.partition.map(({ name }) => name), emit);
    }
    const work: Work = {
      run,
      configuration,
      force: force && changed.length === 0 && !edited,
      check,
      reuse: options.reuse,
      files: new Vouched(),
      documents,
      readStandardInput: (sources.flags?.input ?? sources.file?.input ?? []).includes("-"),
      gpu: async () => {
        const opened = await device();
        if (beside !== "others") await write(opened);
        return opened;
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
        if (!stay) {
          written = written.then(() => write()); // stages that work side by side write one after another
          await written;
          await settling!();
        }
        return value;
      },
      emit,
      signal,
    };
    return await body({
      work,
      states,
      run: (stage) => runStage(work, states, stage),
      part: (stage, part) => runPart(work, states, stage, part),
    });
  } catch (error) {
    await settling?.();
    await present?.();
    if (before && beside === undefined && !signal.aborted) await forget(run, task, before);
    throw error;
  } finally {
    if (!options.gpu) gpu?.close();
    await settling?.();
    await present?.();
    await removeDeadLocks(run);
    if (isNew) await Deno.remove(run).catch(() => {}); // unless something is in it
  }
}

/** Throws a `RunError` where another process goes by the settings of a run that are about to change; it keeps its own till its end. */
async function checkAlone(run: string, lock: Work["lock"]): Promise<void> {
  const refusal = `Cannot change the settings of "${run}" as nobody else may work by them meanwhile`;
  await (await lock(RUN, { patience: GLANCE_MS, refusal }))();
}

/** Gives a run the settings back that it had: those of a command that failed before anything was made with them are not the run's. */
async function forget(
  run: string,
  task: string,
  before: { text: string | null; stages: string },
): Promise<void> {
  if (await stagesMade(run) !== before.stages) return;
  const settling = await lockRun(run, SETTINGS, task, { patience: SETTLING_MS });
  try {
    const alone = await lockRun(run, RUN, task).catch(() => null); // others go by them by now
    if (alone && await stagesMade(run) === before.stages) {
      await writeConfigurationText(run, before.text);
      const isEmpty = before.text === null && before.stages === "";
      for (const stage of isEmpty ? graphOf(defaultConfiguration()).stages : []) await removeMade(run, stage);
    }
    await alone?.();
  } finally {
    await settling();
  }
}

function ownFolders(): string[] {
  const inParts = graphOf(defaultConfiguration()).stages.filter(({ part }) => part);
  return ["manifests", ...inParts.map(({ name }) => `manifests/${name}`), "metrics"];
}

/** Throws an `InputError` where a folder holds files and is no run: they are the user's. */
async function checkOwn(run: string, task: string): Promise<void> {
  await checkRunFolder(run);
  if (await exists(`${run}/config.json`)) return;
  const { partition } = graphOf(defaultConfiguration());
  for (const { name } of partition) if (await readManifest(run, name)) return; // its config.json was removed
  for await (const path of filesUnder(run, "")) {
    if (path.startsWith(`${LOCKS}/`) || wholeName(path) === "config.json") continue; // of a process that is just beginning, or was killed as it began
    if (await exists(`${run}/config.json`)) return; // another process has just begun it
    throw new InputError(
      `Cannot run "${task}" in "${run}" as it must be a run folder, new or empty: it holds "${path}" and no config.json`,
      { where: run, remedy: say`choose another ${setting("run")}` },
    );
  }
}

/** Removes what processes left that were killed as they wrote `config.json`: only who settles values writes it. */
async function removePartialConfigurations(run: string): Promise<void> {
  for (const { name } of await Array.fromAsync(Deno.readDir(run))) {
    if (wholeName(name) === "config.json") await removeIfThere(`${run}/${name}`);
  }
}

/** Says in settings that the text is handed over. Throws an `InputError` where they name some themselves. */
function withoutInput({ flags = {}, ...sources }: Sources = {}): Sources {
  const named = flags.input?.length ? "input" : flags.corpus !== undefined ? "corpus" : undefined;
  if (named === undefined) return { ...sources, flags: { ...flags, input: ["-"] } };
  throw new InputError(
    say`Cannot read two corpora, as only one of documents and ${setting(named)} may be given: both are`,
  );
}

/** Removes those manifests of stages that cannot be read: these stages run again. */
async function removeDamagedManifests(
  run: string,
  stages: readonly string[],
  emit: (event: RunEvent) => void,
): Promise<void> {
  for (const name of stages) {
    await readManifest(run, name).catch(async (error) => {
      if (!(error instanceof InputError)) throw error;
      emit({ type: "warning", message: say`${error.what}; ${name} runs again` });
      await removeIfThere(manifestPath(run, name));
    });
  }
}

function changedInPart(run: string, task: string, name: string): InputError {
  return new InputError(
    `Cannot run a part of "${task}" in "${run}" as its values must be those of its config.json: ${name} is not`,
    { remedy: say`accept the change first with ${taskOf(task, { run, force: true })}, for all of it` },
  );
}

/** Reads the configuration of a run that must exist. */
export async function needConfiguration(
  run: string,
  task: string,
  partSuffices = false,
  edited = false,
): Promise<Configuration> {
  const existing = await readRunConfiguration(run, { edited });
  if (existing) return existing.configuration;
  throw new InputError(
    `Cannot run "${task}" in "${run}" as it must be a run folder: there is no config.json`,
    {
      where: `${run}/config.json`,
      remedy: await (partSuffices ? configurationRemedy : partitionRemedy)(run),
    },
  );
}

/** Says which stages left something to go on from, and when they did. */
async function stagesMade(run: string): Promise<string> {
  const existing = await readRunConfiguration(run, { edited: true }).catch(() => null);
  if (existing === null) return "";
  const made: string[] = [];
  for (const stage of stagesOf(existing.configuration)) {
    if (!await hasBegun(run, stage).catch(() => true)) continue;
    const time = await Deno.stat(manifestPath(run, stage.name)).then(
      ({ mtime }) => mtime?.getTime(),
      () => "none",
    );
    made.push(`${stage.name} ${time}`);
  }
  return made.join("\n");
}

/** Lists the stages of a run; none where its `config.json` names what there is no more. */
function stagesOf(configuration: Configuration): readonly Stage[] {
  try {
    return graphOf(configuration).stages;
  } catch (error) {
    if (error instanceof InputError) return [];
    throw error;
  }
}

/**
 * Takes E, and the tokenizer unless one is named, from a partitioner that exists. A run that has them already needs no partitioner
 * for it: its folder may be on another machine.
 */
async function withPartitioner(
  { configuration, exists: isThere }: { configuration: Configuration; exists: boolean },
  { file, flags }: Sources,
): Promise<Configuration> {
  const { routers: folder, tokenizer } = configuration;
  const asked = flags?.experts ?? file?.experts;
  const named = flags?.routers ?? file?.routers;
  if (folder === "" || isThere && named === undefined && asked === undefined) return configuration;
  const { experts } = await identifyPartitioner(folder);
  if (asked !== undefined && asked !== experts) {
    throw new InputError(
      say`Cannot use routers "${folder}" as ${{
        setting: "experts",
      }} must be their number: experts is ${asked}, there are ${experts}`,
      { where: folder },
    );
  }
  return { ...configuration, experts, tokenizer: tokenizer || await tokenizerOf(folder) };
}

async function tokenizerOf(folder: string): Promise<string> {
  for (const path of [`${folder}/tokenizer.json`, `${folder}/../tokenizer.json`]) {
    if (await exists(path)) return path;
  }
  throw new InputError(
    `Cannot use routers "${folder}" as their tokenizer must be known: there is no tokenizer.json there or beside it`,
    { where: folder, remedy: say`name it with ${{ setting: "tokenizer" }}` },
  );
}
