import { assert, assertEquals, assertRejects } from "@std/assert";
import { InputError } from "../../../../kernels/errors.ts";
import {
  type Data,
  Dictionary,
  Int32,
  Int8,
  makeData,
  Message,
  RecordBatch,
  RecordBatchStreamWriter,
  Utf8,
  Vector,
  vectorFromArray,
} from "apache-arrow";
import fc from "fast-check";
import { isDeepStrictEqual as equal } from "node:util";
import { emptyBatch, fromBatch, toBatch } from "../../../../pipeline/rows/arrow.ts";
import type { Columns } from "../../../../pipeline/rows/columns.ts";
import { readLineage } from "../../../../pipeline/rows/lineage.ts";
import { readArrow } from "../../../../pipeline/rows/ipc/read.ts";
import { arrowBytes, writeArrowFile } from "../../../../pipeline/rows/ipc/write.ts";
import { inFolder } from "../../../tasks/support.ts";
import { bytesOf, collect, LINEAGE, makeColumns, pipe, stream } from "../support.ts";

Deno.test("readArrow() gives back what was written, from files and from pipes cut anywhere", async () => {
  const batches = [
    toBatch(makeColumns(3), LINEAGE),
    toBatch(makeColumns(4, 3), LINEAGE),
  ];
  const expected = [makeColumns(3), makeColumns(4, 3)];
  const bytes = await bytesOf(arrowBytes(stream(...batches)));
  await fc.assert(
    fc.asyncProperty(fc.array(fc.nat(bytes.length)), async (cuts) => {
      const edges = [0, ...cuts.sort((a, b) => a - b), bytes.length];
      const chunks = edges.slice(1).map((edge, i) => bytes.subarray(edges[i], edge));
      assertEquals(await collect(readArrow(ReadableStream.from(chunks))), expected);
    }),
    { numRuns: 30 },
  );
  await inFolder(async (folder) => {
    await writeArrowFile(`${folder}/a.arrow`, stream(...batches));
    assertEquals(await collect(readArrow(`${folder}/a.arrow`)), expected);
    assertEquals(
      await collect(readArrow(pipe(await Deno.readFile(`${folder}/a.arrow`)))),
      expected,
    );
    await Deno.writeFile(`${folder}/a.arrows`, bytes);
    assertEquals(await collect(readArrow(`${folder}/a.arrows`)), expected);
    assertEquals((await Array.fromAsync(readArrow(`${folder}/a.arrow`), readLineage))[1], LINEAGE);
  });
});

Deno.test("readArrow() reads labels by dictionaries that grow, stay or are replaced from batch to batch", async () => {
  const words = (...texts: string[]) => vectorFromArray(texts, new Utf8()).data[0];
  const first = words("a", "b");
  const grown = [first, words("c")];
  const batches: [dictionary: Data<Utf8>[], indices: number[], labels: string][] = [
    [[first], [0, 1], "ab"],
    [grown, [2, 0], "ca"],
    [grown, [2, 2], "cc"],
    [[words("d", "e")], [1, 0], "ed"],
  ];
  const writer = new RecordBatchStreamWriter();
  const type = new Dictionary(new Utf8(), new Int8(), 1);
  const numbers = vectorFromArray([2, 3], new Int32()).data[0];
  for (const [parts, indices] of batches) {
    const data = Int8Array.from(indices);
    const dictionary = new Vector(parts);
    const source = makeData({ type, length: 2, nullCount: 0, data, dictionary });
    writer.write(new RecordBatch({ sequence: numbers, source, length: numbers }));
  }
  const bytes = writer.finish().toUint8Array(true);
  const read = await collect(readArrow(pipe(bytes)));
  assertEquals(read.map(({ source }) => source!.join("")), batches.map(([, , labels]) => labels));
});

Deno.test("readArrow() gives one batch without rows for input without batches", async () => {
  const names = ["tokens", "source"] as const;
  const bytes = await bytesOf(arrowBytes(stream(), emptyBatch([...names], LINEAGE)));
  const batches = await Array.fromAsync(readArrow(pipe(bytes)));
  assertEquals(batches.map((batch) => batch.numRows), [0]);
  assertEquals(readLineage(batches[0]), LINEAGE);
  assertEquals(fromBatch(batches[0]), {
    rows: 0,
    sequence: new BigUint64Array(),
    source: [],
    tokens: new Uint16Array(),
    length: new Uint32Array(),
  });
});

/**
 * Reads bytes with one bit changed at every so manieth place; counts what is refused in one line,
 * what gives the same rows, and what others.
 */
async function damaged(
  bytes: Uint8Array,
  step: number,
  read: (bytes: Uint8Array) => Promise<Columns[]>,
) {
  const expected = await read(bytes);
  const counts = { refused: 0, same: 0, other: 0 };
  for (let at = 0; at < bytes.length; at += step) {
    const found = await read(bytes.with(at, bytes[at] ^ 1 << at % 8)).catch((error) => {
      assert(
        error instanceof InputError && /^Cannot [^\n]*$/.test(error.message),
        `byte ${at}: ${error}`,
      );
      return null;
    });
    counts[found === null ? "refused" : equal(found, expected) ? "same" : "other"]++;
  }
  return counts;
}

Deno.test("a damaged bit anywhere is refused or harmless in a file or pipe that closes, and at worst gives other rows in one that does not", () =>
  inFolder(async (folder) => {
    const path = `${folder}/a.arrow`;
    const batches = [2, 3].map((rows, i) => toBatch(makeColumns(rows, 5 * i), LINEAGE));
    const readFile = async (bytes: Uint8Array) => {
      await Deno.writeFile(path, bytes);
      return await collect(readArrow(path));
    };
    const readPipe = (bytes: Uint8Array) =>
      collect(readArrow(pipe(bytes as Uint8Array<ArrayBuffer>)));
    for (const closes of [false, true]) {
      await writeArrowFile(path, stream(...batches), undefined, { closes });
      for (const read of [readFile, readPipe]) {
        const { refused, same, other } = await damaged(await Deno.readFile(path), 7, read);
        assert(
          refused > 100 && (!closes || other === 0 && refused > same),
          `${refused}, ${same}, ${other}`,
        );
        await writeArrowFile(path, stream(...batches), undefined, { closes });
      }
    }
    const { same, other } = await damaged(
      await bytesOf(arrowBytes(stream(...batches))),
      1,
      readPipe,
    );
    assertEquals(other, 0);
    assert(same < 180, `${same} bytes made no difference`);
  }));

Deno.test("a pipe of ours with a batch lost, doubled or exchanged is refused", async () => {
  const batches = [2, 3, 1].map((rows, i) => toBatch(makeColumns(rows, 5 * i), LINEAGE));
  const bytes = await bytesOf(arrowBytes(stream(...batches)));
  const parts: Uint8Array[] = []; // schema, batches, closing batch, end marker
  for (let at = 0; at < bytes.length;) {
    const length = new DataView(bytes.buffer).getInt32(at + 4, true);
    const message = length === 0 ? null : Message.decode(bytes.subarray(at + 8, at + 8 + length));
    const end = at + 8 + length + (message?.bodyLength ?? 0);
    parts.push(bytes.subarray(at, end));
    at = end;
  }
  assertEquals(parts.length, 6);
  for (const order of ["01245", "01235", "021345", "0112345", "012435"]) {
    const read = collect(
      readArrow(ReadableStream.from(Array.from(order, (i) => parts[Number(i)]))),
    );
    await assertRejects(() => read, InputError, undefined, order);
  }
});

Deno.test("readArrow() pulls no more than it is asked for, and cancelling reaches its source", async () => {
  let pulled = 0;
  let cancelled = false;
  const source = new ReadableStream<RecordBatch>({
    pull(controller) {
      controller.enqueue(toBatch(makeColumns(2, 2 * pulled++), LINEAGE));
    },
    cancel() {
      cancelled = true;
    },
  }, { highWaterMark: 0 });
  const reader = readArrow(arrowBytes(source)).getReader();
  assertEquals(fromBatch((await reader.read()).value!), makeColumns(2));
  assert(pulled <= 3, `${pulled} batches pulled for one`);
  await reader.cancel();
  assert(cancelled);
});
