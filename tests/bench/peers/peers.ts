/**
 * Trains and scores the same model with this project and with other JavaScript libraries.
 *
 *   deno task bench:peers [--sizes R,S,M] [--warm] [--quick] [--json]
 *
 * Each library runs in a process of its own, all at once and driven in turn, so that a slow minute
 * of the machine meets all of them; figures are medians and ratios of one run. Same initial
 * weights, same tokens, same AdamW; the losses of the first steps must agree: a library whose
 * losses or scores differ, or that fails, is named and left out, and the run ends with code 1.
 * Their packages are pinned in deno.json and deno.lock next to this file: no other task loads them.
 */

import { createInterface } from "node:readline";
import { Readable } from "node:stream";
import { fileURLToPath } from "node:url";
import { SCORE_BATCH, type SizeName, SIZES } from "./task.ts";
import { benchFlags } from "../flags.ts";
import { median } from "../../../kernels/device/time.ts";

const ABOUT =
  `Trains and scores one model with this project, jax-js (WebGPU and WebAssembly) and TensorFlow.js (WebGPU): tokens/s,
first step with nothing compiled before, peak memory.

--warm uses what earlier processes compiled (Mesa's disk cache): jax-js compiles for minutes, and the first step is then
no measure of compiling; --quick takes a small shape and 2 steps: a check that it runs, not a measurement`;

/** A library: its script and that one's arguments, and whether it scores. */
type PeerSpec = { name: string; script: string; args: string[]; scores: boolean };

const OURS: PeerSpec = { name: "SmallTalk LM", script: "ours.ts", args: [], scores: true };
const PEERS: PeerSpec[] = [
  { name: "jax-js webgpu", script: "jax.ts", args: ["webgpu"], scores: true },
  { name: "jax-js wasm", script: "jax.ts", args: ["wasm"], scores: true },
  { name: "TensorFlow.js webgpu", script: "tfjs.ts", args: [], scores: false },
];
/**
 * All peers turn queries and keys by position as this project does: the models are the same to the
 * last weight.
 */
const POSITIONS = "rotary";
/** Of losses near log V, in f32 arithmetic in another order. */
const LOSS_TOLERANCE = 5e-4;
/**
 * Steps whose losses are compared. Training magnifies roundings: after 14 steps two variants of our
 * own kernels differ by 2e-3.
 */
const COMPARED_STEPS = 10;
const PREFIXES = [32, 128];

/** Reports that a library failed, or computes something else: the others can still be compared. */
class PeerError extends Error {
  constructor(readonly peer: string, message: string) {
    super(message);
  }
}

/** A library's process: takes a request, one JSON line, and answers with another. */
class Worker {
  readonly #child: Deno.ChildProcess;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  readonly #answers: AsyncIterator<string>;
  #lastWords = "";

  constructor(readonly spec: PeerSpec, warm: boolean) {
    const path = (name: string) => fileURLToPath(new URL(name, import.meta.url));
    this.#child = new Deno.Command(Deno.execPath(), {
      // A process may read its own peak memory with all permissions alone.
      args: [
        "run",
        "--no-prompt",
        "--quiet",
        "-A",
        "--config",
        path("deno.json"),
        path(spec.script),
        ...spec.args,
      ],
      env: warm ? {} : { MESA_SHADER_CACHE_DISABLE: "true" },
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    this.#writer = this.#child.stdin.getWriter();
    this.#answers = lines(this.#child.stdout);
    this.#listen();
  }

  async #listen() {
    for await (const line of lines(this.#child.stderr)) {
      if (line.trim()) this.#lastWords = line.trim();
    }
  }

  // deno-lint-ignore no-explicit-any -- one shape of answer per request, see serve() in task.ts
  async ask(request: Record<string, unknown>): Promise<any> {
    await this.#writer.write(new TextEncoder().encode(JSON.stringify(request) + "\n"));
    const failed = (how: string) =>
      new PeerError(this.spec.name, `Cannot go on as ${this.spec.name} must answer: it ${how}`);
    for (;;) {
      const { value, done } = await this.#answers.next();
      if (done) throw failed(`ended with "${this.#lastWords}"`);
      if (!value.startsWith("@")) continue; // what the library says
      const answer = JSON.parse(value.slice(1));
      if (answer.error) throw failed(`says "${answer.error}"`);
      return answer;
    }
  }

  async close() {
    await this.#writer.close().catch(() => {});
    await this.#child.status;
  }
}

const lines = (stream: ReadableStream<Uint8Array>): AsyncIterableIterator<string> =>
  createInterface({ input: Readable.from(stream) })[Symbol.asyncIterator]();

/**
 * A figure; the ratio is ours divided by it, or it divided by ours where less is better: above 1
 * this project is ahead.
 */
type Row =
  & { size: SizeName; value: number; ratio?: number }
  & Record<"peer" | "what" | "unit", string>;

/** What {@link measure} takes. */
interface Measurement {
  /** Rounds that a median is taken of. */
  rounds: number;
  /** Whether to score prefixes too. */
  scoring: boolean;
  /** Whether code that earlier processes compiled may be used. */
  warm: boolean;
  /** Takes results as they come: a whole run takes a while. */
  report: (rows: Row[]) => void;
}

/** Measures one size in all libraries. */
async function measure(
  size: SizeName,
  specs: PeerSpec[],
  { rounds, scoring, warm, report }: Measurement,
) {
  const { batch, context } = SIZES[size];
  const add = (what: string, unit: string, values: (number | undefined)[], less = false) => {
    report(values.flatMap((value, i): Row[] => {
      if (value === undefined) return [];
      const ratio = i === 0 ? undefined : less ? value / values[0]! : values[0]! / value;
      return [{ size, peer: specs[i].name, what, value, unit, ratio }];
    }));
  };
  const workers: Worker[] = [];
  try {
    const first: number[] = [];
    const losses: number[][] = [];
    for (const spec of specs) {
      const worker = new Worker(spec, warm);
      workers.push(worker);
      const answer = await worker.ask({ do: "open", size });
      first.push(answer.seconds);
      losses.push(answer.losses);
    }
    const train = async (i: number, steps: number): Promise<number> => {
      const answer = await workers[i].ask({ do: "train", steps });
      losses[i].push(...answer.losses);
      return answer.seconds;
    };
    const steps: number[] = []; // about a second's worth
    for (const i of specs.keys()) {
      const seconds = await train(i, 1);
      steps.push(rounds === 1 ? 1 : Math.max(1, Math.min(16, Math.round(1 / seconds))));
    }
    const speeds: number[][] = specs.map(() => []);
    for (let round = 0; round < rounds; round++) {
      for (const i of specs.keys()) {
        speeds[i].push(batch * context * steps[i] / await train(i, steps[i]));
      }
    }
    for (const [i, { name: peer }] of specs.entries()) {
      if (i === 0) continue;
      const compared = losses[0].slice(0, COMPARED_STEPS);
      const value = Math.max(...compared.map((loss, step) => Math.abs(losses[i][step] - loss)));
      if (!(value <= LOSS_TOLERANCE)) {
        const rule = `its losses must agree within ${LOSS_TOLERANCE}: they differ by ${value}`;
        throw new PeerError(peer, `Cannot compare ${peer} as ${rule}`);
      }
      report([{ size, peer, what: "largest difference of a loss", value, unit: "nats" }]);
    }
    add("training", "tokens/s", speeds.map(median));
    add("first step, compiling", "s", first, true);
    // Before scoring: its buffers are no part of training's memory.
    const peaks: number[] = [];
    for (const worker of workers) peaks.push((await worker.ask({ do: "memory" })).peak);
    add("peak memory of training", "MiB", peaks, true);
    for (const prefix of scoring ? PREFIXES.filter((prefix) => prefix <= context) : []) {
      const speeds: (number[] | undefined)[] = specs.map(({ scores }) => (scores ? [] : undefined));
      const sums: number[] = [];
      for (let round = -1; round < Math.min(3, rounds); round++) { // the first compiles
        for (const [i, worker] of workers.entries()) {
          if (!specs[i].scores) continue;
          const rows = (i === 0 && rounds > 1 ? 4 : 1) * SCORE_BATCH;
          const { seconds } = await worker.ask({ do: "score", prefix, rows });
          if (round >= 0) speeds[i]!.push(rows / seconds);
          else sums[i] = (await worker.ask({ do: "score", prefix, rows: SCORE_BATCH })).nll;
        }
      }
      sums.forEach((sum, i) => {
        if (Math.abs(sum / sums[0] - 1) <= 1e-5) return;
        const { name } = specs[i];
        const rule = `its scores must be ${sums[0]} in all: they are ${sum}`;
        throw new PeerError(name, `Cannot compare ${name} as ${rule}`);
      });
      add(
        `scoring ${prefix} tokens`,
        "sequences/s",
        speeds.map((values) => values && median(values)),
      );
    }
  } finally {
    for (const worker of workers) await worker.close();
  }
}

if (import.meta.main) {
  const flags = benchFlags(ABOUT, {
    sizes: { some: ["R", "S", "M"] },
    peers: { some: PEERS.map(({ name }) => name) },
    warm: false,
    quick: false,
    json: false,
  });
  const sizes: SizeName[] = flags.quick ? ["quick"] : flags.sizes;
  const specs = [OURS, ...PEERS.filter(({ name }) => flags.peers.includes(name))];
  const rounds = flags.quick ? 1 : 5;
  const results: Row[] = [];
  const report = (rows: Row[]) => {
    results.push(...rows);
    if (flags.json) return;
    for (const { size, peer, what, value, unit, ratio } of rows) {
      const ahead = ratio === undefined ? "" : `  ${ratio.toFixed(2)}×`;
      const figure = `${value.toPrecision(4).padStart(10)} ${unit}${ahead}`;
      console.log(size.padEnd(6) + what.padEnd(30) + peer.padEnd(22) + figure);
    }
  };
  const deno = Deno.version.deno;
  if (!flags.json) {
    console.log(
      `Deno ${deno}; positions: ${POSITIONS} in all; n× means: this project is n times better\n`,
    );
  }
  let failed = false;
  for (const size of sizes) {
    const scoring = size === "R" || size === "quick";
    const before = results.length;
    for (let left = specs;;) {
      try {
        await measure(size, left, { rounds, scoring, warm: flags.warm, report });
        break;
      } catch (error) {
        if (!(error instanceof PeerError) || error.peer === OURS.name) throw error;
        console.error(`${error.message}; ${size} is measured again without it`);
        failed = true;
        left = left.filter(({ name }) => name !== error.peer);
        results.length = before;
      }
    }
  }
  if (flags.json) console.log(JSON.stringify({ deno, positions: POSITIONS, results }, null, 2));
  if (failed) Deno.exit(1);
}
