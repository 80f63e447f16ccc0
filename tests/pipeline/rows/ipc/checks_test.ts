import { assertStringIncludes } from "@std/assert";
import { Message, RecordBatch, RecordBatchStreamWriter } from "apache-arrow";
import { toBatch } from "../../../../pipeline/rows/arrow.ts";
import { readArrow } from "../../../../pipeline/rows/ipc/read.ts";
import { collect, LINEAGE, listLearnedColumns, pipe } from "../support.ts";

/** Rewrites the messages of a stream: `change` may alter a batch's header. */
function rewrite(
  batch: RecordBatch,
  change: (header: { _length: number; _nodes: Node[]; _buffers: Region[] }) => void,
) {
  class Writer extends RecordBatchStreamWriter {
    protected override _writeMessage(message: Message): this {
      const header = message.header() as unknown as Parameters<typeof change>[0];
      if (message.isRecordBatch()) change(header);
      return super._writeMessage(message as never);
    }
  }
  const writer = new Writer();
  writer.write(batch);
  writer.close();
  return writer.toUint8Array(true) as Uint8Array<ArrayBuffer>;
}
type Node = { length: number; nullCount: number };
type Region = { offset: number; length: number };

Deno.test("readArrow() refuses batches that say less, or more, than they hold", async () => {
  const batch = toBatch(listLearnedColumns(40), LINEAGE);
  const cases: [string, (header: { _length: number; _nodes: Node[]; _buffers: Region[] }) => void][] = [
    ['it has 20 rows, column "sequence" has 40', (header) => header._length = 20],
    ["it has 41 rows", (header) => header._length = 41],
    ['column "sequence" has 39 of 40', (header) => header._nodes[0] = { length: 39, nullCount: 0 }],
    ['column "tokens" has 120 of 160', (header) => header._nodes[4] = { length: 120, nullCount: 0 }],
    ["41 null values of 40", (header) => header._nodes[0] = { length: 40, nullCount: 41 }],
    ["they take 320", (header) => header._buffers[1].length = 300],
    ["leaves its body", (header) => header._buffers[3].offset = 1e6],
    ["columns and lists", (header) => header._nodes.push({ length: 40, nullCount: 0 })],
  ];
  await collect(readArrow(pipe(rewrite(batch, () => {}))));
  for (const [message, change] of cases) {
    const bytes = rewrite(batch, change);
    const read = await collect(readArrow(pipe(bytes))).catch((error) => error.message);
    assertStringIncludes(String(read), message);
  }
});
