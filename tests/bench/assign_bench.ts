/**
 * How long does handing out N sequences to 32 experts take, and how much memory, from 10 thousand to a million?
 *
 *   deno task bench:assign
 *   deno task bench:assign --section optimal --rows 10000000
 *
 * Each line is a process of its own: its peak is that of the first repetition, as resident memory above the process
 * before it has any rows, and as a multiple of the score matrix, which it includes; its time is the median of the
 * later repetitions. Below 100 thousand rows the process's own growth (compiled code, 10 to 15 MiB) outweighs the
 * matrix. `sorted objects` is the obvious way, for comparison: a comparator sort of row objects, then each
 * row's experts sorted by NLL. `assign() stage` takes the rows in batches of 1,024 and N at a time; what it takes
 * includes making the batches.
 *
 * The second section assigns optimally, from Arrow files that another process wrote: everything from opening them to the last
 * batch, once, up to `--rows` of them; 10 million take 1.5 GB of disk.
 */
import process from "node:process";
import { type RecordBatch, toBatch } from "../../pipeline/rows/arrow.ts";
import { assign } from "../../pipeline/partition/assignment/assign.ts";
import { assignBalanced } from "../../pipeline/partition/assignment/balanced.ts";
import type { Optimal } from "./assign_optimal.ts";
import { EXPERTS, PREFIX, rowsInTurn } from "./assign_rows.ts";
import { benchFlags } from "./flags.ts";

const SIZES = [10_000, 30_000, 100_000, 300_000, 1_000_000];
const REPETITIONS = 3;
const BATCH = 1024;

/** A way of assigning `rows` rows, ready to run. */
type Way = (rows: number) => () => ArrayLike<number> | Promise<ArrayLike<number>>;

const WAYS: Record<string, Way> = {
  "assignBalanced()": (rows) => {
    const { nll, predicted } = example(rows);
    return () => assignBalanced(nll, EXPERTS, predicted);
  },
  "sorted objects": (rows) => {
    const { nll, predicted } = example(rows);
    return () => sortedObjects(nll, predicted);
  },
  "assign() stage": (rows) => () => stage(rows),
};

function sortedObjects(nll: Float32Array, predicted: Uint32Array): number[] {
  const count = predicted.length;
  const room = Array.from(
    { length: EXPERTS },
    (_, e) => Math.floor(count / EXPERTS) + Number(e < count % EXPERTS),
  );
  const rows = Array.from({ length: count }, (_, row) => {
    const scores = [...nll.subarray(row * EXPERTS, (row + 1) * EXPERTS)];
    return { row, key: Math.min(...scores) / predicted[row] };
  });
  rows.sort((a, b) => a.key - b.key || a.row - b.row);
  const expert = new Array<number>(count);
  for (const { row } of rows) {
    const base = row * EXPERTS;
    const preference = [...room.keys()].sort((a, b) => nll[base + a] - nll[base + b] || a - b);
    expert[row] = preference.find((e) => room[e] > 0)!;
    room[expert[row]]--;
  }
  return expert;
}

async function stage(rows: number): Promise<Uint16Array> {
  const batches = ReadableStream.from(function* (): Generator<RecordBatch> {
    const fill = rowsInTurn();
    for (let begin = 0; begin < rows; begin += BATCH) {
      const predicted = new Uint32Array(Math.min(BATCH, rows - begin));
      const nll = new Float32Array(predicted.length * EXPERTS);
      fill(nll, predicted);
      const sequence = BigUint64Array.from(predicted, (_, i) => BigInt(begin + i));
      const length = predicted.map((tokens) => tokens + 1);
      const lineage = { format: 1, stage: "score", prefix: PREFIX, experts: EXPERTS };
      yield toBatch({ rows: length.length, sequence, length, nll }, lineage);
    }
  }());
  const expert = new Uint16Array(rows);
  let row = 0;
  for await (const batch of assign(batches, { chunk: Math.ceil(rows / EXPERTS) * EXPERTS })) {
    expert.set(batch.getChild("expert")!.toArray(), row);
    row += batch.numRows;
  }
  return expert;
}

function example(rows: number): { nll: Float32Array; predicted: Uint32Array } {
  const nll = new Float32Array(rows * EXPERTS);
  const predicted = new Uint32Array(rows);
  rowsInTurn()(nll, predicted);
  return { nll, predicted };
}

interface Measured {
  seconds: number;
  /** Bytes above the idle process. */
  peak: number;
  checksum: number;
}

async function measure(way: Way, rows: number): Promise<Measured> {
  const idle = Deno.memoryUsage().rss;
  const run = way(rows);
  const expert = await run();
  const peak = process.resourceUsage().maxRSS * 1024 - idle;
  let checksum = 0;
  for (let row = 0; row < rows; row++) checksum = (Math.imul(checksum, 31) + expert[row]) >>> 0;
  const seconds: number[] = [];
  for (let i = 0; i < REPETITIONS; i++) {
    const start = performance.now();
    await run();
    seconds.push((performance.now() - start) / 1000);
  }
  return { seconds: seconds.sort((a, b) => a - b)[REPETITIONS >> 1], peak, checksum };
}

async function inOwnProcess(name: string, rows: number): Promise<Measured> {
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", import.meta.url, "--child", name, String(rows)],
  }).output();
  if (!success) throw new Error(new TextDecoder().decode(stderr));
  return JSON.parse(new TextDecoder().decode(stdout));
}

async function main() {
  console.log(`Deno ${Deno.version.deno}, ${EXPERTS} experts, median of ${REPETITIONS}`);
  console.log("way                    rows   seconds        rows/s   peak MiB   of the matrix");
  for (const rows of SIZES) {
    const checksums = new Set<number>();
    for (const name of Object.keys(WAYS)) {
      const { seconds, peak, checksum } = await inOwnProcess(name, rows);
      checksums.add(checksum);
      console.log([
        name.padEnd(17),
        rows.toLocaleString("en").padStart(9),
        seconds.toFixed(4).padStart(9),
        Math.round(rows / seconds).toLocaleString("en").padStart(13),
        (peak / 2 ** 20).toFixed(1).padStart(10),
        (peak / (rows * EXPERTS * 4)).toFixed(2).padStart(15),
      ].join(" "));
    }
    if (checksums.size > 1) throw new Error(`the ways must agree on ${rows} rows: they do not`);
  }
}

async function optimal(most: number) {
  const program = async (...args: string[]) => {
    const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: [
        "run",
        "--allow-read",
        "--allow-write",
        new URL("assign_optimal.ts", import.meta.url).href,
        ...args,
      ],
    }).output();
    if (!success) throw new Error(new TextDecoder().decode(stderr));
    return new TextDecoder().decode(stdout).trim();
  };
  console.log("\noptimal, from Arrow files");
  console.log("      rows   seconds     rows/s   peak MiB  passes  gap, nats/row  of balancing  greedy's");
  for (const rows of [...SIZES.filter((size) => size >= 100_000 && size < most), most]) {
    const folder = await program("write", String(rows));
    try {
      const { seconds, peak, passes, gap, share, greedy }: Optimal = JSON.parse(
        await program("assign", folder),
      );
      console.log([
        rows.toLocaleString("en").padStart(10),
        seconds.toFixed(2).padStart(9),
        Math.round(rows / seconds).toLocaleString("en").padStart(10),
        (peak / 2 ** 20).toFixed(0).padStart(10),
        String(passes).padStart(7),
        gap.toExponential(1).padStart(14),
        `${(100 * share).toPrecision(2)}%`.padStart(13),
        `${(100 * greedy).toFixed(1)}%`.padStart(9),
      ].join(" "));
    } finally {
      await program("remove", folder);
    }
  }
}

if (import.meta.main) {
  const [child, name, rows] = Deno.args;
  if (child !== "--child") {
    const about = "Measures the time and memory of handing out up to a million sequences to 32 experts.";
    const flags = benchFlags(about, { rows: 1_000_000, section: ["greedy", "optimal", "all"] as const });
    if (flags.section !== "optimal") await main();
    if (flags.section !== "greedy") await optimal(flags.rows);
  } else console.log(JSON.stringify(await measure(WAYS[name], Number(rows))));
}
