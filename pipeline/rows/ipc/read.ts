/**
 * Reads Arrow IPC files and streams, one batch at a time. The Arrow library decodes. What it does not check
 * is checked here and in `messages.ts` and `checks.ts`.
 *
 * @module
 */

import { RecordBatch, RecordBatchReader, Schema } from "apache-arrow/Arrow.dom";
import { createHash } from "node:crypto";
import { unreadable } from "../../run/files.ts";
import { openReading, type Reading, type Vouched } from "../../run/vouched.ts";
import { checkNodes } from "./checks.ts";
import { orUnreadable } from "./library.ts";
import { ANNOUNCED, CLOSING_ROWS, CLOSING_SHA256 } from "./marks.ts";
import { cutShort, messages } from "./messages.ts";
import { originOf, withOrigin } from "./origin.ts";

const SCHEMA_FIRST = "an Arrow stream must begin with its schema";

/**
 * Reads the batches of an Arrow IPC file or stream, one at a time; `name` is what messages call a stream.
 * Input without batches gives one batch without rows.
 *
 * Throws an `InputError`, with file and batch, where the input is not Arrow, is cut short (it lacks its end
 * marker or its footer) or is damaged. A file that `vouched` knows is hashed while it is read: only after its
 * last batch are its batches proven to be what was written. `some` reads those batches alone, and no end.
 */
export function readArrow(
  input: string | ReadableStream<Uint8Array>,
  name: string = typeof input === "string" ? input : "the Arrow stream",
  vouched?: Vouched,
  some?: BatchRange,
): ReadableStream<RecordBatch> {
  const reading = typeof input === "string" && !some ? openReading(input, vouched) : undefined;
  return ReadableStream.from(readBatches(input, name, reading, some));
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
  for await (const { message, offset, end } of messages(path, path)) {
    if (!message.isRecordBatch() || message.metadata.has(CLOSING_ROWS)) continue;
    batches.push({ bytes: end - offset, rows: message.header().length });
  }
  return batches;
}

async function* readBatches(
  input: string | ReadableStream<Uint8Array>,
  name: string,
  reading?: Reading,
  some?: BatchRange,
) {
  let schema: Uint8Array[] | undefined;
  let fields: Schema | undefined; // the schema's metadata, without the announcement of a closing batch
  const hash = createHash("sha256");
  let rows = 0;
  let isAnnounced = false, closing: ReadonlyMap<string, string> | undefined;
  const dictionaries = new Map<number, Uint8Array[]>(); // by id; a delta is added, anything else replaces
  let count = 0;
  for await (const { message, head, body } of messages(input, name, reading)) {
    const isBatch = message.isRecordBatch() && !message.metadata.has(CLOSING_ROWS);
    if (some && isBatch && count === some.to) return;
    if (some && isBatch && count < some.from) {
      count++;
      continue; // its body is not read
    }
    const chunks = [head, await body()];
    if (closing) throw unreadable(name, "nothing must follow the batch that closes it", "more does");
    if (message.isRecordBatch() && message.metadata.has(CLOSING_ROWS)) closing = message.metadata;
    else if (isAnnounced || !schema) chunks.forEach((chunk) => hash.update(chunk));
    if (message.isSchema()) {
      if (schema) throw unreadable(name, "an Arrow stream must have one schema", "a second one follows");
      schema = chunks;
      const whole: Schema = orUnreadable(name, () => message.header());
      isAnnounced = whole.metadata.has(ANNOUNCED);
      const metadata = new Map([...whole.metadata].filter(([key]) => key !== ANNOUNCED));
      fields = new Schema(whole.fields, metadata, whole.dictionaries);
    } else if (schema === undefined) {
      throw unreadable(name, SCHEMA_FIRST, `it begins with message ${message.headerType}`);
    } else if (message.isDictionaryBatch()) {
      const { id, isDelta } = message.header();
      dictionaries.set(id, [...isDelta ? dictionaries.get(id) ?? [] : [], ...chunks]);
    } else {
      if (closing) continue;
      const where = `${name}, batch ${count++}`;
      orUnreadable(where, () => checkNodes(where, fields!, message));
      const batch = decode(where, [...schema, ...[...dictionaries.values()].flat(), ...chunks]);
      rows += batch.numRows;
      yield isAnnounced ? withSchema(batch, fields!) : batch;
    }
  }
  if (schema === undefined) throw unreadable(name, SCHEMA_FIRST, "it has none");
  if (!some && (isAnnounced || closing)) checkClosing(name, closing, rows, hash.digest("hex"));
  if (count === 0) yield withSchema(decode(name, schema), fields!);
}

/** Throws where a stream does not hold what its closing batch says. */
function checkClosing(
  name: string,
  closing: ReadonlyMap<string, string> | undefined,
  rows: number,
  sha256: string,
): void {
  if (closing === undefined) throw cutShort(name);
  const said = closing.get(CLOSING_ROWS);
  if (said === undefined || !/^\d+$/.test(said)) {
    throw unreadable(name, "its end must tell how many rows it holds", "it does not; make it again");
  }
  if (said !== String(rows)) {
    throw unreadable(name, `it must hold the ${said} rows that its end tells of`, `it holds ${rows}`);
  }
  if (closing.get(CLOSING_SHA256) === sha256) return;
  throw unreadable(name, "its SHA-256 must be what its end says", "it is damaged; make it again");
}

/** Gives a batch another schema of the same columns. */
function withSchema(batch: RecordBatch, schema: Schema): RecordBatch {
  return withOrigin(new RecordBatch(schema, batch.data), originOf(batch));
}

/** Decodes a schema, dictionaries and one batch. Where there is no batch, gives one without rows. */
export function decode(where: string, chunks: Uint8Array[]): RecordBatch {
  return withOrigin(orUnreadable(where, () => RecordBatchReader.from(chunks).open().next().value), where);
}
