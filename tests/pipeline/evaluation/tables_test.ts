import { assertEquals } from "@std/assert";
import type { Routed } from "../../../pipeline/evaluation/routes.ts";
import { createTable } from "../../../pipeline/evaluation/tables.ts";

const ROWS = Array.from({ length: 12 }, (_, row) => ({
  ...{ document: Math.floor(row / 3), source: Math.floor(row / 6), predicted: 5 + row % 4 },
  ...{ expert: Number(row > 3), nll: 10 + row * 5 % 7 },
}));
type Row = typeof ROWS[number];
const column = <Name extends keyof Row>(name: Name) => ROWS.map((row) => row[name]);
const ROUTED: Routed = {
  ...{
    sequenceLength: 12,
    counts: ROWS.map(() => true),
    margin: ROWS.map(() => 0),
    sources: ["sea", "code"],
    unknown: 0,
  },
  ...{ document: column("document"), source: column("source"), predicted: column("predicted") },
  routes: new Map([[6, { expert: column("expert"), costs: [] }]]),
  documents: [0n, 1n, 2n, 3n].map((id) => ({ id, source: Number(id) >> 1 })),
};

Deno.test("createTable() sums up by document, source and chosen expert, also what is added to a column later", () => {
  const table = createTable(ROUTED, { prefix: 6, experts: 3 });
  table.add("dense", (row) => ROWS[row].nll);
  table.add("dense", () => 0.5);
  for (
    const [by, groups, name] of [["document", 4, "document"], ["source", 2, "source"], [
      "segment",
      3,
      "expert",
    ]] as const
  ) {
    const { sequences, tokens, nll } = table[by];
    for (let group = 0; group < groups; group++) {
      const own = ROWS.filter((row) => row[name] === group);
      const sum = (of: (row: Row) => number) => own.reduce((total, row) => total + of(row), 0);
      assertEquals(
        [sequences[group], tokens[group], nll.dense[group]],
        [own.length, sum(({ predicted }) => predicted), sum(({ nll }) => nll + 0.5)],
        `${by} ${group}`,
      );
    }
  }
});
