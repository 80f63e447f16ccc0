/**
 * How long does handing out N sequences to 32 experts take, and how much memory, from 10 thousand
 * to a million?
 *
 *   deno task bench:assign
 *   deno task bench:assign --section optimal --rows 10000000
 *
 * Each line is a process of its own: its peak is that of the first repetition, as resident memory
 * above the process before it has any rows, and as a multiple of the score matrix, which it
 * includes; its time is the median of the later repetitions. Below 100 thousand rows the process's
 * own growth (compiled code, 10 to 15 MiB) outweighs the matrix. `sorted objects` is the obvious
 * way, for comparison: a comparator sort of row objects, then each row's experts sorted by NLL.
 * `assign() stage` and `optimal` take batches of 1,024 rows, which are made on the way; `optimal`
 * runs once, and takes them twice.
 */
import process from "node:process";
import { type RecordBatch, toBatch } from "../../pipeline/rows/arrow.ts";
import { assign, type AssignOptions } from "../../pipeline/partition/assignment/assign.ts";
import {
  equalRooms,
  gapPerRow,
  gapShare,
  type Proof,
} from "../../pipeline/partition/assignment/assignment.ts";
import { assignBalanced } from "../../pipeline/partition/assignment/balanced.ts";
import { benchFlags } from "./flags.ts";
import { asTask, inProcess } from "./stage_process.ts";

const [EXPERTS, PREFIX, BATCH, REPETITIONS] = [32, 256, 1024, 3];

/** A way of assigning `rows` rows, ready to run; `reported` takes what it proves. */
type Way = (
  rows: number,
  reported: (proof: Proof) => void,
) => () => ArrayLike<number> | Promise<ArrayLike<number>>;

const WAYS: Record<string, Way> = {
  "assignBalanced()": (rows) => {
    const { nll, predicted } = rowsInTurn()(rows);
    return () => assignBalanced(nll, EXPERTS, predicted);
  },
  "sorted objects": (rows) => {
    const { nll, predicted } = rowsInTurn()(rows);
    return () => sortedObjects(nll, predicted);
  },
  "assign() stage": (rows) => () => stage(rows, {}),
  "optimal": (rows, onProof) => () => stage(rows, { method: "optimal", onProof }),
};

/** Makes rows, the same ones in turn: many are short, some experts are wanted more than others. */
function rowsInTurn() {
  let state = 1;
  const uniform = () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32;
  return (rows: number) => {
    const nll = new Float32Array(rows * EXPERTS);
    const predicted = new Uint32Array(rows);
    for (let row = 0; row < rows; row++) {
      predicted[row] = uniform() < 0.8 ? PREFIX - 1 : 1 + Math.floor(uniform() * (PREFIX - 1));
      const level = 4 + 2 * uniform();
      const home = Math.floor(uniform() ** 2 * EXPERTS);
      for (let e = 0; e < EXPERTS; e++) {
        nll[row * EXPERTS + e] = predicted[row] * (level + uniform() - (e === home ? 1 : 0));
      }
    }
    return { nll, predicted };
  };
}

function sortedObjects(nll: Float32Array, predicted: Uint32Array): number[] {
  const room = equalRooms(predicted.length, EXPERTS);
  const rows = Array.from(predicted, (tokens, row) => {
    const scores = [...nll.subarray(row * EXPERTS, (row + 1) * EXPERTS)];
    return { row, key: Math.min(...scores) / tokens };
  });
  rows.sort((a, b) => a.key - b.key || a.row - b.row);
  const expert = new Array<number>(rows.length);
  for (const { row } of rows) {
    const base = row * EXPERTS;
    const preference = [...room.keys()].sort((a, b) => nll[base + a] - nll[base + b] || a - b);
    expert[row] = preference.find((e) => room[e] > 0)!;
    room[expert[row]]--;
  }
  return expert;
}

async function stage(rows: number, options: Partial<AssignOptions>): Promise<Uint16Array> {
  const batches = function* (): Generator<RecordBatch> {
    const next = rowsInTurn();
    const lineage = { format: 1, stage: "score", prefix: PREFIX, experts: EXPERTS };
    for (let begin = 0; begin < rows; begin += BATCH) {
      const { nll, predicted } = next(Math.min(BATCH, rows - begin));
      const sequence = BigUint64Array.from(predicted, (_, i) => BigInt(begin + i));
      yield toBatch(
        { rows: predicted.length, sequence, length: predicted.map((n) => n + 1), nll },
        lineage,
      );
    }
  };
  const expert = new Uint16Array(rows);
  let row = 0;
  const chunk = options.method === undefined ? Math.ceil(rows / EXPERTS) * EXPERTS : 65_536;
  for await (const batch of assign(() => ReadableStream.from(batches()), { chunk, ...options })) {
    expert.set(batch.getChild("expert")!.toArray(), row);
    row += batch.numRows;
  }
  return expert;
}

/** Measures one way, in a process of its own. */
async function measure(name: string, rows: number) {
  const idle = Deno.memoryUsage().rss;
  let proof: Proof | undefined;
  const run = WAYS[name](rows, (proved) => proof = proved);
  const seconds: number[] = [];
  let expert: ArrayLike<number> = [];
  let peak = 0;
  for (let i = 0; i <= (name === "optimal" ? 0 : REPETITIONS); i++) {
    const start = performance.now();
    expert = await run();
    seconds.push((performance.now() - start) / 1000);
    peak ||= process.resourceUsage().maxRSS * 1024 - idle;
  }
  if (seconds.length > 1) seconds.shift();
  let checksum = 0;
  for (let row = 0; row < rows; row++) checksum = (Math.imul(checksum, 31) + expert[row]) >>> 0;
  const gaps = proof && [gapPerRow(proof), gapShare(proof), gapShare(proof, proof.greedy)];
  return { seconds: seconds.sort((a, b) => a - b)[seconds.length >> 1], peak, checksum, gaps };
}

async function main() {
  const about =
    "Measures the time and memory of handing out up to a million sequences to 32 experts.";
  const flags = benchFlags(about, {
    rows: 1_000_000,
    section: { one: ["greedy", "optimal", "all"] },
  });
  const names = Object.keys(WAYS).filter((name) =>
    flags.section === "all" || (name === "optimal") === (flags.section === "optimal")
  );
  console.log(`Deno ${Deno.version.deno}, ${EXPERTS} experts, median of ${REPETITIONS}`);
  console.log("way                    rows   seconds        rows/s   peak MiB   of the matrix");
  const sizes = [10_000, 30_000, 100_000, 300_000].filter((size) => size < flags.rows);
  for (const rows of [...sizes, flags.rows]) {
    const checksums = new Set<number>();
    for (const name of names) {
      const { seconds, peak, checksum, gaps } = JSON.parse(
        await inProcess(import.meta.url, await asTask("bench:assign"), [
          "--child",
          name,
          String(rows),
        ]),
      ) as Awaited<ReturnType<typeof measure>>;
      if (name !== "optimal") checksums.add(checksum);
      console.log([
        name.padEnd(17),
        rows.toLocaleString("en").padStart(9),
        seconds.toFixed(4).padStart(9),
        Math.round(rows / seconds).toLocaleString("en").padStart(13),
        (peak / 2 ** 20).toFixed(1).padStart(10),
        (peak / (rows * EXPERTS * 4)).toFixed(2).padStart(15),
      ].join(" "));
      if (gaps === undefined) continue;
      const [gap, share, greedy] = gaps;
      console.log(
        `  gap ${gap.toExponential(1)} nats per row, ${
          (100 * share).toPrecision(2)
        }% of what balancing costs; ` +
          `greedy's ${(100 * greedy).toFixed(1)}%`,
      );
    }
    if (checksums.size > 1) throw new Error(`the ways must agree on ${rows} rows: they do not`);
  }
}

if (import.meta.main) {
  const [child, name, rows] = Deno.args;
  if (child === "--child") console.log(JSON.stringify(await measure(name, Number(rows))));
  else await main();
}
