/**
 * How fast are token shards written and read?
 *
 *   deno task bench:arrow [--rows 200000] [--sequence-length 128] [--rounds 5]
 *
 * Rows are in memory as batches of 1,024; bytes are those of the shard on disk, which is in the page cache. `encode` and
 * `SHA-256` are the parts of writing: the bytes made and dropped, and hashed alone. `write` is `writeArrowFile()`: encode,
 * hash, write and synchronise with the disk; `write, no hash` is the same without the hash. `read` is `readArrow()` and
 * `fromBatch()` of every batch, with its checks. The ways take turns; medians of the rounds, of time
 * on the clock and of processor time (all threads), which other processes disturb less.
 */

import { createHash } from "node:crypto";
import {
  arrowBytes,
  fromBatch,
  readArrow,
  type RecordBatch,
  toBatch,
  writeArrowFile,
} from "../../pipeline/rows/arrow.ts";
import { benchFlags } from "./flags.ts";
import { columns } from "./text.ts";
import { median } from "../../kernels/device/time.ts";
import { takeTurns } from "./work.ts";

const { rows, "sequence-length": S, rounds } = benchFlags(
  "Measures how fast token shards are written and read.",
  { rows: 200_000, "sequence-length": 128, rounds: 5 },
);
const BATCH = 1024;

const batches: RecordBatch[] = [];
for (let at = 0; at < rows; at += BATCH) {
  const count = Math.min(BATCH, rows - at);
  batches.push(toBatch({
    rows: count,
    sequence: BigUint64Array.from({ length: count }, (_, i) => BigInt(at + i)),
    document: BigUint64Array.from({ length: count }, (_, i) => BigInt((at + i) >> 3)),
    source: Array.from({ length: count }, (_, i) => ["news", "code", "speech"][(i >> 3) % 3]),
    tokens: Uint16Array.from({ length: count * S }, (_, i) => i * 2654435761 % 50_257),
    length: new Uint32Array(count).fill(S),
  }, { format: 1, stage: "tokenize", sequenceLength: S, vocabulary: 50_257, eos: 0 }));
}

const folder = await Deno.makeTempDir();
const path = `${folder}/shard.arrow`;
const { bytes } = await writeArrowFile(path, ReadableStream.from(batches));
const whole = await Deno.readFile(path);

const ways: Record<string, () => unknown> = {
  "encode": async () => {
    for await (const _ of arrowBytes(ReadableStream.from(batches)));
  },
  "SHA-256": () => createHash("sha256").update(whole).digest(),
  "write": () => writeArrowFile(`${folder}/out.arrow`, ReadableStream.from(batches)),
  "write, no hash": async () => {
    const file = await Deno.open(`${folder}/plain.arrows`, { write: true, create: true, truncate: true });
    for await (const chunk of arrowBytes(ReadableStream.from(batches))) {
      for (let at = 0; at < chunk.length;) at += await file.write(chunk.subarray(at));
    }
    await file.sync();
    file.close();
  },
  "read": async () => {
    for await (const batch of readArrow(path)) fromBatch(batch);
  },
};
const seconds = await takeTurns(ways, rounds);
await Deno.remove(folder, { recursive: true });

console.log(`${rows} rows of ${S} tokens, ${(bytes / 1e6).toFixed(1)} MB, Deno ${Deno.version.deno}`);
const rate = (times: number[]) => (bytes / 1e6 / median(times)).toFixed(0);
const speeds = Array.from(seconds, ([name, { clock, processor }]) => [name, rate(clock), rate(processor)]);
console.log(columns([["", "MB/s", "MB per processor s"], ...speeds], "lrr"));
