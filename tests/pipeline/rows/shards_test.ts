import { assertEquals } from "@std/assert";
import {
  type Columns,
  emptyBatch,
  readShards,
  type RecordBatch,
  toBatch,
} from "../../../pipeline/rows/arrow.ts";
import type { Lineage } from "../../../pipeline/rows/lineage.ts";
import { sliceColumns } from "../../../pipeline/rows/columns.ts";
import { shardName } from "../../../pipeline/rows/arrow.ts";
import { writeShards } from "../../../pipeline/rows/shards.ts";

const LINEAGE: Lineage = { format: 1, stage: "score", experts: 2 };

function scores(rows: number): Columns {
  const row = (_: unknown, i: number) => i;
  return {
    rows,
    sequence: BigUint64Array.from({ length: rows }, (_, i) => BigInt(i)),
    length: Uint32Array.from({ length: rows }, () => 2),
    source: Array.from({ length: rows }, (_, i) => `s${i % 3}`),
    document: new BigUint64Array(rows),
    nll: Float32Array.from({ length: 2 * rows }, row),
  };
}

/** Writes rows that come in batches of the given sizes, and returns name, rows and hash of every shard. */
async function shards(sizes: number[], rows: number): Promise<[string, number, string][]> {
  const folder = await Deno.makeTempDir();
  try {
    const all = scores(sizes.reduce((a, b) => a + b, 0));
    let at = 0;
    const batches = sizes.map((size) => toBatch(sliceColumns(all, at, at += size), LINEAGE));
    const written: [string, number, string][] = [];
    for await (
      const { name, rows: count, sha256 } of writeShards(folder, "train", ReadableStream.from(batches), rows)
    ) {
      written.push([name, count, sha256]);
    }
    const read: bigint[] = [];
    for await (const batch of readShards(written.map(([name]) => `${folder}/${name}`))) {
      read.push(...(batch as RecordBatch).getChild("sequence")!.toArray());
    }
    assertEquals(read, [...all.sequence]);
    return written;
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("writeShards() fills every shard but the last", async () => {
  assertEquals((await shards([25], 10)).map(([name, rows]) => [name, rows]), [
    [shardName("train", 0), 10],
    ["train-00001.arrow", 10],
    ["train-00002.arrow", 5],
  ]);
  assertEquals((await shards([20], 10)).map(([, rows]) => rows), [10, 10]);
});

Deno.test("writeShards() gives the same bytes however rows come in batches", async () => {
  const whole = await shards([3000], 1300);
  assertEquals(await shards([1, 1299, 0, 1, 1699], 1300), whole);
  assertEquals(await shards(Array(300).fill(10), 1300), whole);
});

Deno.test("writeShards() writes one shard without rows for no rows", async () => {
  assertEquals((await shards([0], 10)).map(([name, rows]) => [name, rows]), [["train-00000.arrow", 0]]);
  const folder = await Deno.makeTempDir();
  const empty = emptyBatch(["nll", "source", "document"], LINEAGE);
  for await (const { rows } of writeShards(folder, "test", ReadableStream.from([empty]), 5)) {
    assertEquals(rows, 0);
  }
  await Deno.remove(folder, { recursive: true });
});
