/**
 * The part of `bench:assign` on optimal assignment: Arrow files are written by one process and assigned by another, whose time and
 * memory count. It is a program of its own so that each has the permissions that it needs:
 *
 *   deno run --allow-read --allow-write tests/bench/assign_optimal.ts write ROWS | assign FOLDER | remove FOLDER
 */
import process from "node:process";
import { readShards, type RecordBatch, toBatch, writeArrowFile } from "../../pipeline/rows/arrow.ts";
import { assign } from "../../pipeline/partition/assignment/assign.ts";
import { gapPerRow, gapShare, type Proof } from "../../pipeline/partition/assignment/assignment.ts";
import { EXPERTS, PREFIX, rowsInTurn } from "./assign_rows.ts";

const SHARD = 262_144; // rows
const BATCH = 4096; // rows

/** What assigning files took, and what it proved. */
export interface Optimal {
  seconds: number;
  /** Bytes above the idle process. */
  peak: number;
  /** Times that the files were read. */
  passes: number;
  /** Above the bound, per row in nats. */
  gap: number;
  /** The same, as a share of what balancing costs. */
  share: number;
  /** The greedy rule's. */
  greedy: number;
}

async function write(rows: number): Promise<string> {
  const folder = await Deno.makeTempDir();
  const fill = rowsInTurn();
  for (let first = 0; first < rows; first += SHARD) {
    const batches = function* (): Generator<RecordBatch> {
      const end = Math.min(rows, first + SHARD);
      for (let begin = first; begin < end; begin += BATCH) {
        const predicted = new Uint32Array(Math.min(BATCH, end - begin));
        const nll = new Float32Array(predicted.length * EXPERTS);
        fill(nll, predicted);
        const sequence = BigUint64Array.from(predicted, (_, i) => BigInt(begin + i));
        const length = predicted.map((tokens) => tokens + 1);
        const source = Array.from(predicted, (_, i) => i % 3 === 0 ? "news" : "law");
        const lineage = { format: 1, stage: "score", prefix: PREFIX, experts: EXPERTS };
        yield toBatch({ rows: length.length, sequence, document: sequence, source, length, nll }, lineage);
      }
    };
    const name = `train-${String(first / SHARD).padStart(5, "0")}.arrow`;
    await writeArrowFile(`${folder}/${name}`, ReadableStream.from(batches()));
  }
  return folder;
}

async function measure(folder: string): Promise<Optimal> {
  const names = Array.from(Deno.readDirSync(folder), ({ name }) => `${folder}/${name}`).sort();
  const idle = Deno.memoryUsage().rss;
  const start = performance.now();
  let passes = 0;
  let proof: Proof | undefined;
  const open = () => (passes++, readShards(names));
  const chunk = 65_536;
  for await (const _ of assign(open, { method: "optimal", chunk, onProof: (proved) => proof = proved }));
  const seconds = (performance.now() - start) / 1000;
  const peak = process.resourceUsage().maxRSS * 1024 - idle;
  return {
    seconds,
    peak,
    passes,
    gap: gapPerRow(proof!),
    share: gapShare(proof!),
    greedy: gapShare(proof!, proof!.greedy),
  };
}

if (import.meta.main) {
  const [what, of] = Deno.args;
  if (what === "write") console.log(await write(Number(of)));
  else if (what === "assign") console.log(JSON.stringify(await measure(of)));
  else await Deno.remove(of, { recursive: true });
}
