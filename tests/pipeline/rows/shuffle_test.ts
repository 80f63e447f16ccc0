import { assertEquals, assertNotEquals, assertRejects } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import {
  fromBatch,
  readArrow,
  type RecordBatch,
  toBatch,
  writeArrowFile,
} from "../../../pipeline/rows/arrow.ts";
import type { Lineage } from "../../../pipeline/rows/lineage.ts";
import { type Columns, sliceColumns } from "../../../pipeline/rows/columns.ts";
import { randomKeys } from "../../../pipeline/random.ts";
import { epochs, inSequence, scatter, shuffle, shuffleBuckets } from "../../../pipeline/rows/shuffle.ts";

const S = 4;
const lineage: Lineage = {
  format: 1,
  stage: "tokenize",
  sequenceLength: S,
  vocabulary: 70_000,
  eos: 0,
  seed: 1,
};

function someRows(rows: number, first = 0): Columns {
  return {
    rows,
    sequence: BigUint64Array.from({ length: rows }, (_, i) => BigInt(first + i)),
    document: BigUint64Array.from({ length: rows }, (_, i) => BigInt(i >> 1)),
    source: Array.from({ length: rows }, (_, i) => `s${i % 3}`),
    tokens: Uint32Array.from({ length: rows * S }, (_, i) => (first * S + i) % 60_000),
    length: new Uint32Array(rows).fill(S),
  };
}

function stream(columns: Columns, size: number): ReadableStream<RecordBatch> {
  return ReadableStream.from(function* () {
    for (let at = 0; at < columns.rows; at += size) {
      yield toBatch(sliceColumns(columns, at, Math.min(at + size, columns.rows)), lineage);
    }
  }());
}

async function collect(batches: AsyncIterable<RecordBatch>) {
  const ids: number[] = [];
  const tokens: number[] = [];
  for await (const batch of batches) {
    const columns = fromBatch(batch);
    ids.push(...Array.from(columns.sequence, Number));
    tokens.push(...columns.tokens!);
  }
  return { ids, tokens };
}

Deno.test("shuffle() gives one order whatever the batches and the memory, and keeps rows together", async () => {
  const folder = await Deno.makeTempDir();
  const rows = someRows(1000);
  const whole = await collect(shuffle(stream(rows, 1000), { seed: 5, spill: `${folder}/a` }));
  assertEquals([...whole.ids].sort((a, b) => a - b), Array.from({ length: 1000 }, (_, i) => i));
  assertNotEquals(whole.ids, [...whole.ids].sort((a, b) => a - b));
  whole.ids.forEach((id, i) => assertEquals(whole.tokens[i * S + 1], id * S + 1));
  for (const [size, budget] of [[7, 500], [1, 1 << 20], [333, 200], [1000, 20_000]]) {
    const other = await collect(shuffle(stream(rows, size), { seed: 5, spill: `${folder}/b`, budget }));
    assertEquals(other, whole);
    await assertRejects(() => Deno.stat(`${folder}/b`), Deno.errors.NotFound); // nothing is left behind
  }
  const another = await collect(shuffle(stream(rows, 1000), { seed: 6, spill: `${folder}/c` }));
  assertNotEquals(another.ids, whole.ids);
  await Deno.remove(folder, { recursive: true });
});

Deno.test("inSequence() puts shuffled rows back into the order of their ids, dense or far apart, whatever the memory", async () => {
  const folder = await Deno.makeTempDir();
  for (const [gap, count] of [[1n, 700], [2n ** 54n, 300]] as const) {
    const rows = someRows(count);
    rows.sequence = rows.sequence.map((id) => id * gap + 5n);
    const last = rows.sequence.at(-1)!;
    for (const budget of [1 << 20, 2000]) {
      const mixed = shuffle(stream(rows, 100), { seed: 5, spill: `${folder}/a` });
      const { tokens } = await collect(inSequence(mixed, { last, spill: `${folder}/b`, budget }));
      assertEquals(tokens, [...rows.tokens!]);
      await assertRejects(() => Deno.stat(`${folder}/b`), Deno.errors.NotFound);
    }
  }
  await Deno.remove(folder, { recursive: true });
});

Deno.test("shuffle() divides what is still too much for its memory, and its order is that of the keys", async () => {
  const folder = await Deno.makeTempDir();
  const rows = someRows(700); // about three per first byte of the key, more than the budget
  const { ids } = await collect(shuffle(stream(rows, 100), { seed: 9, spill: `${folder}/a`, budget: 160 }));
  const keys = randomKeys(9, "shuffle", rows.sequence);
  const expected = Array.from(keys.keys()).sort((a, b) => keys[a] < keys[b] ? -1 : 1);
  assertEquals(ids, expected);
  await Deno.remove(folder, { recursive: true });
});

Deno.test("shuffle() keeps rows of one id in their order, however many fall into one bucket", async () => {
  const folder = await Deno.makeTempDir();
  const rows = { ...someRows(5000), sequence: new BigUint64Array(5000).fill(7n) };
  const spill = `${folder}/a`;
  const { tokens } = await collect(shuffle(stream(rows, 300), { seed: 2, spill, budget: 240_000 }));
  assertEquals(tokens, Array.from(rows.tokens!)); // 3,000 rows fit: more than a batch
  await Deno.remove(folder, { recursive: true });
});

Deno.test("shuffle() removes its spilled rows when its source fails or its reader leaves", async () => {
  const folder = await Deno.makeTempDir();
  const failing = ReadableStream.from(async function* () {
    yield toBatch(someRows(100), lineage);
    await Promise.resolve();
    throw new SyntaxError("upstream broke");
  }());
  await assertRejects(
    () => collect(shuffle(failing, { seed: 1, spill: `${folder}/spill`, budget: 1 })),
    SyntaxError,
    "upstream broke",
  );
  for await (
    const _ of shuffle(stream(someRows(3000), 100), { seed: 1, spill: `${folder}/spill`, budget: 1 })
  ) break;
  assertEquals([...Deno.readDirSync(folder)], []);
  await Deno.remove(folder);
});

Deno.test("scatter() and shuffleBuckets() give the order of shuffle(), however many wrote the buckets and however little memory there is", async () => {
  const folder = await Deno.makeTempDir();
  const rows = someRows(300);
  const expected = await collect(shuffle(stream(rows, 100), { seed: 5, spill: `${folder}/spill` }));
  const cuts = [[0, 300], [0, 1, 1, 200, 300], [0, 150, 300]]; // one of the writers has no rows
  for (const [i, bits] of [0, 1, 5, 8].entries()) {
    const ends = cuts[i % cuts.length];
    const counts = new Array<number>(2 ** bits).fill(0);
    for (let writer = 0; writer + 1 < ends.length; writer++) {
      const own = sliceColumns(rows, ends[writer], ends[writer + 1]);
      const pathOf = (bucket: number) => `${folder}/${bits}-${writer}-${bucket}`;
      const written = await scatter(stream(own, 70), {
        seed: 5,
        bits,
        pathOf,
        budget: i % 2 ? 3000 : 1 << 20,
      });
      assertEquals(written.length, 2 ** bits);
      assertEquals(written.reduce((sum, rows) => sum + rows, 0), own.rows);
      written.forEach((rows, bucket) => counts[bucket] += rows);
    }
    const bucketOf = async function* (bucket: number) {
      for (let writer = 0; writer + 1 < ends.length; writer++) {
        const path = `${folder}/${bits}-${writer}-${bucket}`;
        if (await Deno.stat(path).catch(() => null)) yield* readArrow(path);
      }
    };
    const buckets = counts.keys().map((bucket) => ReadableStream.from(bucketOf(bucket)));
    const options = { seed: 5, spill: `${folder}/spill`, budget: i % 2 ? 1 << 20 : 2000 };
    assertEquals(await collect(shuffleBuckets(buckets, options)), expected, `${bits} bits`);
    const keys = randomKeys(5, "shuffle", rows.sequence);
    const wanted = new Array<number>(2 ** bits).fill(0);
    for (const key of keys) wanted[Number(key >> BigInt(64 - bits))]++;
    assertEquals(counts, wanted);
  }
  await Deno.remove(folder, { recursive: true });
});

Deno.test("epochs() goes through the shards in order, then in new orders, and starts anywhere", async () => {
  const folder = await Deno.makeTempDir();
  const paths: string[] = [];
  for (const [i, [rows, first]] of [[30, 0], [20, 30], [1, 50]].entries()) {
    paths.push(`${folder}/${i}.arrow`);
    await writeArrowFile(paths[i], stream(someRows(rows, first), 8));
  }
  const next = epochs(paths, 3);
  const drawn: number[] = [];
  for (const n of [10, 41, 51, 51, 17]) drawn.push(...Array.from((await next(n)).sequence, Number));
  const ordered = Array.from({ length: 51 }, (_, i) => i);
  assertEquals(drawn.slice(0, 51), ordered);
  for (const epoch of [1, 2]) {
    const part = drawn.slice(51 * epoch, 51 * (epoch + 1));
    assertEquals([...part].sort((a, b) => a - b), ordered);
    assertNotEquals(part, ordered);
  }
  assertNotEquals(drawn.slice(51, 102), drawn.slice(102, 153));
  for (const consumed of [1, 51, 60, 153]) {
    const later = await epochs(paths, 3, consumed)(10);
    assertEquals(Array.from(later.sequence, Number), drawn.slice(consumed, consumed + 10));
  }
  await Deno.remove(folder, { recursive: true });
});

Deno.test("epochs() refuses shards without rows", async () => {
  const folder = await Deno.makeTempDir();
  await writeArrowFile(`${folder}/0.arrow`, ReadableStream.from([toBatch(someRows(0), lineage)]));
  await assertRejects(() => epochs([`${folder}/0.arrow`], 0)(1), InputError, "they hold 0 rows");
  await Deno.remove(folder, { recursive: true });
});
