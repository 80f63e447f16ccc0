/**
 * Opens a run folder for work: resolves its settings, opens the device when a maker asks for it,
 * and makes what is missing.
 *
 * @module
 */

import { dirname } from "node:path";
import { type Gpu, openGpu } from "../../kernels/device/gpu.ts";
import type { Variants } from "../../kernels/device/variants.ts";
import { InputError, say, setting, task, type Text } from "../../kernels/errors.ts";
import { makeAll, type MakeOptions } from "../graph/make.ts";
import type { Owner } from "../graph/lock.ts";
import { LEARN, type Node, splitNeed } from "../graph/node.ts";
import { Walk } from "../graph/walk.ts";
import type { Document } from "../text/readers.ts";
import { readRunConfiguration, writeRunConfiguration } from "../graph/configuration.ts";
import type { RunEvent } from "../graph/events.ts";
import { exists, refuseLink } from "../graph/files.ts";
import type { Configuration } from "../settings/configuration.ts";
import type { Sources } from "../settings/resolution.ts";
import { changesOfText, changesText } from "../stages/documents.ts";
import {
  absentStage,
  listRequested,
  partitionGraph,
  type Plan,
  type StageState,
  stageStates,
} from "./plan.ts";
import { noteDescendant } from "./descendants.ts";
import { refuseRevision } from "./refusal.ts";
import { checkAlone, nodeFolders, OWN_FOLDERS, resolveSettings } from "./settings.ts";
import { STAGES } from "../stages/stages.ts";
import { GIVEN_TEXT, type GivenText, type RunText } from "../stages/text.ts";

/** A share of the nodes: every `of`-th, beginning with number `index`, from 1. */
export type Part = Record<"index" | "of", number>;

/** Where to work, and with what. */
export interface RunOptions {
  /** Run folder, made if missing. */
  run: string;
  /** Where the settings come from. The run's `config.json` gives those that are not set there. */
  sources?: Sources;
  /**
   * Accepts values that differ from those of the run. If none differs, everything is made again.
   */
  force?: boolean;
  /** Hashes files instead of believing their sizes; what is damaged is made again. */
  check?: boolean;
  /** Refuses text or settings that are not those that the run was made of. */
  frozen?: boolean;
  /** Other runs, from which what they have made of the same settings and inputs is linked. */
  reuse?: readonly string[];
  /** What this process makes first. It also makes what its share needs and nobody makes. */
  part?: Part;
  /**
   * Threads that turn text into tokens; one for every core unless given. Never changes what they
   * make.
   */
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
  /** Settings that may differ from those of the run, although something was made with these. */
  accepted?: readonly (keyof Configuration)[];
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
  /** The settings of the run. */
  configuration: Configuration;
  /** Opens the device on the first call, and gives the same one afterwards. */
  gpu(): Promise<Gpu>;
  /**
   * Makes the missing nodes of a graph, and those named in `renewed` although they are there.
   * Returns the walk, with the states after that.
   */
  make(nodes: readonly Node[], options?: HowMade): Promise<Walk>;
  /**
   * Lists the nodes of a stage that makes what is requested of it, after those that must be there.
   */
  planStage<Request extends object>(stage: string, request: Request): Promise<readonly Node[]>;
  /** Makes what is missing of what is requested of a stage; of it a part, where one is given. */
  makeStage<Request extends object>(
    stage: string,
    request: Request,
    options?: HowMade & { part?: Part },
  ): Promise<Walk>;
}

/** How nodes are made: `renewed` are made anew, although they are there. */
export type HowMade = Partial<MakeOptions> & { renewed?: Iterable<string> };

/**
 * Opens a run, works in it and closes it, however the work ends. Throws an `InputError` for
 * settings that contradict those of the run; a `RunError` where another process works by settings
 * that would change, or there is no GPU; and the reason of the signal.
 */
export async function openRun<Result>(
  options: RunOptions,
  { onEvent: emit = () => {}, signal }: RunWatch,
  name: string,
  body: (open: OpenRun) => Promise<Result>,
): Promise<Result> {
  const { run, force, check, reuse, aside, workers = navigator.hardwareConcurrency } = options;
  const { configuration, changed, existing, adapter, isEdited, isAnew } = await resolve(options);
  for (const path of [...nodeFolders(), ...OWN_FOLDERS, "metrics/timing.jsonl"]) {
    await refuseLink(`${run}/${path}`);
  }
  using device = lazyDevice(options, configuration, emit);
  // A missing adapter or an unknown variant fails before anything is made.
  if (device.isNamed) await device.open();
  let isWritten = existing && (aside || changed.length === 0 && !isEdited);
  let isNoted = adapter !== undefined || aside;
  const gpu = async () => {
    const gpu = await device.open();
    if (!isNoted) { // settings may have changed since this process began
      const current = (await readRunConfiguration(run, { edited: true }))?.configuration ??
        configuration;
      // Manifests tell of each node which device made it.
      const { adapter: description, kind } = gpu;
      await writeRunConfiguration(run, current, {
        description,
        kind,
        variants: { ...gpu.variants },
      });
    }
    isNoted = true;
    return gpu;
  };
  const madeNames = new Set<string>(); // what one call has made is not made twice
  const make: OpenRun["make"] = async (nodes, walkOptions = {}) => {
    const isAgain = (node: Node) =>
      isAnew && (walkOptions.wanted?.(node) ?? true) && !madeNames.has(node.name);
    const renewed = nodes.filter(isAgain).map(({ name }) => name);
    for (const name of renewed) madeNames.add(name);
    const walk = new Walk(run, nodes, { check, renewed, ...walkOptions });
    if (!force) await refuseRevision(walk);
    // Not before everything is planned; another process may have begun the run meanwhile.
    if (!isWritten) {
      const current = adapter ? undefined : await readRunConfiguration(run, { edited: true });
      await writeRunConfiguration(run, configuration, adapter ?? current?.adapter);
    }
    isWritten = true;
    await makeAll({ run, gpu, emit, workers, signal }, walk, { task: name, reuse, ...walkOptions });
    return walk;
  };
  const planStage: OpenRun["planStage"] = async (name, request) =>
    await listRequested(run, configuration, name, request, { check });
  const makeStage: OpenRun["makeStage"] = async (name, request, { part, ...walkOptions } = {}) => {
    const nodes = await planStage(name, request);
    return await make(nodes, { ...walkOptions, ...part ? { mine: chooseShare(part, nodes) } : {} });
  };
  const result = await body({ run, configuration, gpu: device.open, make, planStage, makeStage });
  await device.warnOfLoss();
  return result;
}

/**
 * Makes nodes of a run that need neither a device nor other settings than they have, for a task of
 * this name. Those that are there are hashed, and made again if they are damaged or named in
 * `renewed`.
 */
export async function makeNodes(
  run: string,
  nodes: readonly Node[],
  taskName: string,
  { onEvent: emit = () => {}, signal }: RunWatch = {},
  renewed: readonly string[] = [],
): Promise<Walk> {
  const gpu = () => Promise.reject(new Error(`task "${taskName}" opens no device`));
  const walk = new Walk(run, nodes, {
    check: ({ given = false }) => !given,
    renewed,
  });
  await makeAll({ run, workers: 1, gpu, emit, signal }, walk, { task: taskName });
  return walk;
}

/**
 * Resolves the settings by which a run is made or planned, and reports whether everything is made
 * anew.
 */
async function resolve(
  { run, sources = {}, force = false, accepted, reuse = [], documents }: RunOptions,
) {
  for (const where of reuse) {
    if (await readRunConfiguration(where)) continue;
    const fact = say`Cannot copy from "${where}" as ${setting("reuse")} must name runs: it is none`;
    throw new InputError(fact, {
      where,
      remedy: say`name a folder that ${task("partition")} wrote`,
    });
  }
  const settings = await resolveSettings(
    run,
    documents ? withoutInput(sources) : sources,
    force,
    accepted,
  );
  const corpus = settings.changed.find((name) => name === "corpus" || name === "corpusCharacters");
  if (
    corpus && !documents && settings.configuration.input.length === 0 &&
    await exists(`${run}/${GIVEN_TEXT}`)
  ) {
    const fact = say`Cannot change ${
      setting(corpus)
    } as the text of "${run}" must be embedded: a script gave it`;
    throw new InputError(fact, { where: run, remedy: say`choose another ${setting("run")}` });
  }
  const { changed, isEdited } = settings;
  return { ...settings, isAnew: force && changed.length === 0 && !isEdited };
}

/** The graph after its nodes were made, how its stages ended, and the text if it was read. */
export interface Made {
  /** The nodes with their states. */
  walk: Walk;
  /** How its stages ended. */
  stages: StageEvent[];
  /** The text, where somebody looked at it. */
  text?: RunText;
}

/** How a stage ended. */
type StageEvent = Extract<RunEvent, { type: "stage" }>;

/** Makes all stages of a partition. Throws what {@linkcode makeStage} throws. */
export const makePartition = (options: RunOptions, watch: RunWatch = {}): Promise<Made> =>
  makeStage(options, watch, PARTITION, {});

/**
 * Makes a stage with what that needs, or a part of it; what is made is not made again. A stage on
 * request makes what is requested, of what must be there. Throws what {@linkcode openRun} throws.
 */
export async function makeStage(
  options: RunOptions,
  watch: RunWatch,
  stage: string,
  request: object,
): Promise<Made> {
  const { run, frozen, force, part } = options;
  if (frozen) await refuseChanges(options);
  // Before anything is made, rather than at what the other process needs.
  if (force) await checkAlone(run);
  const stages: StageEvent[] = [];
  const onEvent = (event: RunEvent) => {
    if (event.type === "stage" && event.state !== "started") {
      // One that text was unpacked by is up to date then.
      if (event.state === "up to date" && stages.some(({ stage }) => stage === event.stage)) return;
      stages.push(event);
    }
    watch.onEvent?.(event);
  };
  return await openRun(options, { ...watch, onEvent }, stage, async (open) => {
    const { onRequest } = STAGES.get(stage) ?? {};
    if (onRequest) return { walk: await open.makeStage(stage, request, { part }), stages };
    return { ...await makeFromText(options, open, stage, onEvent), stages };
  });
}

/** Makes a partition or one of its stages from text, which is unpacked first where it must be. */
async function makeFromText(
  options: RunOptions,
  { run, configuration, make }: OpenRun,
  stage: string,
  onEvent: (event: RunEvent) => void,
): Promise<Omit<Made, "stages">> {
  const { part, check } = options;
  const givenText = handedOver(options);
  const shareOf = ({ nodes }: Plan) => part ? chooseShare(part, nodes) : () => true;
  let plan = await partitionGraph(run, configuration, { given: givenText, keep: true, check });
  if (!plan.text.blocks) {
    await make(plan.nodes, { mine: shareOf(plan) });
    plan = await partitionGraph(run, configuration, { given: givenText, keep: true });
  }
  for (const message of textWarnings(plan.text)) onEvent({ type: "warning", message });
  const { routers, prices } = configuration;
  for (const path of [routers, prices].filter(Boolean)) {
    await noteDescendant(path, run, "routers");
  }
  const isWanted = wantedFor(stage);
  const mine = shareOf(plan);
  const wanted = (node: Node) => isWanted(node) && mine(node);
  return { walk: await make(plan.nodes, { mine, wanted }), text: plan.text };
}

/**
 * Gives the text that is handed over, by a script or on standard input: each time it is read anew.
 */
function handedOver({ documents, sources }: RunOptions): GivenText {
  const named = sources?.flags?.input ?? sources?.file?.input ?? [];
  return documents || named.includes("-") ? { documents, reading: crypto.randomUUID() } : {};
}

/** The task that makes all stages of a partition. */
const PARTITION = "partition";

/** Chooses the nodes of a stage, or of all that a partition makes. */
const wantedFor = (stage: string) => ({ maker }: Node): boolean =>
  stage === PARTITION || maker.stage === stage;

/** Reports which files of the text are read as one document each, and which not at all. */
function textWarnings({ asText, passed }: RunText): string[] {
  const [first, ...further] = asText;
  const subject = further.length === 0
    ? `"${first}" is`
    : `${asText.length} files such as "${first}" are`;
  const endings = [...passed].map(([ending, files]) => `${files} of ${ending || "no ending"}`);
  return [
    ...first === undefined ? [] : [`${subject} read as text: a document each`],
    ...endings.length === 0 ? [] : [`passed over files that hold no text: ${endings.join(", ")}`],
  ];
}

/**
 * Reports what {@linkcode makePartition} would make with the same options, without making anything:
 * the plan, how its stages stand, files that are not as they were (null where nothing is made yet),
 * and what is likely a mistake. Throws what it would throw beforehand.
 */
export async function planRun(options: RunOptions) {
  const { run, force, check } = options;
  const { configuration, adapter, isAnew } = await resolve(options);
  const plan = await partitionGraph(run, configuration, { given: handedOver(options), check });
  const renewed = isAnew ? plan.nodes.filter(wantedFor(PARTITION)).map(({ name }) => name) : [];
  const walk = new Walk(run, plan.nodes, { check, renewed });
  if (!force) await refuseRevision(walk);
  const changes = plan.text.blocks ? await changesOfText(run, plan.text.blocks) : null;
  const stages = await partitionStates(configuration, plan.text, walk);
  return { configuration, adapter, plan, changes, stages, warnings: textWarnings(plan.text) };
}

/**
 * Finds out how all stages of a partition stand, and those of other nodes that follow. Before text
 * is unpacked, nothing is known of the nodes of most.
 */
export async function partitionStates(
  { routers }: Configuration,
  { blocks }: RunText,
  walk: Walk,
  owners: readonly Owner[] = [],
): Promise<StageState[]> {
  const states = await stageStates(walk, owners);
  if (blocks) return states;
  const all = [...STAGES].filter(([name, { onRequest }]) =>
    !onRequest && name !== "derive" && !(name === LEARN && routers !== "")
  ).map(([stage]) => absentStage(stage, 0));
  return [...new Map([...all, ...states].map((state) => [state.stage, state])).values()];
}

/** Throws an `InputError` where text or settings are not those that a run was made of: for CI. */
async function refuseChanges(options: RunOptions): Promise<void> {
  const { run } = options;
  const refuse = (fact: Text) =>
    new InputError(say`Cannot go on in "${run}" as it is frozen: ${fact}`, {
      where: run,
      remedy: say`leave out ${setting("frozen")} to make what follows`,
    });
  if (handedOver(options).reading) {
    throw refuse("its text must be there before, to be compared: it is handed over");
  }
  const { configuration, changed: [name], existing } = await resolveSettings(
    run,
    options.sources ?? {},
    true,
  );
  if (!existing) throw refuse("it is not made yet");
  if (name !== undefined) {
    const [valueNow, valueThen] = [configuration, existing].map((values) =>
      JSON.stringify(values[name])
    );
    throw refuse(say`${setting(name)} is ${valueNow}, it was made with ${valueThen}`);
  }
  // A file may have other bytes with the size and time that it had.
  const { stages, changes } = await planRun({ ...options, check: true });
  const files = changesText(changes);
  if (files) throw refuse(files);
  const open = stages.find(({ toMake }) => toMake > 0);
  if (open) throw refuse(`stage "${open.stage}" would run (${open.because || "it follows"})`);
}

/**
 * Chooses the share of a part `index` of `of`: every `of`-th node of each folder; the rounds of a
 * branch below the root of a tree count as one node. A node that joins others of its stage belongs
 * to no part, unless it is temporary: the process that needs it first makes it.
 */
export function chooseShare(
  { index, of: parts }: Part,
  nodes: readonly Node[],
): (node: Node) => boolean {
  const stages = new Map(nodes.map(({ name, maker }) => [name, maker.stage]));
  const isOwned = ({ needs, temporary, maker: { stage } }: Node) =>
    temporary || !needs.some((need) => stages.get(splitNeed(need).name) === stage);
  const unitOf = ({ name }: Node) =>
    name.replace(/^(?:rounds|branches)(\/branch-[^/]+).*/, "rounds$1");
  const folders = Map.groupBy(new Set(nodes.filter(isOwned).map(unitOf)), (unit) => dirname(unit));
  const isMine = (_: string, place: number) => place % parts === index - 1;
  const mine = new Set([...folders.values()].flatMap((units) => units.filter(isMine)));
  return (node) => isOwned(node) && mine.has(unitOf(node));
}

/**
 * Notes in the settings that text is handed over. Throws an `InputError` where they name text
 * themselves.
 */
function withoutInput({ flags = {}, ...sources }: Sources = {}): Sources {
  const named = flags.input?.length ? "input" : flags.corpus !== undefined ? "corpus" : undefined;
  if (named === undefined) return { ...sources, flags: { ...flags, input: [] } };
  throw new InputError(
    say`Cannot read two corpora, as only one of documents and ${
      setting(named)
    } may be given: both are`,
  );
}

type DeviceOptions = Pick<RunOptions, "gpu" | "adapter" | "variants" | "requireGpu">;

/** The device of a process, which is opened on the first call. */
export function lazyDevice(
  { gpu: givenGpu, adapter, variants = {}, requireGpu }: DeviceOptions,
  configuration: Configuration,
  emit: (event: RunEvent) => void,
) {
  let opened: Gpu | undefined;
  let opening: Promise<Gpu> | undefined;
  const warn = (message?: Text) => void (message && emit({ type: "warning", message }));
  const openOwn = async () => {
    opened = await openGpu({ adapter: adapter || undefined, variants, requireGpu });
    emit({ type: "adapter", adapter: opened.adapter, kind: opened.kind });
    const { processorWarning } = await import("../doctor/advice.ts");
    warn(await processorWarning(opened, configuration));
    return opened;
  };
  return {
    /** Whether the options say which device it must be, or how kernels run on it. */
    isNamed: Boolean(adapter || requireGpu || Object.keys(variants).length > 0),
    open: async () => givenGpu ?? await (opening ??= openOwn()),
    /** Reports what the work lost to f16. */
    async warnOfLoss() {
      const used = givenGpu ?? opened;
      if (!used) return;
      const { saturatedValues } = await import("../../kernels/matmul/matmul.ts");
      const { saturationWarning } = await import("../doctor/advice.ts");
      warn(saturationWarning(await saturatedValues(used)));
    },
    [Symbol.dispose]: () => opened?.close(),
  };
}
