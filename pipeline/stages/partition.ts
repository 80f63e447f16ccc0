/**
 * Runs the main job in a run folder: text in, balanced shards per expert out, every stage only when something it depends on
 * changed (SmallTalk LM, Algorithm 1, up to the experts' training data).
 *
 * @module
 */

import { type Gpu, openGpu } from "../../kernels/gpu.ts";
import type { Variants } from "../../kernels/variants.ts";
import { type Configuration, type Sources, type Stage, STAGES } from "../settings/configuration.ts";
import {
  configurationText,
  readRunConfiguration,
  resolveRun,
  stagesReached,
  writeConfigurationText,
  writeRunConfiguration,
} from "./configuration.ts";
import { exists, removePartials } from "../run/files.ts";
import { lockRun } from "../run/lock.ts";
import { type Manifest, manifestPath } from "../run/manifest.ts";
import { checkPlace } from "./parts_alone.ts";
import type { RunEvent } from "../run/events.ts";
import { identifyPartitioner } from "../partition/partitioners.ts";
import { needStage, type Work } from "./work.ts";
import { type Part, runNamedStage, type StageInputs } from "./stages.ts";
import { type PartitionSummary, summarize } from "./summary.ts";

/** Says what to partition and where. */
export interface PartitionOptions {
  /** Run folder, made if missing. */
  run: string;
  /** Where the configuration's values come from; what the run's `config.json` says holds where nothing else is said. */
  sources?: Sources;
  /** Accepts values that differ from the run's; where none does, runs every stage again. */
  force?: boolean;
  /** `high-performance`, `low-power` or part of the name that the GPU must have. */
  adapter?: string;
  /** Forms of kernels to run instead of the adapter's own. */
  variants?: Partial<Variants>;
}

/** Watches a run and may end it. */
export interface PartitionWatch {
  /** Told what happens. */
  onEvent?: (event: RunEvent) => void;
  /** Ends the run; what is complete stays. */
  signal?: AbortSignal;
}

/**
 * Partitions text into balanced shards, one set per expert. What a run folder already holds and is up to date is not made
 * again, so a run that was stopped at any moment goes on, to the same bytes.
 *
 * Throws `TypeError`, `RangeError` or `SyntaxError` for impossible options and bad input, an `Error` where another process holds
 * the run, there is no GPU, the disk is full or a loss is not finite, and the signal's reason where it ends the run.
 */
export async function partition(
  options: PartitionOptions,
  watch: PartitionWatch = {},
): Promise<PartitionSummary> {
  return await inRun(options, watch, "partition", false, async (work, routers) => {
    const manifests = new Map<Stage, Manifest>();
    for (const stage of STAGES) {
      if (stage === "train-routers" && routers) continue;
      manifests.set(stage, await runNamedStage(work, stage, { manifests, routers }));
    }
    return await summarize(work.run, routers === null);
  });
}

/**
 * Runs one stage in a run folder, from what the stages before it left there, and returns its counts. `part` scores a share
 * of the shards. Throws a `RangeError` where an earlier stage has not run, and what `partition` throws.
 */
export async function runOneStage(
  options: PartitionOptions & { stage: Stage; part?: Part },
  watch: PartitionWatch = {},
): Promise<Record<string, unknown>> {
  const { stage, part } = options;
  return await inRun(options, watch, stage, part !== undefined, async (work, routers) => {
    const manifests = new Map<Stage, Manifest>();
    for (const before of neededBy(stage, routers !== null)) {
      manifests.set(before, await needStage(work, before, stage));
    }
    return (await runNamedStage(work, stage, { manifests, routers, part })).result;
  });
}

/** Lists the stages that must have run before a stage. */
export function neededBy(stage: Stage, routersExist: boolean): Stage[] {
  const needs: Record<Stage, Stage[]> = {
    corpus: [],
    tokenizer: ["corpus"],
    tokenize: ["corpus", "tokenizer"],
    "train-routers": ["tokenize"],
    score: routersExist ? ["tokenize"] : ["tokenize", "train-routers"],
    assign: ["score"],
    split: ["tokenize", "score", "assign"],
  };
  return needs[stage];
}

async function inRun<Result>(
  { run, sources = {}, force = false, adapter, variants }: PartitionOptions,
  { onEvent: emit = () => {}, signal }: PartitionWatch,
  task: string,
  shared: boolean,
  body: (work: Work, routers: StageInputs["routers"]) => Promise<Result>,
): Promise<Result> {
  let loaded: { folder: string; routers: StageInputs["routers"] } | undefined;
  const routersOf = async (folder: string) => {
    if (folder === "") return null;
    if (loaded?.folder !== folder) loaded = { folder, routers: await identifyPartitioner(folder) };
    return loaded.routers;
  };
  const settle = async () => {
    await checkPlace(run, task);
    const { configuration, changed } = await resolveRun(run, sources, force);
    const routers = await routersOf(configuration.routers);
    if (shared && changed.length > 0) {
      throw new RangeError(
        `Cannot run a part of "${task}" in "${run}" as its values must be those of its config.json: ${
          changed[0]
        } is not; ` +
          `accept the change first with deno task ${task} --run ${run} --force, without --part`,
      );
    }
    return {
      configuration: routers ? await withRouters(configuration, routers, sources) : configuration,
      changed,
      routers,
    };
  };
  await settle(); // so that values that are refused make no folder, and touch none
  const isNew = !await exists(run);
  const release = await lockRun(run, task, { shared });
  let before: { text: string | null; stages: string } | undefined;
  let gpu: Gpu | undefined;
  try {
    before = { text: await configurationText(run), stages: await stagesMade(run) };
    // Anew: until here another process may have settled values and made something with them.
    const { configuration, changed, routers } = await settle();
    const device = async () => {
      if (gpu) return gpu;
      gpu = await openGpu({ adapter: adapter || undefined, variants });
      emit({ type: "adapter", adapter: gpu.adapter, kind: gpu.kind });
      return gpu;
    };
    // Before the stages that need none: a wish that cannot be had should not take their time.
    if (adapter || Object.keys(variants ?? {}).length > 0) await device();
    if (!shared) {
      await removePartials(run);
      await writeRunConfiguration(run, configuration, (await readRunConfiguration(run))?.adapter);
    }
    const open = async () => {
      const opened = await device();
      const { adapter: description, kind, variants } = opened;
      if (!shared) await writeRunConfiguration(run, configuration, { description, kind, variants });
      return opened;
    };
    const readStandardInput = (sources.flags?.input ?? sources.file?.input ?? []).includes("-");
    const work = {
      readStandardInput,
      run,
      configuration,
      force: force && changed.length === 0,
      gpu: open,
      emit,
      signal,
    };
    return await body(work, routers);
  } catch (error) {
    // The values of a command that failed before anything was made with them are not the run's.
    if (before && !shared && !signal?.aborted && await stagesMade(run) === before.stages) {
      await writeConfigurationText(run, before.text);
    }
    throw error;
  } finally {
    gpu?.close();
    await release();
    if (isNew) await Deno.remove(run).catch(() => {}); // unless something is in it
  }
}

/** Says which stages left something to go on from, and when they did. */
async function stagesMade(run: string): Promise<string> {
  if (await stagesReached(run) === 0) return "";
  const made: string[] = [];
  for (const stage of STAGES) {
    const time = await Deno.stat(manifestPath(run, stage)).then(
      ({ mtime }) => mtime?.getTime(),
      () => "none",
    );
    made.push(`${stage} ${time}`);
  }
  return made.join("\n");
}

/** Takes E, and the tokenizer unless one is named, from routers that exist. */
async function withRouters(
  configuration: Configuration,
  { experts }: NonNullable<StageInputs["routers"]>,
  { file, flags }: Sources,
): Promise<Configuration> {
  const asked = flags?.experts ?? file?.experts;
  if (asked !== undefined && asked !== experts) {
    throw new RangeError(
      `Cannot use routers "${configuration.routers}" as --experts must be their number: experts is ${asked}, there are ${experts}`,
    );
  }
  return {
    ...configuration,
    experts,
    tokenizer: configuration.tokenizer || await tokenizerOf(configuration.routers),
  };
}

async function tokenizerOf(routers: string): Promise<string> {
  for (const path of [`${routers}/tokenizer.json`, `${routers}/../tokenizer.json`]) {
    if (await exists(path)) return path;
  }
  throw new RangeError(
    `Cannot use routers "${routers}" as their tokenizer must be known: there is no tokenizer.json there or beside it; name it ` +
      `with --tokenizer`,
  );
}
