/**
 * The partitioner of a run: what says what a sequence costs every expert. Other kinds than routers
 * learn at once.
 *
 * Routers learn by expectation maximisation: a node for every router and round. A node reads what
 * all routers of the round before say of the same sequences, so it knows its part; it trains its
 * router on that, and scores the next sequences. Nothing else is exchanged.
 *
 *     rounds/start/            clusters of TF-IDF, where routers begin with their parts
 *     rounds/03/router-02/     state.safetensors, scores.safetensors, round.json
 *     rounds/03/router-00/     the same, and rounds.jsonl
 *
 * A tree of partitioners is the method applied to its own output. Each branch learns from the rows
 * that the level above assigned to it, scores these and assigns them. It does so in nodes of its
 * own, so branches are made anywhere and in any order.
 *
 *     rounds/branch-02/03/router-01/     a round of branch 2
 *     branches/branch-02/                its routers
 *     scores/branch-02/                  the costs of its rows for each of its experts
 *     assignments/branch-02/             the experts of its rows
 *     partitioner/                       the partitioners of all branches
 *     assignments/all/                   the experts of all rows, by block
 *
 * @module
 */

import { linkFiles } from "../graph/folder.ts";
import {
  ALL_TRAIN,
  ASSIGN,
  LEARN,
  type Maker,
  type Making,
  type Node,
  oneByOne,
  PARTITIONER,
  TOKENIZER,
} from "../graph/node.ts";
import {
  type PartitionerKind,
  readDescription,
  writeDescription,
} from "../partition/partitioner.ts";
import { findKind, identifyPartitioner, PARTITIONERS } from "../partition/partitioners.ts";
import { type Branch, branchName, listBranches } from "../partition/tree/branches.ts";
import { type RecordBatch, toTable } from "../rows/arrow.ts";
import type { Read, Rows } from "../rows/random_access.ts";
import { type Configuration, FIELDS, isDefault, listNames } from "../settings/configuration.ts";
import { OPTIMISER } from "../settings/experts.ts";
import { countExperts, ROUTER_SHAPE } from "../settings/partitioner.ts";
import { assignNodes, hashOrder, writeAssigned } from "./assign.ts";
import { scoreNodes } from "./score.ts";
import type { GraphOf } from "./stage.ts";
import {
  assignmentNode,
  branchRows,
  type NamedRows,
  openAssigned,
  partitionerNode,
  roundNode,
  rowNeeds,
  scoresNode,
  startNode,
  TRAIN,
} from "./token_rows.ts";
import { countSources } from "./tokenize.ts";

const listRound = (round: number, graph: GraphOf): string[] =>
  Array.from(
    { length: graph.configuration.experts },
    (_, router) => roundNode(round, router, graph),
  );

const pickValues = (configuration: Configuration, names: readonly (keyof Configuration)[]) =>
  Object.fromEntries(
    names.filter((name) => !FIELDS[name].isLater || !isDefault(name, configuration[name]))
      .map((name) => [name, configuration[name]]),
  );

/**
 * Makes the nodes that learn the partitioner, or that of a branch; the last one is the partitioner
 * itself.
 */
export function learnNodes(graph: GraphOf): Node[] {
  const kind = findKind(graph.configuration);
  if (kind.kind !== "em") return [learnNode(partitionerNode(graph.branch), kind, graph)];
  const start = graph.configuration.start === "ctbm"
    ? [learnNode(startNode(graph), PARTITIONERS.get("ctbm")!, graph)]
    : [];
  return [...start, ...roundNodes(graph), routersNode(graph, start.map(({ name }) => name))];
}

/** Makes the node of a kind that learns at once. */
function learnNode(name: string, kind: PartitionerKind, graph: GraphOf): Node {
  const { configuration, blocks } = graph;
  return {
    name,
    needs: [ALL_TRAIN, ...rowNeeds(graph)],
    settings: { partitioner: kind.kind, ...pickValues(configuration, kind.settings) },
    revision: kind.revision,
    maker: oneByOne(LEARN, async (making, { emit, signal }) => {
      using rows = await branchRows(making, graph, TRAIN);
      const { vocabulary, eos, tokenizer } = rows.lineage!;
      const sources = [...countSources(making, blocks)].map(([name, { tokens }]) =>
        [name, tokens.train] as const
      );
      const { sha256, result } = await kind.learn!({
        configuration,
        folder: making.folder,
        rows,
        signal,
        tokens: { vocabulary: vocabulary!, eos: eos!, tokenizer: tokenizer! },
        sources: new Map(sources.filter(([, tokens]) => tokens > 0)),
        progress: (done, total, unit) =>
          emit({ type: "progress", stage: LEARN, done, total, unit }),
      });
      return { routers: sha256, ...result };
    }),
  };
}

/** Settings that a round depends on, whatever the number of rounds to come. */
const SETTINGS = [
  ...["experts", "prefix", "prefixLengths", "roundSequences", "seed"] as const,
  ...[
    "routerHidden",
    "routerLayers",
    "routerHeads",
    ...ROUTER_SHAPE,
    "routerBatch",
    "routerRate",
    "routerWarmup",
  ] as const,
  ...listNames(OPTIMISER),
];

function roundNodes(graph: GraphOf): Node[] {
  const { experts, rounds, start, fixed } = graph.configuration;
  const settings = { ...pickValues(graph.configuration, SETTINGS), ...fixed ? { fixed } : {} };
  let bank: import("./round_bank.ts").RoundBank | undefined;
  const maker: Maker = {
    stage: LEARN,
    together: experts, // those of a round, as the next ones need all of them
    async make(all, work) {
      const { RoundBank } = await import("./round_bank.ts");
      bank ??= new RoundBank(graph);
      return await bank.make(Number(all[0].node.settings.round), all, work);
    },
    close: () => bank?.close(),
  };
  return Array.from({ length: rounds }, (_, i) => i + 1).flatMap((round) =>
    listRound(round, graph).map((name, router): Node => ({
      name,
      needs: [
        ...[ALL_TRAIN, ...rowNeeds(graph)],
        ...start === "ctbm" && (round === 1 || fixed) ? [startNode(graph)] : [],
        ...round === 1 ? [] : listRound(round - 1, graph),
      ],
      settings: { ...settings, round, router, ...round === 1 ? { start } : {} },
      revision: 1,
      temporary: true,
      maker,
    }))
  );
}

/** Makes the node that puts together the routers of the last round. */
function routersNode(graph: GraphOf, start: readonly string[]): Node {
  const { experts, rounds, prefix, roundSequences } = graph.configuration;
  return {
    name: partitionerNode(graph.branch),
    needs: [TOKENIZER, ALL_TRAIN, ...rowNeeds(graph), ...start, ...listRound(rounds, graph)],
    settings: { partitioner: "em", experts, rounds, prefix, roundSequences },
    revision: 1,
    maker: oneByOne(
      LEARN,
      async (making, work) =>
        await (await import("./round_bank.ts")).joinRouters(making, work, graph),
    ),
  };
}

/**
 * Makes the nodes that divide the text, by the stages in whose place they come. In a tree the
 * branches of a level need the assignment of the level above. So all but the last level are scored
 * and assigned among the learning.
 */
export async function dividingNodes(
  graph: GraphOf,
): Promise<Record<"learn" | "score" | "assign", Node[]>> {
  const { levels, routers } = graph.configuration;
  const isTree = levels.length > 0;
  const learn: Node[] = [];
  const score: Node[] = [];
  const assign: Node[] = [];
  const first = routers === "" ? learn : score;
  for (
    const branchGraph of isTree
      ? listBranches(levels).map((branch) => takeBranch(graph, branch))
      : [graph]
  ) {
    if (routers === "") learn.push(...learnNodes(branchGraph));
    const isAbove = branchGraph.branch && branchGraph.branch.length + 1 < levels.length;
    (isAbove ? first : score).push(...await scoreNodes(branchGraph));
    (isAbove ? first : assign).push(...await assignNodes(branchGraph));
  }
  if (isTree && routers === "") learn.push(treeNode(graph));
  if (isTree) assign.push(joinedNode(graph));
  return { learn, score, assign };
}

/** Gives what the nodes of a branch are made of. */
function takeBranch({ configuration, ...graph }: GraphOf, branch: Branch): GraphOf {
  const routers = configuration.routers && `${configuration.routers}/${branchName(branch)}`;
  const experts = configuration.levels[branch.length];
  return { ...graph, configuration: { ...configuration, routers, experts, levels: [] }, branch };
}

/** Makes the node of the tree, which links the partitioners of all branches. */
function treeNode({ configuration: { experts, levels, prefix, rounds } }: GraphOf): Node {
  const branches = listBranches(levels);
  const [root] = branches;
  return {
    name: PARTITIONER,
    needs: branches.map(partitionerNode),
    settings: { partitioner: "tree", experts, levels, prefix, rounds },
    revision: 1,
    maker: oneByOne(LEARN, async ({ folder, path, manifest, link }) => {
      for (const branch of branches) {
        const need = partitionerNode(branch);
        await linkFiles({ link }, path(need), manifest(need).files, `${branchName(branch)}/`);
      }
      const description = (await readDescription(path(partitionerNode(root))))!;
      await writeDescription(folder, { ...description, kind: "tree", experts, levels });
      const { sha256 } = await identifyPartitioner(folder);
      return { ...manifest(partitionerNode(root)).result, routers: sha256 };
    }),
  };
}

/**
 * Makes the node that says of the rows of all blocks to which expert they go, and what that costs.
 */
function joinedNode(graph: GraphOf): Node {
  const { configuration: { experts, levels }, blocks } = graph;
  const branchAssignments = listBranches(levels).map(assignmentNode);
  return {
    name: assignmentNode(),
    needs: [...blocks.map(scoresNode), ...branchAssignments],
    settings: { experts, levels, order: hashOrder(blocks.map(({ name }) => name)) },
    revision: 1,
    maker: oneByOne(ASSIGN, async (making) => {
      const loads = new Array<number>(experts).fill(0);
      for (const side of ["train", "test"] as const) {
        using joined = await JoinedRows.open(making, blocks, levels, side);
        const batch = (from: number, to: number) => {
          const rows = joined.next(to - from);
          if (side === "train") { for (const chosen of rows.expert) loads[chosen]++; }
          return joined.batch(rows);
        };
        await writeAssigned(making, graph, side, { count: joined.count, batch });
      }
      const { costs } = making.manifest(branchAssignments[0]).result;
      return {
        sequences: loads.reduce((a, b) => a + b),
        experts,
        loads,
        ...costs ? { costs } : {},
      };
    }),
  };
}

const ASSIGNED = ["sequence", "expert", "best", "cost", "lowest"] as const;

/**
 * The rows of a side of a tree, as the assignments of all branches say together where they go. A
 * cost is that of the last level; `lowest` is below it by what each row lost on all levels by going
 * where there was room. Rows are read in their order, so many at a time: those of a branch follow
 * one another in the order of the rows above it.
 */
export class JoinedRows implements Disposable {
  /** Number of rows. */
  readonly count: number;
  readonly #places: Map<string, number>; // of the next row of each branch

  private constructor(
    private readonly levels: readonly number[],
    private readonly assigned: ReadonlyMap<string, Rows>,
  ) {
    this.count = assigned.get(branchName([]))!.count;
    this.#places = new Map(assigned.keys().map((name) => [name, 0]));
  }

  /** Opens the assignments of all branches. */
  static async open(
    making: Pick<Making, "path" | "manifest">,
    blocks: readonly NamedRows[],
    levels: readonly number[],
    side: "train" | "test",
  ): Promise<JoinedRows> {
    const assigned = new Map<string, Rows>();
    for (const branch of listBranches(levels)) {
      assigned.set(
        branchName(branch),
        await openAssigned(making, { blocks, branch }, `${side}.arrow`),
      );
    }
    return new JoinedRows(levels, assigned);
  }

  /** Reads the next rows. */
  next(rows: number): Read<typeof ASSIGNED[number]> {
    return this.#next([], new Float32Array(rows));
  }

  /** Makes a batch of rows that were read. */
  batch({ rows: _, ...columns }: Read<typeof ASSIGNED[number]>): RecordBatch {
    const { lineage } = this.assigned.get(branchName([]))!;
    const experts = countExperts(this.levels);
    return toTable(columns, { ...lineage!, experts, routers: undefined });
  }

  /** Reads the next rows of a branch, each of which `lost` so much on the levels above. */
  #next(branch: Branch, lost: Float32Array): Read<typeof ASSIGNED[number]> {
    const name = branchName(branch);
    const assigned = this.assigned.get(name)!;
    const place = this.#places.get(name)!;
    this.#places.set(name, place + lost.length);
    const columns = assigned.read(assigned.numbers(place, place + lost.length), ASSIGNED);
    const { rows, expert, best, cost, lowest } = columns;
    for (let row = 0; row < rows; row++) lost[row] -= cost[row] - lowest[row];
    const [experts, ...below] = this.levels.slice(branch.length);
    if (below.length === 0) {
      for (let row = 0; row < rows; row++) lowest[row] = lost[row] + cost[row];
      return columns;
    }
    const width = countExperts(below);
    const rowsByChild = Array.from({ length: experts }, (): number[] => []);
    for (let row = 0; row < rows; row++) rowsByChild[expert[row]]?.push(row);
    for (const [child, places] of rowsByChild.entries()) {
      if (places.length === 0) continue;
      const lostSoFar = Float32Array.from(places, (row) => lost[row]);
      const deeper = this.#next([...branch, child], lostSoFar);
      for (const [i, row] of places.entries()) {
        expert[row] = child * width + deeper.expert[i];
        best[row] = child * width + deeper.best[i];
        cost[row] = deeper.cost[i];
        lowest[row] = deeper.lowest[i];
      }
    }
    return columns;
  }

  /** Closes the files. */
  [Symbol.dispose](): void {
    for (const rows of this.assigned.values()) rows[Symbol.dispose]();
  }
}
