/**
 * The graph of a run: which folders it has, what each is made of, and how its stages stand. Plans,
 * status and runs ask here, so they agree.
 *
 * @module
 */

import { InputError, say, setting, task } from "../../kernels/errors.ts";
import { describeNodes, type NodeRecord } from "../graph/describe.ts";
import { exists } from "../graph/files.ts";
import type { Owner } from "../graph/lock.ts";
import { GIVEN, givenNode, type Manifest, type Node, splitNeed } from "../graph/node.ts";
import { MANIFEST } from "../graph/schema.ts";
import type { NodeState, Walk } from "../graph/walk.ts";
import type { Configuration } from "../settings/configuration.ts";
import { checkLimit } from "../text/documents.ts";
import { OFF } from "../text/inputs.ts";
import { readDerivation } from "../stages/derivation.ts";
import { recordedText, unseenText } from "../stages/documents.ts";
import { type GraphOf, graphOf } from "../stages/stage.ts";
import { partitionStages, STAGES } from "../stages/stages.ts";
import { GIVEN_TEXT, type GivenText, lookAtText, type RunText } from "../stages/text.ts";

/** The nodes of a run, and the text that they are of. */
export interface Plan {
  /** What is known of the text: it has no blocks where it must be unpacked first. */
  text: RunText;
  /**
   * The nodes, each after those that it needs; without blocks only the nodes that unpack text: then
   * the others are known.
   */
  nodes: Node[];
}

/** How a graph is found. */
export interface GraphOptions {
  /** Text that is handed over. */
  given?: GivenText;
  /** Whether hashes of files are kept in the run, so that a second look is fast. */
  keep?: boolean;
  /** Whether sizes and times of files that were seen before are not believed. */
  check?: boolean;
  /**
   * Whether text, and what settings name elsewhere, is taken to be what the run was made of: nobody
   * looks at it.
   */
  recorded?: boolean;
}

/** Gives the graph of a run's partition, and what its stages make on request. */
export async function partitionGraph(
  run: string,
  configuration: Configuration,
  { given = {}, keep = false, check = false, recorded = false }: GraphOptions = {},
): Promise<Plan> {
  const derivation = await readDerivation(run);
  if (derivation && !derivation.change.relearned) {
    const { derivedGraph, derivedText } = await import("./derived.ts");
    const text = await derivedText(run, configuration, derivation, { keep, check, recorded });
    if (!text.blocks) return { text, nodes: text.unpacked };
    const { graph, nodes } = await derivedGraph(run, configuration, derivation, text);
    return { text, nodes: await listStages(graph, nodes) };
  }
  checkLabels(configuration);
  const isHandedOver = given.documents !== undefined || await exists(`${run}/${GIVEN_TEXT}`);
  if (!isHandedOver) checkLimit(configuration);
  const text = recorded
    ? await recordedText(run, configuration)
    : await lookAtText(run, configuration, given, { keep, check });
  const { blocks, unpacked } = text;
  const away = derivation?.away ?? [];
  const graph = graphOf({ run, configuration, text, blocks: blocks ?? [], recorded, away });
  // What settings name is read before text is unpacked as well, so that it is refused before
  // anything is made if it is not there.
  const nodes = await listStages(graph);
  return { text, nodes: blocks ? nodes : unpacked };
}

/** Lists the nodes of the stages that make a partition: of some the ones that are given by name. */
async function listStages(
  graph: GraphOf,
  given: Readonly<Record<string, readonly Node[]>> = {},
): Promise<Node[]> {
  const nodes: Node[] = [];
  for (const [name, stage] of partitionStages()) {
    nodes.push(...given[name] ?? await stage.nodes(graph, {}));
  }
  return nodes;
}

/**
 * Gives the graph that a stage on request gets, without a look at the text. With `recorded`,
 * missing files that settings name outside the run count as unchanged.
 */
export const requestGraph = (
  run: string,
  configuration: Configuration,
  recorded = false,
): GraphOf =>
  graphOf({ run, configuration, text: unseenText(configuration), blocks: [], recorded });

/** Lists the nodes of what is requested of a stage, after those that must be there. */
export async function listRequested(
  run: string,
  configuration: Configuration,
  name: string,
  request: object,
  { check = false } = {},
): Promise<readonly Node[]> {
  const stage = STAGES.get(name)!;
  const graph = requestGraph(run, configuration);
  if (!stage.readsText) return withGiven(await stage.nodes(graph, request));
  const { text } = await partitionGraph(run, configuration, { keep: true, check });
  return withGiven(await stage.nodes({ ...graph, text, blocks: text.blocks ?? [] }, request));
}

/** Puts before some nodes the given nodes that they need: those that are not among them. */
function withGiven(nodes: readonly Node[]): Node[] {
  const names = new Set(nodes.map(({ name }) => name));
  const needed = new Set(
    nodes.flatMap(({ needs }) => needs.map((need) => splitNeed(need).name)),
  );
  return [...[...needed.difference(names)].map(givenNode), ...nodes];
}

/** Something that is requested of a stage. */
export interface Requested {
  /** Name of the stage. */
  stage: string;
  /** What it is to make. */
  request: object;
}

/** Lists what was asked of a run, as its manifests tell, and what every run is to have. */
export async function listRequests(graph: GraphOf): Promise<Requested[]> {
  const all: Requested[] = [];
  for (const [stage, { onRequest, requests }] of STAGES) {
    if (!onRequest) continue;
    for (const request of await requests?.(graph) ?? [{}]) all.push({ stage, request });
  }
  return all;
}

/**
 * Joins the graph of a partition with the nodes of all requests, each after those that it needs. A
 * node that is needed and not among them must lie in the run.
 */
export async function runGraph(
  partition: readonly Node[],
  graph: GraphOf,
  requests: readonly Requested[],
): Promise<Node[]> {
  const nodes = new Map<string, Node>();
  const add = (node: Node) => {
    // An adopted expert takes the place of the training of that expert.
    if (node.maker !== GIVEN && (node.given || !nodes.has(node.name))) nodes.set(node.name, node);
  };
  partition.forEach(add);
  for (const { stage, request } of requests) {
    const asked = { name: stage, command: task(stage, { run: graph.run }), optional: true };
    for (const node of await STAGES.get(stage)!.nodes(graph, request)) {
      add(node.maker === GIVEN || node.asked ? node : { ...node, asked });
    }
  }
  return withGiven([...nodes.values()]);
}

/**
 * Gives the graph of a whole run by these settings: its partition and all requests. Unless
 * `recorded`, it looks at the text; text that cannot be read counts as unchanged.
 */
export async function wholeGraph(
  run: string,
  configuration: Configuration,
  recorded: boolean,
): Promise<Node[]> {
  const partition = await partitionGraph(run, configuration, { recorded }).catch((error) => {
    if (recorded || !(error instanceof InputError)) throw error;
    return partitionGraph(run, configuration, { recorded: true });
  });
  const graph = requestGraph(run, configuration, true);
  return await runGraph(partition.nodes, graph, await listRequests(graph));
}

/** Throws an `InputError` where text is to be split by labels that nothing tells. */
function checkLabels(
  { partitioner, routers, input, sourceField, sourceFromPath }: Configuration,
): void {
  if (partitioner !== "source" || routers !== "" || input.length === 0) return;
  if (sourceField !== "" || sourceFromPath !== OFF) return;
  const [field, path] = ["sourceField", "sourceFromPath"].map((name) => setting(name));
  const rule = say`there must be labels: neither ${field} nor ${path} is given`;
  const column = say`name the field or column of labels with ${field}`;
  throw new InputError(
    say`Cannot split text by its sources as ${rule}`,
    { remedy: say`${column}, or take the names of folders with ${path}` },
  );
}

/** How the nodes of a stage stand: how many there are, and how many of them would be made. */
export interface StageState extends Record<"nodes" | "toMake", number> {
  /** Name of the stage. */
  stage: string;
  /**
   * `up to date`: nothing of it would be made. `missing`: it was never whole. `out of date`: it was
   * made of something else. `damaged`: a file is not as it was written.
   */
  state: "up to date" | "damaged" | "out of date" | "missing";
  /** Why, for the first node of each reason; "" where there is none to tell. */
  because: string;
  /** Files of the nodes that are there, and their bytes. */
  outputs: { files: number; bytes: number };
  /** Revision that made the stage's last node, and the one that would make it now. */
  revision: { made: number | null; now: number };
  /** Manifests of the nodes that are there. */
  manifests: Manifest[];
  /** How its nodes stand. */
  records: readonly NodeRecord[];
}

/** Gives the state of a stage of which nothing is there. */
export const absentStage = (stage: string, nodes: number): StageState => ({
  stage,
  state: "missing",
  nodes,
  toMake: 1,
  because: "",
  manifests: [],
  records: [],
  outputs: { files: 0, bytes: 0 },
  revision: { made: null, now: 1 },
});

/**
 * Finds out how the stages of a graph stand, in the order of the graph; `owners` are the processes
 * that work in the run.
 */
export async function stageStates(
  walk: Walk,
  owners: readonly Owner[] = [],
): Promise<StageState[]> {
  const records = await describeNodes(walk, owners);
  const stageByNode = new Map(records.map(({ node }) => [node.name, stageOf(node)]));
  const stages = Map.groupBy(
    records.filter(({ node }) => node.maker !== GIVEN),
    ({ node }) => stageOf(node),
  );
  const states = new Map<string, StageState>();
  const stateBehind = (node = "") => states.get(stageByNode.get(node) ?? "");
  for (const [stage, alike] of stages) states.set(stage, summarizeStage(stage, alike, stateBehind));
  return [...states.values()];
}

/** Names the stage as which a node is listed. */
const stageOf = ({ asked, maker }: Node): string => asked?.name ?? maker.stage;

/** `stateBehind` gives the state of the stage that a node belongs to. */
function summarizeStage(
  stage: string,
  records: readonly NodeRecord[],
  stateBehind: (node?: string) => StageState | undefined,
): StageState {
  const due = records.filter(({ toMake }) => toMake);
  const recorded = records.filter(({ manifest }) => manifest);
  const madeCount = records.length - due.length;
  const present = recorded.filter(({ node, state }) => state === "made" || !node.temporary);
  const files = present.flatMap(({ manifest }) => Object.values(manifest!.files));
  const isOther = ({ state, manifest }: NodeState) =>
    state === "changed" || state === "spent" || state === "waits" && manifest;
  const state = due.length === 0
    ? "up to date"
    : due.some(({ state }) => state === "damaged")
    ? "damaged"
    : due.some(isOther)
    ? "out of date"
    : "missing";
  const urgency = ({ state, manifest }: NodeState) =>
    state !== "damaged" ? 2 : Number(manifest !== null); // a manifest first
  const telling = due.toSorted((a, b) => urgency(a) - urgency(b));
  const because = new Set(
    telling.flatMap((node) => explainState(node, stateBehind(node.because)) ?? []),
  );
  const reasons = [
    ...state === "missing" && madeCount > 0 ? [`${madeCount} of ${records.length} are made`] : [],
    ...because,
  ];
  const last = records.at(-1)!;
  const revision = last.manifest?.revision;
  return {
    stage,
    state,
    nodes: records.length,
    toMake: due.length,
    because: reasons.slice(0, MOST_REASONS).join("; "),
    outputs: { files: files.length, bytes: files.reduce((sum, { bytes }) => sum + bytes, 0) },
    revision: { made: revision ?? null, now: last.node.revision || (revision ?? 0) },
    manifests: recorded.map(({ manifest }) => manifest!),
    records,
  };
}

const MOST_REASONS = 3;
const LONGEST = 40; // characters of a value that is printed
const valueText = (value: unknown) => value === undefined ? "not set" : JSON.stringify(value);

function explainState(
  { node, state, because, manifest }: NodeState,
  awaited?: StageState,
): string | undefined {
  if (state === "damaged") {
    return manifest || because === MANIFEST ? `${because} is damaged` : because;
  }
  if (state === "waits") {
    return awaited && awaited.state !== "missing"
      ? `"${awaited.stage}" is ${awaited.state}`
      : undefined;
  }
  if (state !== "changed") return undefined;
  if (because === "revision") {
    return `revision ${manifest!.revision} made it, this is revision ${node.revision}`;
  }
  if (because === "version") return "another version made it";
  if (because! in node.settings || because! in manifest!.settings) {
    const [oldValue, newValue] = [manifest!, node].map(({ settings }) =>
      valueText(settings[because!])
    );
    return oldValue.length + newValue.length > LONGEST
      ? `${because} changed`
      : `${because} was ${oldValue}, it is ${newValue}`;
  }
  return `it was made from other ${because}`;
}
