import { assert, assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import fc from "fast-check";
import {
  emptyBatch,
  fromBatch,
  type Lineage,
  lineageOf,
  type RecordBatch,
  toBatch,
} from "../../../../pipeline/rows/arrow.ts";
import { type Columns, concatColumns, sliceColumns } from "../../../../pipeline/rows/columns.ts";
import { assign, assignArgmax, assignBalanced } from "../../../../pipeline/partition/assignment/assign.ts";

const GOLDEN = new URL("../../../../fixtures/golden/assignments.json", import.meta.url);

/** The integer x·2^149: exact for every finite f32. */
const exact = (x: number) => BigInt(x * 2 ** 149);

/** Method.md read aloud, with exact fractions and no sorting: the next row is looked for among all that are left. */
function oracle(nll: Float32Array, experts: number, predicted?: Uint32Array): number[] {
  const rows = nll.length / experts;
  const room = Array.from(
    { length: experts },
    (_, e) => Math.floor(rows / experts) + (e < rows % experts ? 1 : 0),
  );
  const expert = new Array<number>(rows).fill(-1);
  const best = (row: number) => exact(Math.min(...nll.subarray(row * experts, (row + 1) * experts)));
  const comesBefore = (a: number, b: number) =>
    best(a) * BigInt(predicted?.[b] ?? 1) < best(b) * BigInt(predicted?.[a] ?? 1);
  for (let done = 0; done < rows; done++) {
    let next = -1;
    for (let row = 0; row < rows; row++) {
      if (expert[row] < 0 && (next < 0 || comesBefore(row, next))) next = row;
    }
    let chosen = -1;
    for (let e = 0; e < experts; e++) {
      if (room[e] > 0 && (chosen < 0 || nll[next * experts + e] < nll[next * experts + chosen])) chosen = e;
    }
    expert[next] = chosen;
    room[chosen]--;
  }
  return expert;
}

const f32 = fc.float({ noNaN: true, noDefaultInfinity: true });
const fewValues = fc.integer({ min: 0, max: 3 }); // many ties

/** Scores `[N, E]` and predicted tokens of any N and E, from the values of `value`. */
const scoresOf = (value: fc.Arbitrary<number>) =>
  fc.tuple(fc.integer({ min: 0, max: 20 }), fc.integer({ min: 1, max: 24 })).chain(([rows, experts]) =>
    fc.record({
      experts: fc.constant(experts),
      nll: fc.array(value, { minLength: rows * experts, maxLength: rows * experts }).map((v) =>
        Float32Array.from(v)
      ),
      predicted: fc.array(fc.integer({ min: 1, max: 4 }), { minLength: rows, maxLength: rows })
        .map((v) => Uint32Array.from(v)),
    })
  );

Deno.test("assignBalanced() gives the golden assignments", async () => {
  const cases: { nll: number[][]; expert: number[] }[] = JSON.parse(await Deno.readTextFile(GOLDEN));
  assert(cases.length > 0);
  for (const { nll, expert } of cases) {
    assertEquals([...assignBalanced(Float32Array.from(nll.flat()), nll[0].length)], expert);
  }
});

Deno.test("assignBalanced() agrees with a brute-force oracle for any N and E, ties included", () => {
  for (const value of [f32, fewValues]) {
    fc.assert(fc.property(scoresOf(value), ({ nll, experts, predicted }) => {
      assertEquals([...assignBalanced(nll, experts)], oracle(nll, experts));
      assertEquals([...assignBalanced(nll, experts, predicted)], oracle(nll, experts, predicted));
    }));
  }
});

Deno.test("assignBalanced() hands out every row, loads differing by at most one, lower experts first", () => {
  fc.assert(fc.property(scoresOf(f32), ({ nll, experts, predicted }) => {
    const expert = assignBalanced(nll, experts, predicted);
    const rows = nll.length / experts;
    assertEquals(expert.length, rows);
    const loads = new Array(experts).fill(0);
    for (const e of expert) loads[e]++;
    assertEquals(loads, loads.map((_, e) => Math.floor(rows / experts) + (e < rows % experts ? 1 : 0)));
  }));
});

Deno.test("assignBalanced() orders thousands of rows exactly, quotients that nearly tie included", () => {
  const rows = 5000;
  // Around 2^24 / 2^27, so that (2^24 - 1) / p and 2^24 / (p + 8) differ in the last bits of an f64.
  const predicted = Uint32Array.from(
    { length: rows },
    (_, i) => 2 ** 27 - 1 - 8 * (i % 4) - Number(i % 9 === 0),
  );
  const nll = Float32Array.from({ length: rows }, (_, i) => (2 ** 24 - i % 5) * (i % 7 === 0 ? -1 : 1));
  const order = Array.from(nll.keys()).sort((a, b) => {
    const difference = exact(nll[a]) * BigInt(predicted[b]) - exact(nll[b]) * BigInt(predicted[a]);
    return difference < 0n ? -1 : difference > 0n ? 1 : a - b;
  });
  // Both experts cost the same, so the first half of the order goes to expert 0.
  const expected = new Array(rows).fill(1);
  for (const row of order.slice(0, rows / 2)) expected[row] = 0;
  const both = Float32Array.from({ length: 2 * rows }, (_, i) => nll[i >> 1]);
  assertEquals([...assignBalanced(both, 2, predicted)], expected);
});

Deno.test("assignBalanced() takes 0 and -0 for a tie", () => {
  assertEquals(assignBalanced(Float32Array.of(0, 0, -0, -0), 2), Uint16Array.of(0, 1));
  assertEquals(assignBalanced(Float32Array.of(-0, -0, 0, 0), 2), Uint16Array.of(0, 1));
});

Deno.test("assignBalanced() orders by NLL per predicted token and prefers by summed NLL", () => {
  // Row 1 is shorter and worse per token, so row 0 chooses first although its sum is larger.
  const nll = Float32Array.from([30, 31, 20, 29]);
  assertEquals([...assignBalanced(nll, 2, Uint32Array.of(30, 10))], [0, 1]);
  assertEquals([...assignBalanced(nll, 2)], [1, 0]);
});

Deno.test("assignBalanced() and assignArgmax() take no rows and one expert", () => {
  for (const assigned of [assignBalanced, assignArgmax]) {
    assertEquals(assigned(new Float32Array(), 3), new Uint16Array());
    assertEquals(assigned(Float32Array.of(5, 4), 1), Uint16Array.of(0, 0));
  }
});

Deno.test("assignBalanced() gives fewer rows than experts to the first ones only", () => {
  assertEquals(assignBalanced(Float32Array.of(9, 8, 1, 7, 8, 1), 3), Uint16Array.of(1, 0));
});

Deno.test("assignBalanced() leaves its input as it was", () => {
  const nll = Float32Array.of(3, -0, 1, 2);
  const predicted = Uint32Array.of(2, 3);
  assignBalanced(nll, 2, predicted);
  assertEquals(nll, Float32Array.of(3, -0, 1, 2));
  assertEquals(predicted, Uint32Array.of(2, 3));
});

Deno.test("assignBalanced() and assignArgmax() refuse values that are not finite, naming row and expert", () => {
  for (const assigned of [assignBalanced, assignArgmax]) {
    for (const value of [NaN, Infinity, -Infinity]) {
      const nll = Float32Array.of(1, 2, 3, 4, 5, value);
      assertThrows(() => assigned(nll, 2), RangeError, `nll of row 2, expert 1 is ${value}`);
    }
  }
});

Deno.test("assignBalanced() refuses shapes that do not fit", () => {
  const nll = new Float32Array(6);
  assertThrows(() => assignBalanced(nll, 4), RangeError, "nll has 6 values, experts is 4");
  for (const experts of [0, -1, 1.5, NaN, 65537]) {
    assertThrows(() => assignBalanced(nll, experts), RangeError, `experts is ${experts}`);
  }
  assertThrows(() => assignBalanced(nll, 3, Uint32Array.of(1)), RangeError, "predicted has 1, rows is 2");
  assertThrows(() => assignBalanced(nll, 3, Uint32Array.of(1, 0)), RangeError, "predicted of row 1 is 0");
});

Deno.test("assignArgmax() gives the lowest NLL, the lower id of equals", () => {
  assertEquals(assignArgmax(Float32Array.of(3, 1, 2, 1, 1, 0, 2, 2, 2), 3), Uint16Array.of(1, 2, 0));
});

// ---- the stage ----

const LINEAGE: Lineage = {
  format: 1,
  stage: "score",
  sequenceLength: 4,
  vocabulary: 99,
  eos: 0,
  tokenizer: "ab12",
  prefix: 3,
  routers: "cd34",
  experts: 3,
  seed: 7,
  config: "00",
};

/** Scored rows with every column, of E = 3. */
function scored(rows: number): Columns {
  const of = (perRow: number) => Array.from({ length: rows * perRow }, (_, i) => i);
  return {
    rows,
    sequence: BigUint64Array.from(of(1), (i) => BigInt(i) + 100n),
    document: BigUint64Array.from(of(1), (i) => BigInt(i >> 1)),
    source: of(1).map((i) => ["news", "", "law"][i % 3]),
    tokens: Uint16Array.from(of(4), (i) => i % 99),
    length: Uint32Array.from(of(1), (i) => 2 + i % 3),
    nll: Float32Array.from(of(3), (i) => (i * 7919) % 101),
  };
}

/** The rows in batches that end at `cuts`. */
function batchesOf(
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
  const result = await collect(assign(batchesOf(columns, []), { chunk: 6 }));
  const { expert, ...others } = result;
  assertEquals(others, columns);
  const predicted = columns.length.map((tokens) => Math.min(3, tokens) - 1);
  const expected = [0, 6, 12, 18].flatMap((from) => [
    ...assignBalanced(columns.nll!.subarray(from * 3, (from + 6) * 3), 3, predicted.subarray(from, from + 6)),
  ]);
  assertEquals([...expert!], expected);
});

Deno.test("assign() gives the same batches however the input is cut", async () => {
  const columns = scored(40);
  const whole = await Array.fromAsync(assign(batchesOf(columns, []), { chunk: 9 }), (b) => fromBatch(b));
  await fc.assert(
    fc.asyncProperty(fc.array(fc.integer({ min: 0, max: 40 }), { maxLength: 8 }), async (cuts) => {
      const parts = await Array.fromAsync(
        assign(batchesOf(columns, cuts), { chunk: 9 }),
        (b) => fromBatch(b),
      );
      assertEquals(parts, whole);
    }),
    { numRuns: 50 },
  );
});

Deno.test("assign() cuts a large chunk into batches of bounded size", async () => {
  const columns = scored(3000);
  const batches = await Array.fromAsync(assign(batchesOf(columns, [10, 1500]), { chunk: 3000 }));
  assertEquals(batches.map((batch) => batch.numRows), [1024, 1024, 952]);
  const { expert, ...others } = concatColumns(batches.map((batch) => fromBatch(batch)));
  assertEquals(others, columns);
  assertEquals(expert, assignBalanced(columns.nll!, 3, columns.length.map((t) => Math.min(3, t) - 1)));
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

Deno.test("assign() hands on the error of its source", async () => {
  const source = ReadableStream.from(async function* () {
    yield toBatch(scored(3), LINEAGE);
    await Promise.resolve();
    throw new Error("cut short");
  }());
  await assertRejects(() => Array.fromAsync(assign(source, { chunk: 6 })), Error, "cut short");
});

Deno.test("assign() writes its stage, method and configuration into the lineage", async () => {
  const [batch] = await Array.fromAsync(
    assign(batchesOf(scored(3), []), { chunk: 3, method: "argmax", config: "ff" }),
  );
  assertEquals(lineageOf(batch), { ...LINEAGE, stage: "assign", method: "argmax", config: "ff" });
});

Deno.test("assign() routes by the lowest NLL with method argmax, whatever the chunk", async () => {
  const columns = scored(20);
  const { expert } = await collect(assign(batchesOf(columns, [7]), { chunk: 8, method: "argmax" }));
  assertEquals(expert, assignArgmax(columns.nll!, 3));
});

Deno.test("assign() passes input without rows on with its full schema", async () => {
  const empty = emptyBatch(["document", "source", "nll"], LINEAGE);
  const batches = await Array.fromAsync(assign(ReadableStream.from([empty, empty]), { chunk: 3 }));
  assertEquals(batches.length, 1);
  const full = toBatch({ ...scored(1), tokens: undefined, expert: Uint16Array.of(0) }, LINEAGE);
  assertEquals(String(batches[0].schema), String(full.schema));
  assertEquals(batches[0].numRows, 0);
  assertEquals(lineageOf(batches[0])?.stage, "assign");
});

Deno.test("assign() skips batches without rows between others", async () => {
  const columns = scored(5);
  const empty = emptyBatch(["document", "source", "tokens", "nll"], LINEAGE);
  const source = ReadableStream.from([empty, toBatch(columns, LINEAGE), empty]);
  const { expert, ...others } = await collect(assign(source, { chunk: 3 }));
  assertEquals(others, columns);
  assertEquals(expert!.length, 5);
});

Deno.test("assign() takes another tool's scores with a warning, or M from the option", async () => {
  const columns = scored(12);
  const warnings: string[] = [];
  const onWarning = (message: string) => warnings.push(message);
  const plain = await collect(assign(ReadableStream.from([foreign(columns)]), { chunk: 12, onWarning }));
  assertEquals(plain.expert, assignBalanced(columns.nll!, 3));
  assertEquals(warnings.length, 1);
  assertStringIncludes(warnings[0], "prefix");

  const told = await collect(
    assign(ReadableStream.from([foreign(columns)]), { chunk: 12, prefix: 3, onWarning }),
  );
  assertEquals(told.expert, assignBalanced(columns.nll!, 3, columns.length.map((t) => Math.min(3, t) - 1)));
  assertEquals(warnings.length, 1);
});

Deno.test("assign() refuses options before it reads", () => {
  const never = () => new ReadableStream<RecordBatch>({ pull: () => fail("read") }, { highWaterMark: 0 });
  const fail = (message: string) => {
    throw new Error(message);
  };
  for (const chunk of [0, -3, 1.5, NaN]) {
    assertThrows(() => assign(never(), { chunk }), RangeError, `chunk is ${chunk}`);
  }
  assertThrows(() => assign(never(), { chunk: 8, experts: 3 }), RangeError, "set the chunk to 9");
  assertThrows(() => assign(never(), { chunk: 8, experts: 0 }), RangeError, "experts is 0");
  assertThrows(() => assign(never(), { chunk: 8, prefix: 1 }), RangeError, "prefix is 1");
  assertThrows(
    () => assign(never(), { chunk: 8, method: "best" as "argmax" }),
    RangeError,
    `method is "best"`,
  );
});

Deno.test("assign() refuses scores that do not fit, with both values", async () => {
  const run = (batches: RecordBatch[], options: Partial<Parameters<typeof assign>[1]> = {}) =>
    Array.fromAsync(assign(ReadableStream.from(batches), { chunk: 6, ...options }));
  const good = toBatch(scored(3), LINEAGE);
  const two = toBatch({ ...scored(3), nll: new Float32Array(6) }, { ...LINEAGE, experts: 2 });
  const foreignTwo = foreign({ ...scored(3), nll: new Float32Array(6) });

  await assertRejects(() => run([good], { chunk: 8 }), RangeError, "chunk is 8, experts is 3");
  await assertRejects(
    () => run([good], { experts: 2 }),
    RangeError,
    "experts is 3 in the former, 2 in the latter",
  );
  await assertRejects(
    () => run([foreignTwo], { experts: 3 }),
    RangeError,
    "nll has 2 values per row, experts is 3",
  );
  await assertRejects(
    () => run([good], { prefix: 4 }),
    RangeError,
    "prefix is 3 in the former, 4 in the latter",
  );
  await assertRejects(() => run([good, two]), RangeError, "experts is 2 in the former, 3 in the latter");
  await assertRejects(() => run([good, foreignTwo]), RangeError, "nll has 2 values per row, experts is 3");
  await assertRejects(
    () => run([good, toBatch(scored(3), { ...LINEAGE, routers: "ee" })]),
    RangeError,
    "routers is ee in the former, cd34 in the latter",
  );
  await assertRejects(() => run([toBatch(scored(3), { ...LINEAGE, prefix: 1 })]), RangeError, "prefix is 1");
  await assertRejects(
    () => run([toBatch({ ...scored(3), nll: undefined }, LINEAGE)]),
    TypeError,
    `must have a column "nll"`,
  );
  const bad = scored(3);
  bad.nll![5] = NaN;
  await assertRejects(() => run([toBatch(bad, LINEAGE)]), RangeError, "nll of row 1, expert 2 is NaN");
});
