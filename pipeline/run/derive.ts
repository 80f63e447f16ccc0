/**
 * Derives a run from another one: text is added or forgotten, or an expert is replaced, dropped or
 * split. What that does not touch keeps its bytes. The other run is only read.
 *
 * @module
 */

import { dirname, resolve } from "node:path";
import { InputError, say, setting, task, type Text } from "../../kernels/errors.ts";
import { loadCheckpointConfig } from "../model/checkpoints/hugging_face_config.ts";
import { routerFolder } from "../model/checkpoints/checkpoint.ts";
import { hashFiles, PARTITIONER, readManifest } from "../graph/node.ts";
import { Walk } from "../graph/walk.ts";
import { modelShapes } from "../model/shape.ts";
import { findRun, writeRunConfiguration } from "../graph/configuration.ts";
import { exists } from "../graph/files.ts";
import { canonical, VERSION } from "../graph/schema.ts";
import { readTimes, secondsByNode } from "../graph/timing.ts";
import type { Configuration } from "../settings/configuration.ts";
import { readOptions } from "../text/documents.ts";
import { type InputFile, listInputs } from "../text/inputs.ts";
import type { CopyRule } from "../text/near_copies.ts";
import { PLAIN_CHAT, readPairs } from "../text/pairs.ts";
import { readDocuments } from "../text/readers.ts";
import { readChatTemplate } from "../text/tokenizer.ts";
import { adoptExpert, loadAdoptable } from "./adopt.ts";
import { computeDeviation } from "../partition/assignment/prices.ts";
import { partitionerKind } from "../partition/partitioners.ts";
import {
  type Derivation,
  type DerivedExpert,
  derivedExperts,
  type ExpertBefore,
  type LineageStep,
  listForgotten,
  readDerivation,
  readLineageSteps,
  toDerivation,
  writeDerivation,
} from "../stages/derivation.ts";
import { INDEX, indexedBlocks } from "../stages/documents.ts";
import { readCertificate, writeCertificate } from "./certificate.ts";
import { checkAdded, type FoundCopy } from "./copies.ts";
import { type Descendant, listDescendants, noteDescendant } from "./descendants.ts";
import { checkCopyRule, expertsOf, findForgotten, listFilesLeft, listWitnesses } from "./forget.ts";
import { checkExpert, trainModels } from "./models.ts";
import { isSamePlace } from "./output.ts";
import { needConfiguration, readParts } from "../stages/parts.ts";
import { partition, type PartitionSummary } from "./partition.ts";
import { partitionGraph, stageStates } from "./plan.ts";
import type { RunOptions, RunWatch } from "./run.ts";
import { checkOwn } from "./settings.ts";
import { allTargets, denseTarget, expertTarget } from "../stages/targets.ts";
import { adoptedExperts } from "../training/adoption.ts";

/** What changes from one run to the next: one of these. */
export interface RunChange {
  /** Patterns of paths, sources and ids of documents that are forgotten. */
  forget?: { paths?: readonly string[]; sources?: readonly string[]; ids?: readonly string[] };
  /**
   * Which documents count as copies of forgotten ones, and whether they are forgotten as well. They
   * are looked for and named in any case.
   */
  copies?: Partial<CopyRule> & { forget?: boolean };
  /**
   * Whether tokenizer and routers are kept, though they have seen forgotten text, or everything is
   * learned again without it. Default: `keep`.
   */
  routers?: "keep" | "relearn";
  /** Inputs that are added: paths, patterns and folders. */
  add?: readonly string[];
  /** The same, for an expert of their own. */
  newExpert?: readonly string[];
  /** Pairs of prompt and response that models are tuned on: files of JSON lines. */
  tune?: readonly string[];
  /** Passes over these pairs; 2 unless given. */
  epochs?: number;
  /**
   * Whether the routers of the other run route prompts, or `fresh` ones that go on from these with
   * the prompts alone. Default: `experts`.
   */
  router?: "experts" | "fresh";
  /** Experts that checkpoints of other trainers take the place of: their ids and the folders. */
  replace?: readonly { expert: number; from: string }[];
  /** An expert whose text goes to the others by prices; those after it move down by a number. */
  dropExpert?: number;
  /**
   * An expert whose text is divided by two new routers, between two experts that begin with its
   * weights: it and a last one.
   */
  splitExpert?: number;
  /**
   * Share of old sequences among those by which experts learn text that they get; 0.5 unless given.
   */
  replay?: number;
}

/** What {@linkcode derive} takes. */
export interface DeriveOptions
  extends
    RunChange,
    Pick<RunOptions, "run" | "check" | "workers" | "adapter" | "variants" | "requireGpu" | "gpu"> {
  /** The run to derive from. It stays as it is. */
  from: string;
  /**
   * Leaves the training of experts to `train-expert`. Next to one that is dropped they stay as they
   * are.
   */
  noTrain?: boolean;
}

/** What a derivation does, or would do. */
export interface DerivePlan extends Omit<LineageStep, "forgotten" | "dropped"> {
  /** Documents that are forgotten, and their tokens; of them so many as copies of those named. */
  forgotten: { documents: number; tokens: number; asCopies: number };
  /** Documents that hold text of forgotten ones, whether they are forgotten as well or stay. */
  copies: FoundCopy[];
  /** The expert of the other run that is dropped, and its training sequences; null for none. */
  dropped: { expert: number; sequences: number } | null;
  /** The same of one that is split. */
  split: { expert: number; sequences: number } | null;
  /**
   * The pairs on which models are tuned, and the steps of an expert that gets an equal share of
   * them; null for none.
   */
  pairs: { count: number; steps: number } | null;
  /**
   * Seconds that the trainings of the experts which are trained from the start took in the other
   * run.
   */
  seconds: number;
  /** What may have seen text that is forgotten, now or before, and stays, here or elsewhere. */
  descends: string[];
  /** Other runs that were made from the runs above, as far as these note them. */
  below: Descendant[];
  /** What is likely a mistake, before anything is made. */
  warnings: Text[];
}

/** What {@linkcode derive} did. */
export interface Derived extends DerivePlan {
  /** The largest deviation of an expert's load from an equal one. */
  deviation: number;
  /** The partition of the run. */
  partition: PartitionSummary;
}

/** Reports what {@linkcode derive} would do. Throws what it would throw beforehand. */
export async function planDerive(options: DeriveOptions): Promise<DerivePlan> {
  return await describePlan(await prepare(options));
}

/**
 * Derives a run from another one, or goes on where that was stopped. Experts that lost text are
 * trained again from the start on the rest; those that gained text go on from their weights; all
 * others keep their bytes.
 *
 * Throws an `InputError` where the other run is not complete, or where nothing or more than one
 * change is named. Also where a pattern matches no document, or the folder holds another run. It
 * throws what {@linkcode partition} and {@linkcode trainModels} throw as well.
 */
export async function derive(options: DeriveOptions, watch: RunWatch = {}): Promise<Derived> {
  const { run, from, check, workers, adapter, variants, requireGpu, gpu, noTrain } = options;
  const how = { run, check, workers, adapter, variants, requireGpu, gpu };
  const prepared = await prepare(options);
  const { derivation, settings } = prepared;
  const plan = await describePlan(prepared);
  for (const message of plan.warnings) watch.onEvent?.({ type: "warning", message });
  await writeDerivation(run, derivation);
  await noteDescendant(from, run, derivation.change.tuned ? "tuned" : "derived");
  // Until there is an index, settings that were written before do not count.
  if (!await exists(`${run}/${INDEX}`)) await writeRunConfiguration(run, settings);
  const { replaced } = derivation.change;
  const made = await partition({ ...how, reuse: [derivation.from] }, watch);
  const experts = await derivedExperts(run, derivation);
  const adopted = new Set((await adoptedExperts(run)).map(({ expert }) => expert));
  const isTrained = ({ expert, state }: DerivedExpert) =>
    state === "kept"
      ? !adopted.has(expert) // it was linked when the run was derived before
      : !noTrain && !["not trained", "no text left", "replaced"].includes(state);
  const models = allTargets(settings).filter(({ name, expert }) =>
    expert === undefined ? !noTrain && derivation.dense.includes(name) : isTrained(experts[expert])
  );
  if (models.length > 0) await trainModels(() => models, how, watch);
  for (const own of replaced) await adoptExpert({ run, ...own, force: true }, watch);
  if (listForgotten(derivation).length > 0) {
    await writeCertificate(run, derivation, { ...prepared, ...plan });
  }
  const deviation = computeDeviation(made.experts.map(({ sequences }) => sequences));
  return { ...plan, experts, deviation, partition: made };
}

/**
 * Settings of a run of pairs: each goes where its prompt is routed, and models see it so many
 * times.
 */
const pairSettings = (epochs: number): Partial<Configuration> => ({
  input: [],
  method: "argmax",
  packing: "document",
  maxTokens: 0,
  maxDocuments: 0,
  expertEpochs: epochs,
  expertTokens: 0,
  dedup: "off",
  splitGroups: false,
  decontaminate: [],
});

async function prepare({ run, from, routers, router, noTrain, ...named }: DeriveOptions) {
  await checkPlaces(run, from);
  const configuration = await needConfiguration(from);
  checkChange(from, named, configuration);
  await readCertificate(from); // or an error, before anything is made
  const { replace = [], replay = 0.5, epochs = 2, dropExpert: dropped = null } = named;
  const { splitExpert: split = null } = named;
  const before = await readBefore(from, configuration);
  const changesText = [named.add, named.newExpert, ...Object.values(named.forget ?? {})]
    .some((list) => list?.length) || split !== null;
  if (before.paired && !named.tune?.length && changesText) await refusePairs(from);
  const forgetting = await findForgotten(from, configuration, before, named);
  const { forgotten, passages, away } = forgetting;
  const { added, template, pairs } = await readAdded(from, configuration, named, forgetting);
  const tuned = pairs > 0;
  const change: Derivation["change"] = {
    forgotten: forgotten.map((row) => ({ ...row, document: String(row.document) })),
    added: added.map((path) => resolve(path)),
    newExpert: !!named.newExpert?.length,
    replay,
    dropped,
    stays: dropped !== null && !!noTrain,
    split,
    replaced: replace.map(({ expert, from }) => ({ expert, from: resolve(from) })),
    relearned: routers === "relearn",
    tuned,
    fresh: tuned && router === "fresh",
    epochs: tuned ? epochs : 0,
  };
  const experts = listExperts(before.experts, change);
  const renumbered = experts.length !== before.experts.length;
  if (renumbered || change.fresh) await checkRouters(from, configuration, before, split);
  const derivation = toDerivation({
    from: resolve(from),
    version: VERSION,
    ...before,
    template,
    experts,
    renumbered,
    away,
    passages,
    change,
    dense: tuned ? before.dense : [],
    paired: tuned || before.paired,
    grouped: groupBlocks(before, configuration, change),
  });
  const begun = await checkBegun(run, derivation);
  for (const { from: checkpoint } of replace) await loadAdoptable(from, checkpoint);
  const settings: Configuration = change.relearned
    ? { ...configuration, input: await listFilesLeft(configuration, derivation) }
    // What it is split by lies in it.
    : { ...configuration, experts: experts.length, routers: "", prices: "", chunk: 0 };
  if (tuned) Object.assign(settings, pairSettings(epochs));
  return {
    run,
    from,
    added,
    configuration,
    old: before.experts,
    ...forgetting,
    pairs,
    derivation: begun ?? derivation,
    settings,
  };
}

type Prepared = Awaited<ReturnType<typeof prepare>>;

/** Throws an `InputError` where a run cannot derive from another one because of their places. */
async function checkPlaces(run: string, from: string): Promise<void> {
  if (!await exists(from)) {
    const what = say`Cannot derive as ${setting("from")} must be a run: there is no "${from}"`;
    throw new InputError(what, { where: from, remedy: "name the folder of a run" });
  }
  if (await isSamePlace(run, from)) {
    throw refuse(
      from,
      say`${setting("run")} must be another folder than ${setting("from")}: it is the same`,
    );
  }
  const above = await findRun(dirname(resolve(run)));
  if (above === null || !await isSamePlace(above, from)) return;
  throw refuse(
    from,
    say`${setting("run")} must lie outside of that run: "${run}" lies in it`,
    say`choose another ${setting("run")}`,
  );
}

/** Throws an `InputError` for a change of text in a run of pairs, and names the run to change. */
async function refusePairs(from: string): Promise<never> {
  const steps = await readLineageSteps(from);
  const derivations = await Promise.all(steps.map(({ run }) => readDerivation(run)));
  const tuned = derivations.findLastIndex((derivation) => derivation?.change.tuned);
  const above = derivations[tuned]?.from;
  const fact = "its text must be documents, to add or forget some, or to split them: it is pairs";
  const remedy = above === undefined || !await exists(above)
    ? say`change the run that it derives from, and tune that with ${task("tune")}`
    : say`run ${task("derive", { from: above })}, and tune what that makes with ${task("tune")}`;
  throw refuse(from, fact, remedy);
}

/**
 * Reads text or pairs that are added. Throws an `InputError` for what cannot be read, and where a
 * text is forgotten or holds a passage of such a one: nothing is written by then.
 */
async function readAdded(
  from: string,
  configuration: Configuration,
  { add, newExpert, tune }: RunChange,
  { passages, forgottenBefore }: Pick<Prepared, "passages" | "forgottenBefore">,
) {
  const added = [newExpert, tune, add].find((list) => list?.length) ?? [];
  const tuned = added === tune;
  const template = await readChatTemplate(from) ?? (tuned ? PLAIN_CHAT : "");
  if (added.length === 0) return { added, template, pairs: 0 };
  const { files } = await listInputs(added, tuned ? { format: "jsonl" } : configuration);
  const read = ({ path }: InputFile) =>
    readDocuments([path], { ...readOptions(configuration), maxDocuments: undefined });
  const texts = tuned ? (file: InputFile) => readPairs([file], template) : read;
  const hashes = new Set(forgottenBefore.map(({ sha256 }) => sha256));
  const documents = await checkAdded(files, texts, { hashes, passages });
  if (tuned && documents === 0) {
    throw refuse(from, "there must be pairs to tune it on: the files hold none");
  }
  return { added, template, pairs: tuned ? documents : 0 };
}

/** Gives how blocks of text are grouped: those that are added begin a group of their own. */
function groupBlocks(
  { grouped, blocks }: Pick<Derivation, "grouped" | "blocks">,
  { experts }: Configuration,
  { tuned, added }: Derivation["change"],
): Derivation["grouped"] {
  if (tuned) return { experts, starts: [] }; // of the blocks of pairs
  return { ...grouped, starts: [...grouped.starts, ...added.length > 0 ? [blocks.length] : []] };
}

/**
 * Reads how the run was begun before; null where its partition is not made, or nothing is there.
 * Throws an `InputError` where it holds another run.
 */
async function checkBegun(run: string, derivation: Derivation): Promise<Derivation | null> {
  await checkOwn(run);
  const begun = await readDerivation(run);
  const isMade = await exists(`${run}/${INDEX}`);
  const isOther = begun
    ? isMade && describeChange(begun) !== describeChange(derivation)
    : await exists(`${run}/config.json`);
  if (!isOther) return isMade ? begun : null;
  const is = begun ? `it derives otherwise, from "${begun.from}"` : "it is a run of its own";
  throw new InputError(
    `Cannot derive into "${run}" as it must be new, or derived like this before: ${is}`,
    { where: run, remedy: say`choose another ${setting("run")}` },
  );
}

/**
 * Tells the change alone: the other run may have trained more meanwhile, and its text may lie
 * elsewhere.
 */
const describeChange = ({ from, change }: Derivation) => canonical({ from, change });

type KnownExpert = Omit<ExpertBefore, "becomes">;

/**
 * Lists the experts: all stay but one that is dropped, and a new one or half of one that is split
 * comes last.
 */
function listExperts(
  old: readonly KnownExpert[],
  { added, newExpert, tuned, replaced, dropped, stays, split }: Derivation["change"],
): ExpertBefore[] {
  const isTrained = old.some(({ trained }) => trained);
  const becomes = ({ was, trained }: KnownExpert): ExpertBefore["becomes"] => {
    if (replaced.some(({ expert }) => expert === was)) return "replaced";
    if (!trained) return was === null && isTrained ? "new" : "not trained";
    if (tuned) return "tuned";
    if (stays) return "kept";
    if (dropped !== null || added.length > 0 && !newExpert) return "goes on";
    return was === split ? "split" : "from the start";
  };
  const last = newExpert
    ? [{ was: null, sequences: 0, trained: null }]
    : old.filter(({ was }) => was === split);
  const all = [...old.filter(({ was }) => was !== dropped), ...last];
  return all.map((one) => ({ ...one, becomes: becomes(one) }));
}

/**
 * Throws an `InputError` where a run has no routers that could go on, or that one could come to or
 * go from. Also where a part is too small to be split.
 */
async function checkRouters(
  from: string,
  configuration: Configuration,
  { partitioner, experts }: Awaited<ReturnType<typeof readBefore>>,
  split: number | null,
): Promise<void> {
  const folder = resolve(from, partitioner);
  const { kind } = await partitionerKind(folder);
  const needed = "routers must split its text, to train them or change their number";
  if (kind !== "em") throw refuse(from, `${needed}: it is split by "${kind}"`);
  if (split === null) return;
  const { config } = await loadCheckpointConfig(`${folder}/${routerFolder(0)}`);
  const { router } = modelShapes({ ...configuration, vocabularySize: config.vocabulary });
  const shaped = "its routers must be of the shape that its settings say, to split an expert";
  if (canonical({ ...config, ...router }) !== canonical(config)) {
    throw refuse(from, `${shaped}: they are not`);
  }
  const { sequences } = experts[split];
  const rule = "an expert that is split must have two training sequences";
  if (sequences < 2) throw refuse(from, `${rule}: expert ${split} has ${sequences}`);
}

const refuse = (from: string, fact: Text, remedy?: Text) =>
  new InputError(say`Cannot derive from "${from}" as ${fact}`, { where: from, remedy });

/**
 * Throws an `InputError` where nothing changes, or more than one thing, or a change that cannot be.
 */
function checkChange(
  from: string,
  { forget = {}, copies, add, newExpert, tune, replace = [], dropExpert, splitExpert }: RunChange,
  { experts, levels, packing }: Configuration,
) {
  const forgotten = Object.values(forget).flat();
  checkCopyRule(from, { forget, copies });
  const changes = {
    forget: forgotten,
    add,
    newExpert,
    replaceExpert: replace,
    dropExpert,
    splitExpert,
    tune,
  };
  const count = Object.values(changes).filter((value) => [value ?? []].flat().length > 0).length;
  if (count !== 1) {
    const [forget, add, newExpert, replace, drop, split] = Object.keys(changes).map((name) =>
      setting(name)
    );
    const names = say`${forget}, ${add}, ${newExpert}, ${replace}, ${drop} and ${split}`;
    const what = say`one change must be named, of ${names}`;
    const remedy = count > 1 ? "derive once more from what is derived" : undefined;
    throw refuse(from, say`${what}: there are ${count}`, remedy);
  }
  if (levels.length > 0) throw refuse(from, "its routers must not be a tree: they are one");
  if (forgotten.length > 0 && packing === "concat") {
    const whole = "a sequence must be of one document, to forget one";
    throw refuse(from, `${whole}: with packing concat it may be of several`);
  }
  const replaced = new Set(replace.map(({ expert }) => expert));
  for (const expert of replaced) checkExpert("replace", from, expert, experts);
  if (replaced.size < replace.length) {
    throw refuse(from, "an expert must be replaced once: one is twice");
  }
  if (splitExpert !== undefined) checkExpert("split", from, splitExpert, experts);
  if (dropExpert === undefined) return;
  checkExpert("drop", from, dropExpert, experts);
  if (experts === 1) throw refuse(from, "an expert must stay: it has no other");
}

/**
 * Reads what may be kept of a run, whose partition must be complete: the keys of its nodes, and
 * which experts are trained on their parts.
 */
async function readBefore(from: string, configuration: Configuration) {
  const { nodes } = await partitionGraph(from, configuration, { recorded: true });
  const walk = new Walk(from, nodes);
  const open = (await stageStates(walk)).find(({ toMake }) => toMake > 0);
  if (open || nodes.length === 0) {
    const stage = open ? `"${open.stage}" would run` : "nothing is made";
    const remedy = say`run ${task("partition", { run: from })} first`;
    throw refuse(from, `its partition must be complete: ${stage}`, remedy);
  }
  const { experts, routers } = configuration;
  const partitioner = routers ? resolve(routers) : PARTITIONER;
  const learned = await readManifest(resolve(from, partitioner));
  if (!learned) {
    throw refuse(from, `its routers must be those of a run: "${partitioner}" has no manifest`);
  }
  const kept: Derivation["kept"] = { [partitioner]: learned.key };
  const dense: string[] = [];
  for (const node of nodes) kept[node.name] = (await walk.of(node)).manifest!.key;
  for (const { node } of [denseTarget("batch"), denseTarget("steps")]) {
    const manifest = await readManifest(`${from}/${node}`);
    if (!manifest?.key) continue; // it is not trained, or was given up, to be trained again
    kept[node] = manifest.key;
    dense.push(node);
  }
  const above = await readDerivation(from);
  const { parts } = await readParts(from);
  const old: KnownExpert[] = [];
  for (const { expert: was, node: name, manifest: part, train: { sequences } } of parts) {
    const target = expertTarget(was, { experts });
    const { node } = target;
    const manifest = await readManifest(`${from}/${node}`);
    // It was trained before, on the same training rows.
    const isLinked = manifest?.settings.kept !== undefined;
    const isTrained = manifest?.key && (isLinked || manifest.inputs[name] === hashFiles(part));
    old.push({ was, sequences, trained: null });
    if (!isTrained) continue;
    const { result: { steps = await target.steps(configuration, { sequences, least: 1 }) } } =
      manifest;
    const isFurther = isLinked || manifest.settings.before !== undefined;
    const { trained: known = null, becomes } = isFurther && above?.experts[was] || {};
    const sawMore = known?.sawMore || becomes === "split" && !isLinked; // the part that was split
    const isTuned = becomes === "tuned" && !isLinked; // on other text than before
    const own = Number(steps) * target.batch(configuration) / (sequences || 1);
    const passes = isTuned ? own : known?.passes ?? own;
    kept[node] = manifest.key;
    old[was].trained = { node, part: hashFiles(part, "train-"), passes, sawMore };
  }
  return {
    kept,
    partitioner,
    dense,
    experts: old,
    blocks: (await indexedBlocks(from))!,
    paired: above?.paired ?? false,
    grouped: above?.grouped ?? { experts, starts: [] },
    forgottenBefore: listForgotten(above),
    passages: above?.passages ?? {},
  };
}

async function describePlan(prepared: Prepared): Promise<DerivePlan> {
  const { run, from, added, configuration, old, forgotten, pairs, derivation } = prepared;
  const { change: { relearned, dropped, split, epochs }, experts: { length } } = derivation;
  const describe = (expert: number | null) =>
    expert === null ? null : { expert, sequences: old[expert].sequences };
  const losing = new Set<number | null>(
    forgotten.filter(({ side }) => side === "train").flatMap(expertsOf),
  );
  const countNow = sequencesLeft(prepared);
  const experts = derivation.experts.map((one, expert): DerivedExpert => {
    const { was, sequences: before, becomes, trained } = one;
    const isSafe = !losing.has(was) && !(trained?.sawMore && losing.size > 0);
    const isAgain = becomes === "from the start";
    const now = countNow(one);
    const left = isAgain && now === 0 ? "no text left" : becomes;
    const state = isAgain && !relearned && isSafe ? "kept" : left;
    return { expert, was, state, sequences: now === undefined ? { before } : { before, now } };
  });
  const secondsOf = secondsByNode(await readTimes(from));
  const again = derivation.experts.filter((_, expert) =>
    experts[expert].state === "from the start"
  );
  const seconds = again.map(({ trained }) => secondsOf(trained!.node) ?? 0);
  const { holdout, expertBatch } = configuration;
  const steps = pairs * (1 - holdout) * epochs / length / expertBatch;
  const tokens = forgotten.reduce((sum, { tokens }) => sum + tokens, 0);
  const isForgetting = listForgotten(derivation).length > 0;
  return {
    run,
    from,
    forgotten: { documents: forgotten.length, tokens, asCopies: prepared.asCopies },
    copies: prepared.copies,
    added,
    dropped: describe(dropped),
    split: describe(split),
    pairs: pairs > 0 ? { count: pairs, steps: Math.max(1, Math.round(steps)) } : null,
    experts,
    seconds: seconds.reduce((a, b) => a + b, 0),
    descends: isForgetting ? await listWitnesses(from, derivation, configuration) : [],
    below: isForgetting ? await listBelow(run, derivation) : [],
    warnings: findWarnings(prepared),
  };
}

/** Lists what is likely a mistake. */
function findWarnings({ from, configuration, derivation }: Prepared): Text[] {
  const { experts, dense, change: { added, tuned } } = derivation;
  const { dedup, decontaminate, maxDocuments, maxTokens } = configuration;
  const isChosen = dedup !== "off" || decontaminate.length > 0 || maxDocuments + maxTokens > 0;
  const isTrained = dense.length > 0 || experts.some(({ trained }) => trained);
  const training = task("train-expert", { run: from, expert: "all" });
  const nothing =
    say`nothing will be tuned: no model of "${from}" is trained; run ${training} first`;
  return [
    ...added.length > 0 && !tuned && isChosen
      ? ["added text is taken whole: limits, duplicates and leaks are not looked at again"]
      : [],
    ...tuned && !isTrained ? [nothing] : [],
  ];
}

/**
 * Returns what counts the training sequences that an expert will have; undefined where this is
 * known only once text is read and assigned.
 */
function sequencesLeft(
  { forgotten, derivation: { change }, configuration: { sequenceLength } }: Prepared,
): (expert: ExpertBefore) => number | undefined {
  const { relearned, tuned, added, newExpert, dropped, split } = change;
  const isOpen = relearned || tuned || dropped !== null || added.length > 0 && !newExpert;
  const lost = new Map<number, number>();
  for (const { side, tokens, expert, shares } of forgotten) {
    if (side !== "train" || expert === "") continue;
    // Of a last sequence of one token there is nothing to predict.
    const sequences = Math.ceil((tokens - Number(tokens % sequenceLength === 1)) / sequenceLength);
    const parts = expert === "mixed" ? shares.split(", ") : [`${expert}: 1`];
    for (const part of parts) {
      const [own, share] = part.split(": ").map(Number);
      lost.set(own, (lost.get(own) ?? 0) + Math.round(share * sequences));
    }
  }
  return ({ was, sequences }) =>
    isOpen || was === null || was === split ? undefined : sequences - (lost.get(was) ?? 0);
}

/** Lists the runs that were made from those above, where forgotten text may be as well. */
async function listBelow(run: string, derivation: Derivation): Promise<Descendant[]> {
  const steps = await readLineageSteps(derivation.from);
  const first = steps.at(-1)?.from ?? derivation.from;
  const above = new Set(
    [run, derivation.from, ...steps.map(({ from }) => from)].map((path) => resolve(path)),
  );
  const below = await listDescendants(first);
  return below.filter((other) => !above.has(resolve(other.run)));
}
