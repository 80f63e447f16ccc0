import { assertEquals, assertRejects } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { writeRunConfiguration } from "../../../pipeline/graph/configuration.ts";
import { partNode } from "../../../pipeline/graph/node.ts";
import {
  addSides,
  partsAlone,
  readParts,
  type SideCounts,
  sideCounts,
} from "../../../pipeline/stages/parts.ts";
import { inFolder } from "../../tasks/support.ts";
import { handGraph, handNode, makeNodes } from "./support.ts";

/** Counts of sequences of four tokens each, by source. */
const side = (sequences: Record<string, number>): SideCounts => {
  const counts = Object.entries(sequences);
  const total = counts.reduce((sum, [, count]) => sum + count, 0);
  return {
    sequences: total,
    tokens: 4 * total,
    wanted: 1,
    cost: 2.5 * total,
    lowest: 2 * total,
    nllPerToken: 2.5,
    predicted: total,
    sources: Object.fromEntries(
      counts.map(([source, count]) => [source, { sequences: count, tokens: 4 * count }]),
    ),
  };
};

const PARTS = [
  { expert: 0, train: side({ prose: 3, code: 1 }), test: side({ prose: 1 }), assignments: ["a"] },
  { expert: 1, train: side({ prose: 2 }), test: side({}), assignments: ["a", "b"] },
];

Deno.test("readParts() reads what manifests count of each expert, and names the one that is missing", () =>
  inFolder(async (run) => {
    const { configuration } = handGraph(run, [], { experts: 2 });
    const [first, second] = PARTS.map((part) =>
      handNode(partNode(part.expert, 2), () => Promise.resolve(part))
    );
    await writeRunConfiguration(run, configuration);
    await makeNodes(run, [first]);
    const error = await assertRejects(() => readParts(run), InputError, "expert-01");
    assertEquals(error.where, `${run}/${partNode(1, 2)}/manifest.json`);

    await makeNodes(run, [second]);
    const { parts, settings } = await readParts(run);
    assertEquals(settings.configuration.experts, 2);
    assertEquals(
      parts.map(({ expert, train, test, assignments }) => ({ expert, train, test, assignments })),
      PARTS,
    );
    assertEquals(await partsAlone(run), [0, 1]);
  }));

Deno.test("addSides() adds up sequences, costs and sources, and nothing that is not known", () => {
  const [{ train, test }] = PARTS;
  const sum = addSides([train, test].map(sideCounts));
  assertEquals(sum, {
    sequences: 5,
    tokens: 20,
    wanted: 2,
    cost: 12.5,
    lowest: 10,
    predicted: 5,
    sources: new Map([
      ["prose", { sequences: 4, tokens: 16 }],
      ["code", { sequences: 1, tokens: 4 }],
    ]),
  });
  const unknown = addSides([train, { ...test, predicted: null }].map(sideCounts));
  assertEquals(unknown.predicted, NaN);
});
