/** A stage as a script adds one: it counts the sequences of every expert. */

import { type GraphOf, type Making, partNode, STAGES } from "../mod.ts";

/** Seconds that it takes for each expert, as it says. */
export const SECONDS = 7;

const maker = {
  stage: "toy",
  make: (all: readonly Making[]) =>
    Promise.all(all.map(async ({ node, manifest, write }) => {
      const { sequences } = manifest(node.needs[0]).result.train as { sequences: number };
      await write("sequences.txt", String(sequences));
      return { sequences };
    })),
};

STAGES.set("toy", {
  about: "Counts the sequences of every expert.",
  settings: [],
  nodes: ({ configuration: { experts } }: GraphOf) =>
    Array.from({ length: experts }, (_, expert) => ({
      name: `toy/${expert}`,
      needs: [partNode(expert, experts)],
      settings: { expert },
      revision: 1,
      maker,
    })),
  estimate: ({ configuration: { experts } }) => ({
    seconds: SECONDS * experts,
    diskBytes: 10 * experts,
    memoryBytes: 5e6,
  }),
});
