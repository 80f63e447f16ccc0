/**
 * What every library of the comparison is given: sizes, initial weights, tokens and settings, and
 * how it is asked.
 */

import process from "node:process";
import { createInterface } from "node:readline";
import { type ParameterSpec, parameterSpecs, ROTARY_BASE } from "../../../pipeline/model/shape.ts";
import { shiftTargets } from "../../../pipeline/model/batch.ts";
import { initialWeights } from "../../../pipeline/model/parameters.ts";
import { uniform } from "../../../pipeline/random.ts";
import { MODELS, QUICK, type Size } from "../sizes.ts";

export { RATE, SETTINGS, type Size } from "../sizes.ts";

/** The sizes of ../bench.ts, and one that only shows that everything runs. */
export const SIZES = { ...MODELS, quick: QUICK };

/** Name of a size. */
export type SizeName = keyof typeof SIZES;

/** A weight tensor with its initial values. */
export interface Tensor extends ParameterSpec {
  /** f32, in the order of `shape`. */
  values: Float32Array;
}

/** Returns the initial weights, in the order of the forward pass. */
export function tensors(size: Size): Tensor[] {
  const weights = initialWeights(size, 0);
  return parameterSpecs(size).map((spec) => ({ ...spec, values: weights.get(spec.name)! }));
}

/**
 * Returns the tokens of one step, the small ids more often than the large ones, their successors
 * and loss weights.
 */
export function drawBatch({ vocabulary, batch, context }: Size, step: number) {
  const tokens = Uint32Array.from(
    { length: batch * context },
    (_, i) => Math.floor(uniform(1, `peers ${step}`, i) ** 3 * vocabulary),
  );
  const lengths = new Uint32Array(batch).fill(context);
  const targets = new Uint32Array(tokens.length);
  const weights = new Float32Array(tokens.length);
  shiftTargets({ tokens, lengths }, 1, context, vocabulary, targets, weights);
  return { tokens, lengths, targets, weights };
}

/** Returns cosines and sines of the rotary angles, `[length, headSize / 2]` each. */
export function rotary(length: number, headSize: number): Record<"cos" | "sin", Float32Array> {
  const half = headSize / 2;
  const angle = (i: number) => Math.floor(i / half) / ROTARY_BASE ** ((i % half) / half);
  const of = (f: (x: number) => number) =>
    Float32Array.from({ length: length * half }, (_, i) => f(angle(i)));
  return { cos: of(Math.cos), sin: of(Math.sin) };
}

/** A library that trains and scores one model. */
export interface Peer {
  /**
   * Takes a step on every batch of {@link drawBatch} from `first` to `first + count`; returns the
   * losses before each.
   */
  train(first: number, count: number): Promise<number[]>;
  /**
   * Scores `rows` sequences of `prefix` tokens, 256 at once, and returns their summed NLL in nats.
   */
  score?(prefix: number, rows: number): Promise<number>;
  /** Frees what it holds. */
  close(): void;
}

/** Sequences per forward pass when scoring. */
export const SCORE_BATCH = 256;

/** Returns the tokens of sequences to score. */
export function scoreTokens({ vocabulary }: Size, prefix: number, rows: number): Uint32Array {
  return Uint32Array.from(
    { length: rows * prefix },
    (_, i) => Math.floor(uniform(1, "peers score", i) ** 3 * vocabulary),
  );
}

/**
 * Answers requests, one JSON line each, from standard input until it ends: the bench drives the
 * processes in turn.
 */
export async function serve(open: (size: Size) => Promise<Peer>): Promise<void> {
  let peer: Peer | undefined;
  let size: Size = QUICK;
  let step = 0;
  const answer = async (request: Record<string, unknown>) => {
    const begin = performance.now();
    const seconds = () => (performance.now() - begin) / 1000;
    switch (request.do) {
      case "open": {
        size = SIZES[request.size as SizeName];
        peer = await open(size);
        const losses = await peer.train(0, 1); // compiles
        step = 1;
        return { seconds: seconds(), losses };
      }
      case "train": {
        const losses = await peer!.train(step, request.steps as number);
        step += request.steps as number;
        return { seconds: seconds(), losses };
      }
      case "score": {
        const nll = await peer!.score!(request.prefix as number, request.rows as number);
        return { nll, seconds: seconds() };
      }
      default: // peak resident memory, in MiB
        return {
          peak: Number(/VmHWM:\s+(\d+)/.exec(Deno.readTextFileSync("/proc/self/status"))![1]) /
            1024,
        };
    }
  };
  for await (const line of createInterface({ input: process.stdin })) {
    const failed = (error: Error) => ({ error: String(error.message ?? error) });
    const result = await answer(JSON.parse(line)).catch(failed);
    Deno.stdout.writeSync(new TextEncoder().encode(`\n@${JSON.stringify(result)}\n`));
  }
  peer?.close();
  Deno.exit(0); // thread pools would keep the process
}
