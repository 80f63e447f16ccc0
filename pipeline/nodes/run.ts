/**
 * Opens a run folder for work: resolves its settings, opens the device when a maker asks for it, and makes what is missing.
 *
 * @module
 */

import { type Gpu, openGpu } from "../../kernels/device/gpu.ts";
import type { Variants } from "../../kernels/device/variants.ts";
import { InputError, say, setting, task, type Text } from "../../kernels/errors.ts";
import { saturatedValues } from "../../kernels/matmul/matmul.ts";
import { processorWarning, saturationWarning } from "../doctor/expected.ts";
import { makeAll, type MakeOptions } from "../graph/make.ts";
import type { Node, Work } from "../graph/node.ts";
import { Walk } from "../graph/walk.ts";
import type { Document } from "../text/readers.ts";
import { readRunConfiguration, writeRunConfiguration } from "../run/configuration.ts";
import type { RunEvent } from "../run/events.ts";
import { refuseLink } from "../run/files.ts";
import type { Configuration } from "../settings/configuration.ts";
import type { Sources } from "../settings/resolution.ts";
import { changesOfText, type StageState, stageStates, type TextChanges } from "./changes.ts";
import { type Plan, planPartition } from "./plan.ts";
import { NODE_FOLDERS, resolveSettings } from "./settings.ts";

/** A share of the nodes: every `of`-th, beginning with number `index`, from 1. */
export interface Part {
  /** Its number. */
  index: number;
  /** How many there are. */
  of: number;
}

/** Where to work, and with what. */
export interface RunOptions {
  /** Run folder, made if missing. */
  run: string;
  /** Where the settings come from. The run's `config.json` gives those that are not set there. */
  sources?: Sources;
  /** Accepts values that differ from those of the run. If none differs, everything is made again. */
  force?: boolean;
  /** Hashes files instead of believing their sizes; what is damaged is made again. */
  check?: boolean;
  /** Refuses text or settings that are not those that the run was made of. */
  frozen?: boolean;
  /** Other runs, from which what they have made of the same settings and inputs is linked. */
  reuse?: readonly string[];
  /** What this process makes first. It also makes what its share needs and nobody makes. */
  part?: Part;
  /** Threads that turn text into tokens; one for every core unless given. Never changes what they make. */
  workers?: number;
  /** `high-performance`, `low-power` or part of the name that the GPU must have. */
  adapter?: string;
  /** Variants of kernels to run instead of the adapter's own. */
  variants?: Partial<Variants>;
  /** Refuses an adapter that runs on the processor. */
  requireGpu?: boolean;
  /** An open device to use instead of opening one; it stays open. */
  gpu?: Gpu;
  /** Leaves the settings of the run as they are, and works by others. */
  aside?: boolean;
  /** Text to split instead of what the settings name: read once, and kept in the run. */
  documents?: AsyncIterable<Document>;
}

/** Watches a run and may end it. */
export interface RunWatch {
  /** Called with every event. */
  onEvent?: (event: RunEvent) => void;
  /** Ends the work; what is whole stays. */
  signal?: AbortSignal;
}

/** A run that is open for work. */
export interface OpenRun {
  /** Path of the folder. */
  run: string;
  /** The settings that hold. */
  configuration: Configuration;
  /** Opens the device on the first call, and gives the same one afterwards. */
  gpu(): Promise<Gpu>;
  /** Makes what is missing of a graph. */
  make(nodes: readonly Node[], options?: Partial<MakeOptions>): Promise<Walk>;
}

/**
 * Opens a run, works in it and closes it, however the work ends. Throws an `InputError` for settings that contradict those of the run; a
 * `RunError` where another process works by settings that would change, or there is no GPU; and the reason of the signal.
 */
export async function openRun<Result>(
  options: RunOptions,
  { onEvent: emit = () => {}, signal }: RunWatch,
  name: string,
  body: (open: OpenRun) => Promise<Result>,
): Promise<Result> {
  const { run, force = false, check, reuse = [], part, aside } = options;
  for (const other of reuse) if (!await readRunConfiguration(other)) throw notReusable(other);
  const sources = options.documents ? withoutInput(options.sources) : options.sources ?? {};
  const { configuration, changed, exists } = await resolveSettings(run, sources, force);
  for (const folder of NODE_FOLDERS) await refuseLink(`${run}/${folder}`);
  const device = new Device(options, configuration, emit);
  try {
    if (device.isNamed) await device.open(); // a missing adapter or an unknown variant fails before anything is made
    let isWritten = exists && (changed.length === 0 || aside);
    const work: Work = {
      run,
      gpu: () => device.open(),
      emit,
      workers: options.workers ?? navigator.hardwareConcurrency,
      signal,
    };
    const made = new Set<string>();
    const result = await body({
      run,
      configuration,
      gpu: () => device.open(),
      make: async (nodes, more) => {
        if (!force) await refuseRevision(run, nodes);
        if (!isWritten) await writeRunConfiguration(run, configuration); // not before everything is planned
        isWritten = true;
        // What one call has made is not made twice.
        const again = force && changed.length === 0
          ? nodes.filter(({ name }) => !made.has(name)).map(({ name }) => name)
          : [];
        for (const name of again) made.add(name);
        const mine = part && shareOf(part, nodes);
        return await makeAll(work, nodes, {
          task: name,
          check,
          reuse,
          again,
          mine,
          adapter: () => device.description,
          ...more,
        });
      },
    });
    await device.warn();
    return result;
  } finally {
    device.close();
  }
}

/** Partitions text into balanced shards, one set per expert. What is made is not made again. Throws what {@linkcode openRun} throws. */
export async function makePartition(
  options: RunOptions,
  watch: RunWatch = {},
  stage = "partition",
): Promise<Walk> {
  const { frozen, documents } = options;
  if (frozen) await refuseChanges(options);
  return await openRun(options, watch, stage, async ({ run, configuration, make }) => {
    const wanted = ({ maker }: Node) => stage === "partition" || maker.stage === stage;
    const named = options.sources?.flags?.input ?? options.sources?.file?.input ?? [];
    const isHanded = documents !== undefined || named.includes("-");
    const given = { documents, ...isHanded ? { reading: crypto.randomUUID() } : {} };
    let plan = await planPartition(run, configuration, given, true);
    if (!plan.complete) {
      await make(plan.nodes);
      plan = await planPartition(run, configuration, given, true);
    }
    return await make(plan.nodes, { wanted });
  });
}

/** What would be made of a partition. */
export interface PartitionState {
  /** Path of the folder. */
  run: string;
  /** Settings that would hold. */
  configuration: Configuration;
  /** How the stages stand; those of which nothing is known before text is unpacked are missing. */
  stages: StageState[];
  /** Files that are not as they were; null where nothing is made yet. */
  changes: TextChanges | null;
  /** The plan itself. */
  plan: Plan;
}

/** Says what {@linkcode makePartition} would make with the same options, without making anything. Throws what it would throw beforehand. */
export async function planRun(options: RunOptions): Promise<PartitionState> {
  const { run, sources = {}, force = false, check } = options;
  const { configuration, changed } = await resolveSettings(run, sources, force);
  const plan = await planPartition(run, configuration);
  if (!force) await refuseRevision(run, plan.nodes);
  const { blocks } = plan.text;
  const again = force && changed.length === 0 ? plan.nodes.map(({ name }) => name) : [];
  return {
    run,
    configuration,
    plan,
    changes: blocks ? await changesOfText(run, blocks) : null,
    stages: await stageStates(run, plan.nodes, { check, again }),
  };
}

/** Throws an `InputError` where text or settings are not those that a run was made of: for CI. */
async function refuseChanges(options: RunOptions): Promise<void> {
  const { run } = options;
  const refuse = (what: Text) =>
    new InputError(say`Cannot go on in "${run}" as it is frozen: ${what}`, {
      where: run,
      remedy: say`leave out ${setting("frozen")} to make what follows`,
    });
  if (!await readRunConfiguration(run)) throw refuse("it is not made yet");
  const given = { ...options.sources?.file, ...options.sources?.flags };
  const { configuration: existing } = (await readRunConfiguration(run))!;
  for (const [name, value] of Object.entries(given)) {
    const then = existing[name as keyof Configuration];
    if (JSON.stringify(then) !== JSON.stringify(value)) {
      throw refuse(
        say`${setting(name)} is ${JSON.stringify(value)}, it was made with ${JSON.stringify(then)}`,
      );
    }
  }
  const { stages, changes } = await planRun(options);
  const files = Object.entries(changes ?? {}).filter(([, paths]) => paths.length > 0);
  if (files.length > 0) throw refuse(files.map(([what, paths]) => `${what} ${listPaths(paths)}`).join("; "));
  const open = stages.find(({ toMake }) => toMake > 0);
  if (open) throw refuse(`stage "${open.stage}" would run (${open.because.join(", ") || "it follows"})`);
}

/** Lists five paths and the number of the others. */
function listPaths(paths: readonly string[]): string {
  const more = paths.length > 5 ? ` and ${paths.length - 5} more` : "";
  return paths.slice(0, 5).map((path) => `"${path}"`).join(", ") + more;
}

/** Throws an `InputError` where another version made a run, which would make other bytes. */
async function refuseRevision(run: string, nodes: readonly Node[]): Promise<void> {
  const walk = new Walk(run, nodes);
  for (const node of nodes) {
    const { state, because, manifest } = await walk.of(node);
    if (state !== "changed" || because !== "revision") continue;
    throw new InputError(
      `Cannot go on in "${run}" as one version must make all of it: "${node.name}" was made by ${
        manifest!.made.version
      }`,
      {
        where: `${run}/${node.name}`,
        remedy: say`use that version, or make it again with ${setting("force")}`,
      },
    );
  }
}

/** Chooses the share of a part: every `of`-th node of each stage. */
function shareOf({ index, of }: Part, nodes: readonly Node[]): (node: Node) => boolean {
  const places = new Map<string, number>(), mine = new Set<string>();
  for (const { name, maker: { stage } } of nodes) {
    const place = places.get(stage) ?? 0;
    places.set(stage, place + 1);
    if (place % of === index - 1) mine.add(name);
  }
  return ({ name }) => mine.has(name);
}

function notReusable(where: string): InputError {
  return new InputError(say`Cannot copy from "${where}" as ${setting("reuse")} must name runs: it is none`, {
    where,
    remedy: say`name a folder that ${task("partition")} wrote`,
  });
}

/** Notes in the settings that text is handed over. Throws an `InputError` where they name text themselves. */
function withoutInput({ flags = {}, ...sources }: Sources = {}): Sources {
  const named = flags.input?.length ? "input" : flags.corpus !== undefined ? "corpus" : undefined;
  if (named === undefined) return { ...sources, flags: { ...flags, input: [] } };
  throw new InputError(
    say`Cannot read two corpora, as only one of documents and ${setting(named)} may be given: both are`,
  );
}

/** The device of a process, which is opened on the first call. */
class Device {
  #own?: Gpu;
  #opening?: Promise<Gpu>;

  constructor(
    private readonly options: RunOptions,
    private readonly configuration: Configuration,
    private readonly emit: (event: RunEvent) => void,
  ) {}

  /** Whether the options say which device it must be, or how kernels run on it. */
  get isNamed(): boolean {
    const { adapter, requireGpu, variants = {} } = this.options;
    return Boolean(adapter || requireGpu || Object.keys(variants).length > 0);
  }

  /** Describes the adapter, once it is open. */
  get description(): string | undefined {
    return (this.options.gpu ?? this.#own)?.adapter;
  }

  async open(): Promise<Gpu> {
    return this.options.gpu ?? await (this.#opening ??= this.#open());
  }

  async #open(): Promise<Gpu> {
    const { adapter, variants, requireGpu } = this.options;
    const gpu = this.#own = await openGpu({ adapter: adapter || undefined, variants, requireGpu });
    this.emit({ type: "adapter", adapter: gpu.adapter, kind: gpu.kind });
    const warning = await processorWarning(gpu, this.configuration);
    if (warning) this.emit({ type: "warning", message: warning });
    return gpu;
  }

  /** Says what the work lost to f16. */
  async warn(): Promise<void> {
    const used = this.options.gpu ?? this.#own;
    const warning = used && saturationWarning(await saturatedValues(used));
    if (warning) this.emit({ type: "warning", message: warning });
  }

  close(): void {
    this.#own?.close();
  }
}
