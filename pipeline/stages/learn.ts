/**
 * The partitioner of a run: what says what a sequence costs every expert. Other kinds than routers learn at once.
 *
 * Routers learn by expectation maximisation: a node for every router and round. A node reads what all routers of the round before say
 * of the same sequences, so it knows its part; it trains its router on that, and scores the next sequences. Nothing else is exchanged.
 *
 *     rounds/start/                clusters of TF-IDF, where routers begin with their parts
 *     rounds/03/router-02/         state.safetensors, scores.safetensors, round.json; of router 0 also rounds.jsonl
 *
 * @module
 */

import { ALL_TRAIN, LEARN, type Maker, type Node, oneByOne, TOKENIZER } from "../graph/node.ts";
import { findKind, PARTITIONERS } from "../partition/partitioners.ts";
import type { PartitionerKind } from "../partition/partitioner.ts";
import { type Configuration, listNames } from "../settings/configuration.ts";
import { OPTIMISER } from "../settings/experts.ts";
import type { Branch } from "../partition/tree/branches.ts";
import { branchRows, branchUnit, partitionerNode, rowNeeds, TRAIN } from "./token_rows.ts";
import type { GraphOf } from "./stages.ts";
import { countSources } from "./tokenize.ts";

/** Names the node of the clusters that routers begin with. */
export const startNode = (branch?: Branch): string => `${roundsFolder(branch)}/start`;

const roundsFolder = (branch?: Branch) => branch ? `rounds/${branch.name}` : "rounds";

const two = (number: number) => String(number).padStart(2, "0");

/** Names the node of a router after a round. */
export const roundNode = (round: number, router: number, branch?: Branch): string =>
  `${roundsFolder(branch)}/${two(round)}/router-${two(router)}`;

/** Names the nodes of all routers after a round. */
const listRound = (round: number, { configuration: { experts }, branch }: GraphOf): string[] =>
  Array.from({ length: experts }, (_, router) => roundNode(round, router, branch));

const pickValues = (configuration: Configuration, names: readonly (keyof Configuration)[]) =>
  Object.fromEntries(names.map((name) => [name, configuration[name]]));

/** Makes the nodes that learn the partitioner, or that of a branch; the last one is the partitioner itself. */
export function learnNodes(of: GraphOf): Node[] {
  const kind = findKind(of.configuration), { branch } = of;
  if (kind.kind !== "em") return [learnNode(partitionerNode(branch), kind, of)];
  const start = of.configuration.start === "ctbm"
    ? [learnNode(startNode(branch), PARTITIONERS.get("ctbm")!, of)]
    : [];
  return [...start, ...roundNodes(of), routersNode(of, start.map(({ name }) => name))];
}

/** Makes the node of a kind that learns at once. */
function learnNode(name: string, kind: PartitionerKind, of: GraphOf): Node {
  const { configuration, blocks, branch } = of;
  return {
    name,
    ...branchUnit(branch),
    needs: [ALL_TRAIN, ...rowNeeds(branch)],
    settings: { partitioner: kind.kind, ...pickValues(configuration, kind.settings) },
    revision: kind.revision,
    maker: oneByOne(LEARN, async (making, { emit, signal }) => {
      using rows = await branchRows(making, of, TRAIN);
      const { vocabulary, eos, tokenizer } = rows.lineage!;
      const sources = [...countSources(making, blocks)].map(([name, { tokens }]) =>
        [name, tokens.train] as const
      );
      const { sha256, result } = await kind.learn!({
        ...{ configuration, folder: making.folder, rows, signal },
        tokens: { vocabulary: vocabulary!, eos: eos!, tokenizer: tokenizer! },
        sources: new Map(sources.filter(([, tokens]) => tokens > 0)),
        progress: (done, total, unit) => emit({ type: "progress", stage: LEARN, done, total, unit }),
      });
      return { routers: sha256, ...result };
    }),
  };
}

/** Settings that a round depends on, whatever the number of rounds to come. */
const SETTINGS = [
  ...["experts", "prefix", "prefixLengths", "roundSequences", "seed"] as const,
  ...["routerHidden", "routerLayers", "routerHeads", "routerBatch", "routerRate", "routerWarmup"] as const,
  ...listNames(OPTIMISER),
];

/** Makes the nodes of all rounds. */
function roundNodes(of: GraphOf): Node[] {
  const { configuration: { experts, rounds, start, fixed }, branch } = of;
  const settings = { ...pickValues(of.configuration, SETTINGS), ...fixed ? { fixed } : {} };
  let bank: import("./round_bank.ts").RoundBank | undefined;
  return Array.from({ length: rounds }, (_, i) => i + 1).flatMap((round) => {
    const maker: Maker = {
      stage: LEARN,
      together: experts,
      async make(all, work) {
        const { RoundBank } = await import("./round_bank.ts");
        bank ??= new RoundBank(of);
        const results = await bank.make(round, all, work);
        if (round === rounds) bank.close(); // another process may join the routers
        return results;
      },
      close: () => bank?.close(),
    };
    return listRound(round, of).map((name, router): Node => ({
      name,
      ...branchUnit(branch),
      needs: [
        ...[ALL_TRAIN, ...rowNeeds(branch)],
        ...start === "ctbm" && (round === 1 || fixed) ? [startNode(branch)] : [],
        ...round === 1 ? [] : listRound(round - 1, of),
      ],
      settings: { ...settings, round, router, ...round === 1 ? { start } : {} },
      revision: 1,
      temporary: true,
      maker,
    }));
  });
}

/** Makes the node that puts together the routers of the last round. */
function routersNode(of: GraphOf, start: readonly string[]): Node {
  const { configuration: { experts, rounds, prefix, roundSequences }, branch } = of;
  return {
    name: partitionerNode(branch),
    ...branchUnit(branch),
    needs: [TOKENIZER, ALL_TRAIN, ...rowNeeds(branch), ...start, ...listRound(rounds, of)],
    settings: { partitioner: "em", experts, rounds, prefix, roundSequences },
    revision: 1,
    maker: oneByOne(
      LEARN,
      async (making, work) => await (await import("./round_bank.ts")).joinRouters(making, work, of),
    ),
  };
}
