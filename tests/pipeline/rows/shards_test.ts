import { assertEquals, assertRejects } from "@std/assert";
import fc from "fast-check";
import { InputError } from "../../../kernels/errors.ts";
import {
  type Columns,
  emptyBatch,
  fromBatch,
  readShards,
  ShardWriter,
} from "../../../pipeline/rows/arrow.ts";
import { concatColumns, takeColumns } from "../../../pipeline/rows/columns.ts";
import { hashFile } from "../../../pipeline/graph/files.ts";
import { inFolder } from "../../tasks/support.ts";
import { LINEAGE, makeAssignedColumns } from "../partition/support.ts";

const NAMES = ["document", "source", "tokens", "nll", "expert"] as const;
const EMPTY = fromBatch(emptyBatch([...NAMES], LINEAGE));

/** Opens a writer with small shards. */
const open = (folder: string, shardRows = 7, batchRows = 3) =>
  new ShardWriter({ folder, kind: "train", lineage: LINEAGE, empty: EMPTY, shardRows, batchRows });

const readAll = (folder: string, names: string[]): Promise<Columns[]> =>
  Array.fromAsync(
    readShards(names.map((name) => `${folder}/${name}`)),
    (batch) => fromBatch(batch),
  );

Deno.test("ShardWriter writes the rows that it is given, in order, in full shards of full batches", () =>
  inFolder(async (folder) => {
    const writer = open(folder);
    const [even, odd] = [0, 1].map((rest) => Array.from({ length: 10 }, (_, i) => 2 * i + rest));
    await writer.add(makeAssignedColumns(20), even);
    await writer.add(makeAssignedColumns(20, 300), odd);
    const shards = await writer.close();
    assertEquals(shards.map(({ name, rows }) => [name, rows]), [
      ["train-00000.arrow", 7],
      ["train-00001.arrow", 7],
      ["train-00002.arrow", 6],
    ]);
    const expected = concatColumns([
      takeColumns(makeAssignedColumns(20), even),
      takeColumns(makeAssignedColumns(20, 300), odd),
    ]);
    const parts = await readAll(folder, shards.map(({ name }) => name));
    assertEquals(parts.map(({ rows }) => rows), [3, 3, 1, 3, 3, 1, 3, 3]);
    assertEquals(concatColumns(parts), expected);
    for (const { name, bytes, sha256 } of shards) {
      assertEquals({ bytes, sha256 }, await hashFile(`${folder}/${name}`));
    }
  }));

Deno.test("ShardWriter writes the same bytes however its rows come", () =>
  inFolder(async (folder) => {
    const all = makeAssignedColumns(16);
    const write = async (name: string, cuts: number[]) => {
      await Deno.mkdir(`${folder}/${name}`);
      const writer = open(`${folder}/${name}`);
      const rows = Array.from({ length: 16 }, (_, row) => row);
      for (const size of cuts) await writer.add(all, rows.splice(0, size));
      await writer.add(all, rows);
      return (await writer.close()).map(({ sha256 }) => sha256);
    };
    const expected = await write("whole", []);
    let run = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(fc.nat(6), { maxLength: 6 }), async (cuts) => {
        assertEquals(await write(`run ${run++}`, cuts), expected);
      }),
      { numRuns: 15 },
    );
  }));

Deno.test("ShardWriter without rows writes one shard with the columns of the others", () =>
  inFolder(async (folder) => {
    const [shard, ...others] = await open(folder).close();
    assertEquals([shard.rows, others], [0, []]);
    assertEquals(await readAll(folder, [shard.name]), [EMPTY]);
  }));

Deno.test("ShardWriter leaves the shards that were finished, and nothing of the one begun, where it is not closed", () =>
  inFolder(async (folder) => {
    {
      await using writer = open(folder);
      await writer.add(makeAssignedColumns(12), [...Array(12).keys()]);
    }
    assertEquals(Array.from(Deno.readDirSync(folder), ({ name }) => name), ["train-00000.arrow"]);
  }));

Deno.test("ShardWriter throws why it cannot write, and where rows have other columns", () =>
  inFolder(async (folder) => {
    await Deno.writeTextFile(`${folder}/file`, "");
    const rows = makeAssignedColumns(3);
    for (const act of ["add", "close"] as const) {
      await using writer = open(`${folder}/file`);
      await assertRejects(() => writer[act](rows, [0, 1, 2]), Error, "Cannot write");
    }
    await using writer = open(folder);
    await writer.add(rows, [0]);
    await assertRejects(
      () => writer.add({ ...rows, nll: undefined }, [1]),
      InputError,
      'column "nll" must hold 3',
    );
  }));
