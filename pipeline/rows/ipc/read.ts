/**
 * Reads Arrow IPC files and streams, one batch at a time. The Arrow library decodes. What it does
 * not check is checked here, in `messages.ts`, `footer.ts` and `layout.ts`.
 *
 * @module
 */

import { RecordBatch, RecordBatchReader, Schema, type Vector } from "apache-arrow/Arrow.dom";
import { createHash } from "node:crypto";
import { hashFile, unreadable } from "../../graph/files.ts";
import { checkRead, findRecord } from "../../graph/schema.ts";
import { LayoutChecks } from "./layout.ts";
import { orUnreadable } from "./library.ts";
import {
  ANNOUNCED,
  CLOSING_ROWS,
  CLOSING_SHA256,
  cutShort,
  type IpcMessage,
  messages,
} from "./messages.ts";

const origins = new WeakMap<RecordBatch, string>();

/** Names a batch in messages, as in "tokens.arrow, batch 3"; "the batch" if it was not read. */
export function findOrigin(batch: RecordBatch): string {
  return origins.get(batch) ?? "the batch";
}

/**
 * Reads the batches of an Arrow IPC file or stream, one at a time; `name` is what messages call a
 * stream. Input without batches gives one batch without rows.
 *
 * Throws an `InputError`, with file and batch, where the input is not Arrow, is damaged or is cut
 * short. What is cut short lacks its end marker or its footer. A file of a run is hashed while it
 * is read: only after its last batch are its batches proven to be what was written. `some` reads
 * those batches alone, and no end.
 */
export function readArrow(
  input: string | ReadableStream<Uint8Array>,
  name: string = typeof input === "string" ? input : "the Arrow stream",
  some?: BatchRange,
): ReadableStream<RecordBatch> {
  const record = typeof input === "string" && !some ? findRecord(input) : undefined;
  return ReadableStream.from(async function* () {
    const hash = createHash("sha256");
    let bytes = 0;
    const hear = (chunk: Uint8Array) => {
      hash.update(chunk);
      bytes += chunk.length;
    };
    try {
      yield* readBatches(messages(input, name, record && hear), name, some);
    } catch (error) {
      // A wrong hash explains the error better.
      if (record) checkRead(input as string, await hashFile(input as string), record);
      throw error;
    }
    if (record) checkRead(input as string, { bytes, sha256: hash.digest("hex") }, record);
  }());
}

/** Numbers of batches, `from` up to `to`. */
export interface BatchRange {
  /** The first. */
  from: number;
  /** The one after the last. */
  to: number;
}

/** Lists bytes and rows of the batches of an Arrow file. */
export async function arrowBatches(path: string): Promise<{ bytes: number; rows: number }[]> {
  const batches: { bytes: number; rows: number }[] = [];
  for await (const { kind, message, offset, end } of messages(path, path)) {
    if (kind === "batch") {
      batches.push({ bytes: end - offset, rows: (message.header() as { length: number }).length });
    }
  }
  return batches;
}

async function* readBatches(
  source: AsyncIterable<IpcMessage>,
  name: string,
  some: BatchRange = { from: 0, to: Infinity },
): AsyncGenerator<RecordBatch> {
  let schema: Uint8Array[] = [];
  let fields: Schema | undefined; // without the announcement of a closing batch
  let hash: ReturnType<typeof createHash> | undefined; // of everything before the closing batch
  let closing: ReadonlyMap<string, string> | undefined;
  const dictionaries = new Map<number, Vector>(); // by id
  // Dictionaries of the next batch by id; a delta is added, anything else replaces.
  const ahead = new Map<number, Uint8Array[]>();
  const checks = new LayoutChecks();
  let count = 0;
  let rows = 0;
  for await (const { kind, message, where, head, body } of source) {
    if (kind === "batch" && count === some.to) return;
    if (kind === "batch" && count++ < some.from) continue; // its body is not read
    const bytes = await body();
    const chunks = [head, bytes];
    if (kind === "schema") {
      schema = chunks;
      const whole: Schema = orUnreadable(name, () => message.header() as Schema);
      if (whole.metadata.has(ANNOUNCED)) hash = createHash("sha256");
      const metadata = new Map([...whole.metadata].filter(([key]) => key !== ANNOUNCED));
      fields = new Schema(whole.fields, metadata, whole.dictionaries);
    }
    if (kind === "closing") closing = message.metadata;
    else chunks.forEach((chunk) => hash?.update(chunk));
    if (message.isDictionaryBatch()) {
      orUnreadable(where, () => checks.check(where, fields!, message, bytes));
      const { id, isDelta } = message.header();
      const parts = isDelta && ahead.get(id) || [];
      parts.push(...chunks);
      ahead.set(id, parts);
    } else if (kind === "batch") {
      orUnreadable(where, () => checks.check(where, fields!, message, bytes));
      const all = [...schema, ...[...ahead.values()].flat(), ...chunks];
      ahead.clear();
      const batch = decode(where, all, hash && fields, dictionaries);
      rows += batch.numRows;
      yield batch;
    }
  }
  if ((hash || closing) && some.to === Infinity) {
    if (!closing) throw cutShort(name);
    const isWhole = closing.get(CLOSING_SHA256) === hash?.digest("hex") &&
      closing.get(CLOSING_ROWS) === String(rows);
    const rule = "its rows and its SHA-256 must be what its end says";
    if (!isWhole) throw unreadable(name, rule, "it is damaged; make it again");
  }
  if (count === 0) yield decode(name, schema, fields);
}

/**
 * Decodes a schema, dictionaries and one batch, or a batch without rows where there is none. The
 * batch gets `schema`, if given. `dictionaries` holds those decoded so far, and gets the new ones.
 */
export function decode(
  where: string,
  chunks: Uint8Array[],
  schema?: Schema,
  dictionaries = new Map<number, Vector>(),
): RecordBatch {
  const decoded: RecordBatch = orUnreadable(where, () => {
    const reader = RecordBatchReader.from(chunks).open();
    for (const [id, values] of dictionaries) reader.dictionaries.set(id, values);
    const { value } = reader.next();
    for (const [id, values] of reader.dictionaries) dictionaries.set(id, values);
    return value;
  });
  const batch = schema ? new RecordBatch(schema, decoded.data) : decoded;
  origins.set(batch, where);
  return batch;
}
