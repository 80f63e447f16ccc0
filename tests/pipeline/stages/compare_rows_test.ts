import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { compareRows } from "../../../pipeline/stages/compare_rows.ts";
import type { Columns } from "../../../pipeline/rows/arrow.ts";
import { takeColumns } from "../../../pipeline/rows/columns.ts";
import { batchesOf, E, rowsOf } from "../partition/support.ts";

const ROWS = 24;

/** A partition in memory: rows as every stage has them, and the numbers of the rows of each expert's part. */
function partition() {
  const { nll, expert, ...tokens } = rowsOf(ROWS);
  const scores = () => {
    const { document: _, source: __, tokens: ___, ...bare } = rowsOf(ROWS);
    return bare;
  };
  const numbers = Array.from(
    { length: E },
    (_, e) => Array.from({ length: ROWS }, (_, row) => row).filter((row) => expert![row] === e),
  );
  const parts: Columns[] = numbers.map((rows) => takeColumns({ ...tokens, nll }, rows));
  return { tokens: tokens as Columns, assigned: scores(), assignments: scores(), parts, numbers };
}

/** Compares; gives the differences, "place: what". */
async function differences(
  { tokens, assigned, assignments, parts }: Partial<ReturnType<typeof partition>>,
  { batch = 5, most = Infinity } = {},
): Promise<{ found: string[]; loads: number[]; counted: number[] }> {
  const found: string[] = [];
  const counted: number[] = [];
  const loads = await compareRows(
    {
      tokens: batchesOf(tokens!, batch),
      assigned: assigned && batchesOf(assigned, batch + 1),
      assignments: assignments && batchesOf(assignments, batch + 2),
      parts: parts!.map((part, i) => batchesOf(part, batch + i)),
    },
    (place, what) => found.push(`${place}: ${what}`) < most,
    (rows) => counted.push(rows),
  );
  return { found, loads, counted };
}

Deno.test("compareRows() finds nothing wrong with a partition, however its rows come in batches, and counts it", async () => {
  const whole = partition();
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 1, max: 30 }), async (batch) => {
      const { found, loads, counted } = await differences(whole, { batch });
      assertEquals([found, loads], [[], whole.numbers.map((rows) => rows.length)]);
      assertEquals(counted.at(-1), ROWS);
    }),
    { numRuns: 10 },
  );
  const { assigned: _, assignments: __, ...bare } = whole;
  assertEquals((await differences(bare)).found, []);
});

/** What is done to a partition, and what must be said of it. */
const DAMAGES: [what: string, damage: (whole: ReturnType<typeof partition>) => void, said: RegExp][] = [
  [
    "a token that changed",
    ({ parts }) => parts[1].tokens![2] ^= 1,
    /^the batch, row 0: tokens of sequence \d+ must/,
  ],
  [
    "a label that changed",
    ({ parts }) => parts[0].source![1] = "other",
    /: source of sequence \d+ must be that of/,
  ],
  ["a cost that changed", ({ parts }) => parts[2].nll![0] += 1, /: nll of sequence \d+ must be that of/],
  [
    "another assignment",
    ({ assignments }) => assignments.expert![3] = (assignments.expert![3] + 1) % E,
    /: expert of sequence 103 must be that of/,
  ],
  [
    "a row that is lost",
    (whole) => whole.parts[0] = takeColumns(whole.parts[0], [...Array(whole.parts[0].rows).keys()].slice(1)),
    /must be in one expert's shards, in the order of the tokens: it is not/,
  ],
  [
    "a row that is there twice",
    (whole) => whole.parts[1] = takeColumns(whole.parts[1], [0, ...Array(whole.parts[1].rows).keys()]),
    /1 rows must not be here: they are of no token row, a second time, or out of order/,
  ],
  [
    "rows behind the last",
    (whole) =>
      whole.parts[1] = takeColumns(whole.parts[1], [
        ...Array(whole.parts[1].rows).keys(),
        whole.parts[1].rows - 1,
      ]),
    /the tokens have no more rows, or not in this order: 1 follow here/,
  ],
  [
    "scores of other sequences",
    ({ assigned }) => assigned.sequence[4] += 1000n,
    /scores must follow the tokens: here they have sequence 104, it has sequence 1104/,
  ],
];

for (const [what, damage, said] of DAMAGES) {
  Deno.test(`compareRows() names ${what}`, async () => {
    const whole = partition();
    damage(whole);
    const { found } = await differences(whole);
    assert(found.some((line) => said.test(line)), found.join("\n"));
  });
}

Deno.test("compareRows() names a row that lies with another expert than its scores say", async () => {
  const whole = partition();
  const { numbers } = whole;
  const all = { ...rowsOf(ROWS), expert: undefined };
  const moved = numbers[0][0];
  const rows = [numbers[0].slice(1), [...numbers[1], moved].sort((a, b) => a - b), numbers[2]];
  const { found, loads } = await differences({ ...whole, parts: rows.map((own) => takeColumns(all, own)) });
  assertEquals(found.length, 1);
  assert(
    found[0].endsWith(`sequence ${100 + moved} must be with the expert of its scores: that is 0`),
    found[0],
  );
  assertEquals(loads, rows.map((own) => own.length));
});

Deno.test("compareRows() stops where it is told that this is enough", async () => {
  const whole = partition();
  whole.parts[0] = takeColumns(whole.parts[0], []);
  const all = (await differences(whole)).found;
  assert(all.length > 2);
  assertEquals((await differences(whole, { most: 2 })).found, all.slice(0, 2));
});
