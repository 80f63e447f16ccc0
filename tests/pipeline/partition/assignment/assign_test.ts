import {
  assert,
  assertEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import fc from "fast-check";
import { InputError, type Text, wordText } from "../../../../kernels/errors.ts";
import {
  emptyBatch,
  fromBatch,
  type RecordBatch,
  toBatch,
} from "../../../../pipeline/rows/arrow.ts";
import { type Lineage, readLineage } from "../../../../pipeline/rows/lineage.ts";
import { type Columns, concatColumns, sliceColumns } from "../../../../pipeline/rows/columns.ts";
import { assign } from "../../../../pipeline/partition/assignment/assign.ts";
import type { Proof } from "../../../../pipeline/partition/assignment/assignment.ts";
import { assignBalanced } from "../../../../pipeline/partition/assignment/balanced.ts";
import { uniform } from "../../../../pipeline/random.ts";
import type { Prices } from "../../../../pipeline/partition/assignment/prices.ts";
import { LINEAGE as ASSIGNED, makeAssignedColumns } from "../support.ts";

const { method: _, ...assigned } = ASSIGNED;
const LINEAGE: Lineage = { ...assigned, stage: "score" };

/** Scored rows with every other column, of E = 3. */
function scored(rows: number): Columns {
  const { expert: _, ...columns } = makeAssignedColumns(rows);
  return columns;
}

/** The rows in batches that end at `cuts`. */
function cutBatches(
  columns: Columns,
  cuts: number[],
  lineage: Lineage = LINEAGE,
): ReadableStream<RecordBatch> {
  const ends = [...cuts, columns.rows].sort((a, b) => a - b);
  return ReadableStream.from(
    ends.map((end, i) => toBatch(sliceColumns(columns, ends[i - 1] ?? 0, end), lineage)),
  );
}

/** A batch that another tool could have written. */
function foreign(columns: Columns): RecordBatch {
  const batch = toBatch(columns, LINEAGE);
  batch.schema.metadata.clear();
  return batch;
}

async function collect(stream: ReadableStream<RecordBatch>): Promise<Columns> {
  return concatColumns(await Array.fromAsync(stream, (batch) => fromBatch(batch)));
}

Deno.test("assign() assigns each chunk by itself and keeps every other column", async () => {
  const columns = scored(20);
  const result = await collect(assign(cutBatches(columns, []), { chunk: 6 }));
  const { expert, ...others } = result;
  assertEquals(others, columns);
  const predicted = columns.length.map((tokens) => Math.min(3, tokens) - 1);
  const expected = [0, 6, 12, 18].flatMap((from) => [
    ...assignBalanced(
      columns.nll!.subarray(from * 3, (from + 6) * 3),
      3,
      predicted.subarray(from, from + 6),
    ),
  ]);
  assertEquals([...expert!], expected);
});

Deno.test("assign() gives the same batches, of bounded size, however the input is cut", async () => {
  const large = assign(cutBatches(scored(3000), [10, 1500]), { chunk: 3000 });
  assertEquals(await Array.fromAsync(large, (batch) => batch.numRows), [1024, 1024, 952]);
  const columns = scored(40);
  const whole = await Array.fromAsync(
    assign(cutBatches(columns, []), { chunk: 9 }),
    (b) => fromBatch(b),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(fc.integer({ min: 0, max: 40 }), { maxLength: 8 }), async (cuts) => {
      const parts = await Array.fromAsync(
        assign(cutBatches(columns, cuts), { chunk: 9 }),
        (b) => fromBatch(b),
      );
      assertEquals(parts, whole);
    }),
    { numRuns: 50 },
  );
});

Deno.test("assign() holds no more than a chunk and stops its source when cancelled", async () => {
  let pulled = 0;
  let closed = false;
  const source = ReadableStream.from(async function* () {
    try {
      for (;; pulled++) yield toBatch(scored(3), LINEAGE);
    } finally {
      closed = true;
    }
  }());
  const reader = assign(source, { chunk: 6 }).getReader();
  await reader.read();
  assert(pulled <= 3, `pulled ${pulled} batches for one chunk of two`);
  await reader.cancel();
  assert(closed);
});

Deno.test("assign() writes its stage, method and configuration into the lineage", async () => {
  const [batch] = await Array.fromAsync(
    assign(cutBatches(scored(3), []), { chunk: 3, method: "argmax" }),
  );
  assertEquals(readLineage(batch), { ...LINEAGE, stage: "assign", method: "argmax" });
});

Deno.test("assign() passes input without rows on with its full schema", async () => {
  const empty = emptyBatch(["document", "source", "nll"], LINEAGE);
  const batches = await Array.fromAsync(assign(ReadableStream.from([empty, empty]), { chunk: 3 }));
  assertEquals(batches.length, 1);
  const full = toBatch({ ...scored(1), tokens: undefined, expert: Uint16Array.of(0) }, LINEAGE);
  assertEquals(String(batches[0].schema), String(full.schema));
  assertEquals(batches[0].numRows, 0);
  assertEquals(readLineage(batches[0])?.stage, "assign");
  const between = ReadableStream.from([empty, toBatch(scored(5), LINEAGE), empty]);
  assertEquals((await collect(assign(between, { chunk: 3 }))).expert!.length, 5);
});

Deno.test("assign() takes another tool's scores with a warning, or M from the option", async () => {
  const columns = scored(12);
  const warnings: string[] = [];
  const onWarning = (message: Text) => warnings.push(wordText(message));
  const plain = await collect(
    assign(ReadableStream.from([foreign(columns)]), { chunk: 12, onWarning }),
  );
  assertEquals(plain.expert, assignBalanced(columns.nll!, 3));
  assertEquals(warnings.length, 1);
  assertStringIncludes(warnings[0], "prefix");

  const reported = await collect(
    assign(ReadableStream.from([foreign(columns)]), { chunk: 12, prefix: 3, onWarning }),
  );
  assertEquals(
    reported.expert,
    assignBalanced(columns.nll!, 3, columns.length.map((t) => Math.min(3, t) - 1)),
  );
  assertEquals(warnings.length, 1);
});

Deno.test("assign() refuses options before it reads", () => {
  const pull = () => {
    throw new Error("read");
  };
  const never = () => new ReadableStream<RecordBatch>({ pull }, { highWaterMark: 0 });
  const refusals: [Parameters<typeof assign>[1], string][] = [
    [{ chunk: 0 }, "chunk is 0, experts is any; set chunk 1"],
    [{ chunk: 1.5 }, "use chunk as it must be an integer of at least 0: it is 1.5"],
    [{ chunk: 8, experts: 3 }, "set chunk 9"],
    [{ chunk: 8, experts: 0 }, "use experts as it must be an integer from 1 to 65535: it is 0"],
    [{ chunk: 8, prefix: 1 }, "use prefix as it must be"],
    [{ chunk: 8, method: "best" }, `it is "best"`],
  ];
  for (const [options, what] of refusals) {
    assertThrows(() => assign(never(), options), InputError, what);
  }
});

Deno.test("assign() refuses scores that do not fit, with both values", async () => {
  const good = toBatch(scored(3), LINEAGE);
  const two = { ...scored(3), nll: new Float32Array(6) };
  const bad = { ...scored(3), nll: Float32Array.of(0, 0, 0, 0, 0, NaN, 0, 0, 0) };
  const without = { ...scored(3), nll: undefined };
  const refusals: [RecordBatch[], Partial<Parameters<typeof assign>[1]>, string][] = [
    [[good], { chunk: 8 }, "chunk is 8, experts is 3"],
    [[good], { experts: 2 }, "experts is 3 in the former, 2 in the latter"],
    [[good], { prefix: 4 }, "prefix is 3 in the former, 4 in the latter"],
    [[foreign(two)], { experts: 3 }, "nll has 2 values per row, experts is 3"],
    [[good, foreign(two)], {}, "nll has 2 values per row, experts is 3"],
    [
      [good, toBatch(two, { ...LINEAGE, experts: 2 })],
      {},
      "experts is 2 in the former, 3 in the latter",
    ],
    [
      [good, toBatch(scored(3), { ...LINEAGE, routers: "ee" })],
      {},
      "routers is ee in the former, cd34 in",
    ],
    [[toBatch(scored(3), { ...LINEAGE, prefix: 1 })], {}, "use prefix as it must be"],
    [[toBatch(without, LINEAGE)], {}, `must have a column "nll"`],
    [
      [toBatch(bad, LINEAGE)],
      {},
      "assign the batch as every cost must be finite: nll of row 1, expert 2 is NaN",
    ],
  ];
  for (const [batches, options, what] of refusals) {
    const run = assign(ReadableStream.from(batches), { chunk: 6, ...options });
    await assertRejects(() => Array.fromAsync(run), InputError, what);
  }
});

Deno.test("assign() finds the optimal parts of files, and assigns others by their prices", async () => {
  const nll = Float32Array.from({ length: 180 }, (_, i) => 9 * uniform(1, "costs", i) - i % 3);
  const columns = { ...scored(60), nll };
  const proofs: Proof[] = [];
  const options = { chunk: 7, onProof: (proof: Proof) => proofs.push(proof) };
  let opened = 0;
  const open = () => (opened++, cutBatches(columns, [3, 11, 46]));
  const { expert, ...others } = await collect(assign(open, { ...options, method: "optimal" }));
  assertEquals([others, opened], [columns, 2]);
  const pipe = () => assign(cutBatches(columns, []), { ...options, method: "optimal" });
  assertThrows(pipe, InputError, 'with method "optimal" as its rows must be read up to 2 times');
  const [{ prices, loads, cost, greedy, bound }] = proofs;
  assertEquals(loads, [20, 20, 20]);
  assert(cost <= greedy! && cost - bound < 1e-6);
  const kept = { method: "optimal", experts: 3, rows: 60, prices: prices! };
  const priced = await collect(assign(cutBatches(columns, [9, 51]), { ...options, prices: kept }));
  const moved = expert!.filter((e, row) => e !== priced.expert![row]).length;
  assert(moved < 6, `${moved} of 60 moved`); // those that tie at the prices
  const batches = await Array.fromAsync(
    assign(cutBatches(columns, [60]), { ...options, prices: kept }),
  );
  assertEquals(readLineage(batches[0])!.method, "prices");
  const refusals: [Partial<Prices>, string][] = [
    [{ partitioner: "ee" }, "routers is cd34 in the former, ee in the latter"],
    [{ prefix: 9 }, "prefix is 3 in the former, 9 in the latter"],
    [{ experts: 2, prices: [0, 1] }, "experts is 3 in the former, 2 in the latter"],
  ];
  for (const [more, fact] of refusals) {
    const refused = assign(cutBatches(columns, [60]), {
      ...options,
      prices: { ...kept, ...more },
    });
    await assertRejects(() => Array.fromAsync(refused), InputError, fact);
  }
});

Deno.test("assign() goes by whole costs where they are no sums over tokens", async () => {
  const columns = {
    ...scored(2),
    length: Uint32Array.of(2, 4),
    nll: Float32Array.of(3, 9, 9, 4, 8, 9),
  };
  const two = async (lineage: object) =>
    (await collect(
      assign(ReadableStream.from([toBatch(columns, { ...LINEAGE, ...lineage })]), { chunk: 3 }),
    ))
      .expert;
  // Per predicted token the longer row comes first, by itself the one that costs less.
  assertEquals(await two({}), Uint16Array.of(1, 0));
  assertEquals(await two({ costs: "per sequence" }), Uint16Array.of(0, 1));
});
