/**
 * The graph of a run: which folders it has, what each is made of, and how its stages stand. Plans,
 * status and runs ask here, so they agree.
 *
 * @module
 */

import { InputError, say, setting, wordText } from "../../kernels/errors.ts";
import { GIVEN, type Manifest, type Node, readManifest, splitNeed } from "../graph/node.ts";
import { MANIFEST } from "../graph/schema.ts";
import type { NodeState, Walk } from "../graph/walk.ts";
import type { Configuration } from "../settings/configuration.ts";
import { checkLimit } from "../text/documents.ts";
import { OFF } from "../text/inputs.ts";
import { readDerivation } from "../stages/derivation.ts";
import { recordedText } from "../stages/documents.ts";
import { STAGES } from "../stages/stages.ts";
import { type GivenText, lookAtText, type Text } from "../stages/text.ts";

/** The nodes of a run, and the text that they are of. */
export interface Plan {
  /** What is known of the text: it has no blocks where it must be unpacked first. */
  text: Text;
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
    const { derivedNodes, derivedText } = await import("./derived.ts");
    const text = await derivedText(run, configuration, derivation, { keep, check, recorded });
    return {
      text,
      nodes: text.blocks ? await derivedNodes(configuration, derivation, text) : text.unpacked,
    };
  }
  checkLabels(configuration);
  checkLimit(configuration);
  const text = recorded
    ? await recordedText(run, configuration)
    : await lookAtText(run, configuration, given, { keep, check });
  const { blocks, unpacked } = text;
  const of = { configuration, text, blocks: blocks ?? [], recorded, away: derivation?.away };
  const nodes: Node[] = [];
  // What settings name is read before text is unpacked as well, so that it is refused before
  // anything is made if it is not there.
  for (const stage of STAGES.values()) nodes.push(...await stage.nodes?.(of) ?? []);
  return { text, nodes: blocks ? nodes : unpacked };
}

/** Throws an `InputError` where text is to be split by labels that nothing tells. */
function checkLabels(
  { partitioner, routers, input, sourceField, sourceFromPath }: Configuration,
): void {
  if (partitioner !== "source" || routers !== "" || input.length === 0) return;
  if (sourceField !== "" || sourceFromPath !== OFF) return;
  const [field, path] = ["sourceField", "sourceFromPath"].map((name) => setting(name));
  throw new InputError(
    say`Cannot split text by its sources as there must be labels: neither ${field} nor ${path} is given`,
    {
      remedy:
        say`name the field or column of labels with ${field}, or take the names of folders with ${path}`,
    },
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
  /** Revision of its last node that would make it now, and the one that made that. */
  revision: { made: number | null; now: number };
  /** Manifests of the nodes that are there. */
  manifests: Manifest[];
}

/** Gives the state of a stage of which nothing is there. */
export const absentStage = (stage: string, nodes: number): StageState => ({
  stage,
  state: "missing",
  nodes,
  toMake: 1,
  because: "",
  manifests: [],
  outputs: { files: 0, bytes: 0 },
  revision: { made: null, now: 1 },
});

/** Finds out how the stages of a graph stand, in the order of the graph. */
export async function stageStates(walk: Walk): Promise<StageState[]> {
  const { graph: nodes } = walk;
  const found = await lookAt(walk);
  const needed = neededNodes(nodes, found);
  const stageOfNode = new Map(nodes.map(({ name, maker }) => [name, maker.stage]));
  const stages = Map.groupBy(
    nodes.filter(({ maker }) => maker !== GIVEN),
    ({ maker }) => maker.stage,
  );
  const known = new Map<string, StageState>();
  const before = (node = "") => known.get(stageOfNode.get(node) ?? "");
  for (const [stage, own] of stages) {
    known.set(
      stage,
      summarizeStage(stage, own.map(({ name }) => found.get(name)!), needed, before),
    );
  }
  return [...known.values()];
}

/** Names the nodes of a graph that would be made. */
export const nodesToMake = async (walk: Walk): Promise<Set<string>> =>
  neededNodes(walk.graph, await lookAt(walk));

/** Looks at all nodes. One whose manifest is damaged is damaged, and those that need it wait. */
async function lookAt(walk: Walk): Promise<Map<string, NodeState>> {
  const found = new Map<string, NodeState>();
  for (const node of walk.graph) {
    const state = await walk.of(node).catch(async (error): Promise<NodeState> => {
      if (!(error instanceof InputError)) throw error;
      const needs = node.needs.map((need) => splitNeed(need).name);
      const open = needs.find((name) =>
        !["made", "spent"].includes(found.get(name)?.state ?? "made")
      );
      let manifest: Manifest | null = null;
      let wrong = open === undefined ? error : undefined;
      try {
        manifest = await readManifest(walk.path(node.name));
      } catch (own) {
        if (own instanceof InputError) wrong = own;
      }
      if (wrong) return { node, state: "damaged", because: wordText(wrong.what), manifest: null };
      return { node, state: "waits", because: open, manifest };
    });
    found.set(node.name, state);
  }
  return found;
}

/**
 * Names the nodes that would be made: those that are not there, and the spent ones that these need.
 */
function neededNodes(nodes: readonly Node[], found: ReadonlyMap<string, NodeState>): Set<string> {
  const needed = new Set<string>();
  const read = new Set<string>();
  for (const node of nodes.toReversed()) {
    const { state } = found.get(node.name)!;
    if (state === "made" || state === "spent" && !read.has(node.name)) continue;
    needed.add(node.name);
    if (!node.given) { for (const need of node.needs) read.add(splitNeed(need).name); }
  }
  return needed;
}

function summarizeStage(
  stage: string,
  found: readonly NodeState[],
  needed: ReadonlySet<string>,
  before: (node?: string) => StageState | undefined,
): StageState {
  const due = found.filter(({ node }) => needed.has(node.name));
  const known = found.filter(({ manifest }) => manifest);
  const made = found.length - due.length;
  const there = known.filter(({ node, state }) => state === "made" || !node.temporary);
  const files = there.flatMap(({ manifest }) => Object.values(manifest!.files));
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
    telling.flatMap((node) => explainState(node, before(node.because)) ?? []),
  );
  const reasons = [
    ...state === "missing" && made > 0 ? [`${made} of ${found.length} are made`] : [],
    ...because,
  ];
  const last = found.at(-1)!;
  const revision = last.manifest?.revision;
  return {
    stage,
    state,
    nodes: found.length,
    toMake: due.length,
    because: reasons.slice(0, MOST_REASONS).join("; "),
    outputs: { files: files.length, bytes: files.reduce((sum, { bytes }) => sum + bytes, 0) },
    revision: { made: revision ?? null, now: last.node.revision || (revision ?? 0) },
    manifests: known.map(({ manifest }) => manifest!),
  };
}

const MOST_REASONS = 3;
const LONGEST = 40; // characters of a value that is printed
const valueText = (value: unknown) => value === undefined ? "not set" : JSON.stringify(value);

function explainState(
  { node, state, because, manifest }: NodeState,
  before?: StageState,
): string | undefined {
  if (state === "damaged") {
    return manifest || because === MANIFEST ? `${because} is damaged` : because;
  }
  if (state === "waits") {
    return before && before.state !== "missing"
      ? `"${before.stage}" is ${before.state}`
      : undefined;
  }
  if (state !== "changed") return undefined;
  if (because === "revision") {
    return `revision ${manifest!.revision} made it, this is revision ${node.revision}`;
  }
  if (because === "version") return "another version made it";
  if (because! in node.settings || because! in manifest!.settings) {
    const [then, now] = [manifest!, node].map(({ settings }) => valueText(settings[because!]));
    return then.length + now.length > LONGEST
      ? `${because} changed`
      : `${because} was ${then}, it is ${now}`;
  }
  return `it was made from other ${because}`;
}
