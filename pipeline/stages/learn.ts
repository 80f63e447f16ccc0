/**
 * The partitioner of a run: what says what a sequence costs every expert. Routers learn round by round; other kinds learn at once.
 *
 * @module
 */

import type { Maker, Making, Node } from "../graph/node.ts";
import { PARTITIONER, TOKENIZER } from "../graph/places.ts";
import { kindOf, PARTITIONERS } from "../partition/partitioners.ts";
import type { PartitionerKind } from "../partition/partitioner.ts";
import { type Configuration, namesOf } from "../settings/configuration.ts";
import { OPTIMISER } from "../settings/experts.ts";
import type { Block } from "../text/blocks.ts";
import { LEARN, roundNode, roundNodes, START } from "./rounds.ts";
import { openNeeded } from "./token_rows.ts";
import { ALL_TRAIN, type SourceCounts, tokensOf, trainFiles } from "./tokenize.ts";

export { LEARN, PARTITIONER };

/** Makes the nodes that learn the partitioner; the last one is the partitioner itself. */
export function learnNodes(configuration: Configuration, blocks: readonly Block[]): Node[] {
  const kind = kindOf(configuration);
  if (kind.kind !== "em") return [learnNode(PARTITIONER, kind, configuration, blocks)];
  const optimiser = Object.fromEntries(namesOf(OPTIMISER).map((name) => [name, configuration[name]]));
  const start = configuration.start === "ctbm"
    ? [learnNode(START, PARTITIONERS.get("ctbm")!, configuration, blocks)]
    : [];
  return [
    ...start,
    ...roundNodes({ configuration, blocks, optimiser }),
    routersNode(configuration, blocks, start.length > 0),
  ];
}

/** Makes the node of a kind that learns at once. */
function learnNode(
  name: string,
  kind: PartitionerKind,
  configuration: Configuration,
  blocks: readonly Block[],
): Node {
  const settings = Object.fromEntries(kind.settings.map((name) => [name, configuration[name]]));
  const maker: Maker = {
    stage: LEARN,
    async make([making], { emit, signal }) {
      using rows = await openNeeded(making, trainFiles(blocks));
      const { vocabulary, eos, tokenizer } = rows.lineage!;
      const { sha256, result } = await kind.learn!({
        ...{ configuration, folder: making.folder, rows, signal },
        tokens: { vocabulary: vocabulary!, eos: eos!, tokenizer: tokenizer! },
        sources: tokensBySource(making, blocks),
        progress: (done, total, unit) => emit({ type: "progress", stage: LEARN, done, total, unit }),
      });
      return [{ routers: sha256, ...result }];
    },
  };
  return {
    name,
    needs: [ALL_TRAIN],
    settings: { partitioner: kind.kind, ...settings },
    revision: kind.revision,
    maker,
  };
}

/** Adds up the training tokens of every source. */
function tokensBySource(making: Making, blocks: readonly Block[]): Map<string, number> {
  const totals = new Map<string, number>();
  for (const block of blocks) {
    const sources = making.manifest(tokensOf(block)).result.sources as Record<string, SourceCounts>;
    for (const [source, { tokens: { train } }] of Object.entries(sources)) {
      if (train > 0) totals.set(source, (totals.get(source) ?? 0) + train);
    }
  }
  return totals;
}

/** Makes the node that puts together the routers of the last round. */
function routersNode(configuration: Configuration, blocks: readonly Block[], withStart: boolean): Node {
  const { experts, rounds } = configuration;
  const last = Array.from({ length: experts }, (_, router) => roundNode(rounds, router));
  return {
    name: PARTITIONER,
    needs: [TOKENIZER, ALL_TRAIN, ...withStart ? [START] : [], ...last],
    settings: {
      partitioner: "em",
      experts,
      rounds,
      prefix: configuration.prefix,
      roundSequences: configuration.roundSequences,
    },
    revision: 1,
    maker: {
      stage: LEARN,
      make: async (
        [making],
        work,
      ) => [await (await import("./round_bank.ts")).joinRouters(making, work, configuration, blocks)],
    },
  };
}
