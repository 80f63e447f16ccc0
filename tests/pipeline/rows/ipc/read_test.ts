import { assert, assertEquals, assertRejects } from "@std/assert";
import { InputError } from "../../../../kernels/errors.ts";
import { Message, RecordBatch, RecordBatchStreamWriter } from "apache-arrow";
import fc from "fast-check";
import { emptyBatch, fromBatch, toBatch } from "../../../../pipeline/rows/arrow.ts";
import { lineageOf } from "../../../../pipeline/rows/lineage.ts";
import { readArrow } from "../../../../pipeline/rows/ipc/read.ts";
import { arrowBytes, writeArrowFile } from "../../../../pipeline/rows/ipc/write.ts";
import { inFolder } from "../../../tasks/support.ts";
import { bytesOf, collect, columnsOf, foreign, LINEAGE, pipe, stream } from "../support.ts";

Deno.test("readArrow() gives back what was written, from files and from pipes cut anywhere", async () => {
  const batches = [toBatch(columnsOf(3), LINEAGE), toBatch(columnsOf(4, 3), LINEAGE)];
  const expected = [columnsOf(3), columnsOf(4, 3)];
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
    assertEquals(await collect(readArrow(pipe(await Deno.readFile(`${folder}/a.arrow`)))), expected);
    await Deno.writeFile(`${folder}/a.arrows`, bytes);
    assertEquals(await collect(readArrow(`${folder}/a.arrows`)), expected);
    assertEquals((await Array.fromAsync(readArrow(`${folder}/a.arrow`), lineageOf))[1], LINEAGE);
  });
});

Deno.test("readArrow() gives one batch without rows for input without batches", async () => {
  const names = ["tokens", "source"] as const;
  const bytes = await bytesOf(arrowBytes(stream(), emptyBatch([...names], LINEAGE)));
  const batches = await Array.fromAsync(readArrow(pipe(bytes)));
  assertEquals(batches.map((batch) => batch.numRows), [0]);
  assertEquals(lineageOf(batches[0]), LINEAGE);
  assertEquals(fromBatch(batches[0]), {
    rows: 0,
    sequence: new BigUint64Array(),
    source: [],
    tokens: new Uint16Array(),
    length: new Uint32Array(),
  });
});

Deno.test("readArrow() survives a damaged byte anywhere with data or a one-line error", async () => {
  await inFolder(async (folder) => {
    const path = `${folder}/a.arrow`;
    await writeArrowFile(path, stream(toBatch(columnsOf(2), LINEAGE)));
    const bytes = await Deno.readFile(path);
    let refused = 0;
    for (let at = 0; at < bytes.length; at += 3) {
      const damaged = bytes.slice();
      damaged[at] ^= 0x55;
      await Deno.writeFile(path, damaged);
      for (const input of [path, pipe(damaged)]) {
        try {
          await collect(readArrow(input));
        } catch (error) {
          assert(error instanceof InputError, `${error}`);
          assert(error.message.startsWith("Cannot "), `byte ${at}: ${error.message}`);
          assert(!error.message.includes("\n"));
          refused++;
        }
      }
    }
    assert(refused > 100, `${refused} refusals`);
  });
});

Deno.test("a pipe of ours with a damaged byte anywhere, a batch lost, doubled or exchanged is refused, or gives the same rows", async () => {
  const batches = [2, 3, 1].map((rows, i) => toBatch(columnsOf(rows, 5 * i), LINEAGE));
  const bytes = await bytesOf(arrowBytes(stream(...batches)));
  const expected = await collect(readArrow(pipe(bytes)));
  assertEquals(expected.map(({ rows }) => rows), [2, 3, 1]);
  let same = 0;
  for (let at = 0; at < bytes.length; at++) {
    const damaged = bytes.slice();
    damaged[at] ^= 1 << at % 8;
    const read = await collect(readArrow(pipe(damaged))).catch((error) => {
      assert(error instanceof InputError && error.message.startsWith("Cannot "), `byte ${at}: ${error}`);
      return null;
    });
    if (read === null) continue;
    assertEquals(read, expected, `byte ${at}`);
    same++;
  }
  assert(same < bytes.length / 20, `${same} of ${bytes.length} bytes made no difference`);

  const parts: Uint8Array[] = []; // schema, batches, closing batch, end marker
  for (let at = 0; at < bytes.length;) {
    const length = new DataView(bytes.buffer).getInt32(at + 4, true);
    const message = length === 0 ? null : Message.decode(bytes.subarray(at + 8, at + 8 + length));
    const end = at + 8 + length + (message?.bodyLength ?? 0);
    parts.push(bytes.subarray(at, end));
    at = end;
  }
  assertEquals(parts.length, 6);
  const orders = [[0, 1, 2, 4, 5], [0, 1, 2, 3, 5], [0, 2, 1, 3, 4, 5], [0, 1, 1, 2, 3, 4, 5], [
    0,
    1,
    2,
    4,
    3,
    5,
  ]];
  for (const order of orders) {
    const read = collect(readArrow(ReadableStream.from(order.map((i) => parts[i]))));
    await assertRejects(() => read, InputError, undefined, order.join());
  }
});

Deno.test("a file that closes as a pipe does is refused with a damaged byte, or gives the same rows", () =>
  inFolder(async (folder) => {
    const path = `${folder}/a.arrow`;
    const batches = [2, 3].map((rows, i) => toBatch(columnsOf(rows, 5 * i), LINEAGE));
    await writeArrowFile(path, stream(...batches), undefined, { closes: true });
    const bytes = await Deno.readFile(path);
    const expected = await collect(readArrow(path));
    assertEquals(expected.map(({ rows }) => rows), [2, 3]);
    assertEquals(await collect(readArrow(pipe(bytes))), expected);
    let refused = 0;
    for (let at = 0; at < bytes.length; at += 7) {
      await Deno.writeFile(path, bytes.with(at, bytes[at] ^ 1 << at % 8));
      const read = await collect(readArrow(path)).catch((error) => {
        assert(error instanceof InputError && error.message.startsWith("Cannot "), `byte ${at}: ${error}`);
        return null;
      });
      if (read === null) refused++;
      else assertEquals(read, expected, `byte ${at}`);
    }
    assert(refused > bytes.length / 14, `${refused} of ${bytes.length} bytes`);
  }));

Deno.test("readArrow() pulls no more than it is asked for, and cancelling reaches its source", async () => {
  let pulled = 0, cancelled = false;
  const source = new ReadableStream<RecordBatch>({
    pull(controller) {
      controller.enqueue(toBatch(columnsOf(2, 2 * pulled++), LINEAGE));
    },
    cancel() {
      cancelled = true;
    },
  }, { highWaterMark: 0 });
  const reader = readArrow(arrowBytes(source)).getReader();
  assertEquals(fromBatch((await reader.read()).value!), columnsOf(2));
  assert(pulled <= 3, `${pulled} batches pulled for one`);
  await reader.cancel();
  assert(cancelled);
});

Deno.test("readArrow() reads a stream of the library's own writer", async () => {
  const bytes = RecordBatchStreamWriter.writeAll([foreign({})]).toUint8Array(true);
  assertEquals((await collect(readArrow(pipe(bytes))))[0].length, Uint32Array.of(2, 2));
});
