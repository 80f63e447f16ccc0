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
import {
  checkRunFolder,
  exists,
  filesUnder,
  refuseLink,
  removeFiles,
  removeIfThere,
  wholeName,
} from "../run/files.ts";
import { LOCK, lockRun } from "../run/lock.ts";
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
import { runStage } from "./executor.ts";
import { graphOf } from "./graph.ts";
import { checkPlace, configurationRemedy, partitionRemedy } from "./parts_alone.ts";
import { isMadeBy, type Stage, type Work } from "./stage.ts";
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
  /** Task that holds the lock. */
  task: string;
  /**
   * Who else may work in the folder: nobody; `parts` of the same stage, which change no setting; or `others` that make other
   * things in a run that exists, each of which writes its settings when it begins.
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
}

const SETTLING_MS = 600_000; // settling values takes moments, but where they change: the shards are read first

/**
 * Opens a run folder, does the work of `body` in it and leaves the folder as it should be, however the work ends.
 *
 * Throws an `InputError` for settings that contradict the run's and what the stages throw, a `RunError` where another process holds the
 * run or there is no GPU, and the signal's reason where it ends the work.
 */
export async function inRun<Result>(
  options: RunOptions,
  { onEvent = () => {}, signal }: RunWatch,
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
  const release = await lockRun(run, task, { shared: beside !== undefined });
  const emit = (event: RunEvent) => {
    if (event.type === "stage") release.makes(event.state === "started" ? event.stage : undefined);
    onEvent(event);
  };
  let settling: (() => Promise<void>) | undefined;
  let before: { text: string | null; stages: string } | undefined;
  let gpu = options.gpu;
  let written: Promise<void> = Promise.resolve();
  try {
    // Settings are settled by one process at a time: a second one finds those of the first.
    if (beside === "others") {
      settling = await lockRun(`${run}/metrics`, task, { patience: SETTLING_MS });
      await removePartialConfigurations(run);
    }
    for (const folder of OWN_FOLDERS) await refuseLink(`${run}/${folder}`);
    before = { text: await configurationText(run), stages: await stagesMade(run) };
    // Anew: until here another process may have settled values and made something with them.
    const { configuration, changed, edited } = await settle();
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
    if (beside === undefined) {
      await removeLeft(run, configuration);
      await write();
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
      settle: async (ready) => {
        const stay = changed.length === 0 && !edited; // then nobody needs to wait
        const value = stay ? undefined : await ready();
        written = written.then(() => write()); // stages that work side by side write one after another
        await written;
        await settling?.();
        return stay ? await ready() : value!;
      },
      emit,
      signal,
    };
    return await body({ work, states, run: (stage) => runStage(work, states, stage) });
  } catch (error) {
    // The values of a command that failed before anything was made with them are not the run's.
    if (before && beside === undefined && !signal?.aborted && await stagesMade(run) === before.stages) {
      await writeConfigurationText(run, before.text);
      if (before.text === null && before.stages === "") await removeLeft(run, defaultConfiguration(), true);
    }
    throw error;
  } finally {
    if (!options.gpu) gpu?.close();
    await settling?.();
    await release();
    if (isNew) await Deno.remove(run).catch(() => {}); // unless something is in it
  }
}

const OWN_FOLDERS = ["manifests", "manifests/score", "metrics"];

/** Throws an `InputError` where a folder holds files and is no run: they are the user's. */
async function checkOwn(run: string, task: string): Promise<void> {
  await checkRunFolder(run);
  if (await exists(`${run}/config.json`)) return;
  const { partition } = graphOf(defaultConfiguration());
  for (const { name } of partition) if (await readManifest(run, name)) return; // its config.json was removed
  for await (const path of filesUnder(run, "")) {
    if (path === LOCK || wholeName(path) === "config.json") continue; // of a process that was killed as it began
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

/**
 * Removes what killed processes left unfinished: files that stages of the run, or the run itself, had begun. With `all`, what
 * stages had finished as well.
 */
async function removeLeft(run: string, configuration: Configuration, all = false): Promise<void> {
  const { isLeft, mayHold } = leftIn(configuration, all);
  for (const { name, isDirectory } of await Array.fromAsync(Deno.readDir(run))) {
    if (isDirectory && mayHold(name)) await removeFiles(run, name, isLeft);
    else if (!isDirectory && isLeft(name)) await removeIfThere(`${run}/${name}`);
  }
}

/**
 * Says which files, by their paths in the run, killed processes left unfinished (with `all`: which stages of the run made), and which
 * folders at its top may hold some.
 */
export function leftIn(
  configuration: Configuration,
  all = false,
): { isLeft(path: string): boolean; mayHold(name: string): boolean } {
  const { stages } = graphOf(configuration);
  const own = new Set(["config.json", ...stages.map(({ name }) => manifestPath("", name).slice(1))]);
  const paths = [...own, ...stages.flatMap(({ outputs }) => outputs)];
  const folders = new Set(paths.map((path) => path.split("/")[0]));
  return {
    isLeft: (path) =>
      (all || wholeName(path) !== undefined || path.includes(".partial/")) &&
      (own.has(wholeName(path) ?? "") || stages.some((stage) => isMadeBy(stage, path))),
    mayHold: (name) => folders.has(name) || wholeName(name) !== undefined,
  };
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
