/**
 * Routers that learn by expectation maximisation: a node for every router and round. A node reads what all routers of the round before say
 * of the same sequences, so it knows its part; it trains its router on that, and scores the next sequences. Nothing else is exchanged.
 *
 *     rounds/start/                clusters of TF-IDF, where routers begin with their parts
 *     rounds/03/router-02/         state.safetensors, scores.safetensors, round.json; of router 0 also rounds.jsonl
 *
 * @module
 */

import type { Maker, Node } from "../graph/node.ts";
import type { Configuration } from "../settings/configuration.ts";
import type { Block } from "../text/blocks.ts";
import { ALL_TRAIN } from "./tokenize.ts";

/** Name of the stage. */
export const LEARN = "train-routers";

const two = (number: number) => String(number).padStart(2, "0");

/** Names the node of a router after a round. */
export const roundNode = (round: number, router: number): string =>
  `rounds/${two(round)}/router-${two(router)}`;

/** Name of the node of the clusters that routers begin with. */
export const START = "rounds/start";

/** Settings that a round depends on, whatever the number of rounds to come. */
const SETTINGS = [
  ...["experts", "prefix", "prefixLengths", "roundSequences", "seed"] as const,
  ...["routerHidden", "routerLayers", "routerHeads", "routerBatch", "routerRate", "routerWarmup"] as const,
] as const;

/** What the routers of a round have to go by. */
export interface RoundsOfText {
  configuration: Configuration;
  blocks: readonly Block[];
  /** Names and values of the optimiser's settings. */
  optimiser: Record<string, unknown>;
}

/** Makes the nodes of all rounds, after that of the clusters they begin with, if they do. */
export function roundNodes(of: RoundsOfText): Node[] {
  const { experts, rounds, start, fixed } = of.configuration;
  const settings = {
    ...Object.fromEntries(SETTINGS.map((name) => [name, of.configuration[name]])),
    ...of.optimiser,
    ...fixed ? { fixed } : {},
  };
  let bank: import("./round_bank.ts").RoundBank | undefined;
  return Array.from({ length: rounds }, (_, i) => i + 1).flatMap((round) => {
    const maker: Maker = {
      stage: LEARN,
      together: experts,
      async make(all, work) {
        const { RoundBank } = await import("./round_bank.ts");
        return await (bank ??= new RoundBank(of)).make(round, all, work);
      },
      close: () => bank?.close(),
    };
    const before = round === 1
      ? []
      : Array.from({ length: experts }, (_, other) => roundNode(round - 1, other));
    return Array.from({ length: experts }, (_, router): Node => ({
      name: roundNode(round, router),
      needs: [
        ALL_TRAIN,
        ...start === "ctbm" && (round === 1 || fixed) ? [START] : [],
        ...before,
      ],
      settings: { ...settings, round, router, ...round === 1 ? { start } : {} },
      revision: 1,
      temporary: true,
      maker,
    }));
  });
}
