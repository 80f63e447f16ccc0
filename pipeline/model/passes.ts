/**
 * How many sequences run through a model at once and between two readbacks, and the plans of passes
 * that are kept.
 */

import type { AdapterKind } from "../../kernels/device/variants.ts";
import { type ModelConfig, parameterCount } from "./shape.ts";
import { largestActivation } from "./activations.ts";

const TOKENS_PER_PASS = 8192;
const MOST_ROWS_PER_PASS = 256;

/**
 * Returns the number of sequences of one forward pass: as asked, or as many as are fast and fit
 * bindings of `limit` bytes.
 */
export function rowsPerPass(
  limit: number,
  config: ModelConfig,
  length: number,
  asked?: number,
): number {
  const { values } = largestActivation(config, { models: 1, batch: 1, length });
  const rows = Math.min(MOST_ROWS_PER_PASS, TOKENS_PER_PASS / length, limit / (4 * values));
  return asked ?? Math.max(1, Math.floor(rows));
}

/**
 * Most rows that are scored between two readbacks. On a GPU a readback costs as much as a small
 * forward pass. On a processor it costs next to nothing, so every pass is read back: an
 * interruption can only take effect between two readbacks.
 */
const ROWS_PER_READ: Record<AdapterKind, number> = { gpu: 4096, software: 1 };
/**
 * About how many multiplications run between two readbacks: a fraction of a second on most GPUs,
 * and many times as long as a readback.
 */
const PRODUCTS_PER_READ = 1e12;

/** Returns how many sequences are scored between two readbacks. A pass may still have more. */
export function rowsPerRead(
  kind: AdapterKind,
  config: ModelConfig,
  { models, length }: { models: number; length: number },
): number {
  const products = parameterCount(config) * models * length;
  return Math.max(1, Math.min(ROWS_PER_READ[kind], Math.floor(PRODUCTS_PER_READ / products)));
}

/**
 * Keeps values that depend on sizes and take milliseconds to make, such as plans of passes. Each is
 * made when it is first asked for. Beyond `most` values, the one that was not used for the longest
 * time is passed to `drop` and forgotten.
 */
export function keepRecent<Sizes extends number[], Value>(
  make: (...sizes: Sizes) => Value,
  most = Infinity,
  drop: (value: Value) => void = () => {},
) {
  const kept = new Map<string, Value>(); // the one that was used last stands last
  return {
    /** Values that are kept. */
    get count(): number {
      return kept.size;
    },
    /** Returns the value of these sizes. */
    of(...sizes: Sizes): Value {
      const key = sizes.join();
      if (!kept.has(key) && kept.size >= most) {
        const [[oldest, value]] = kept;
        kept.delete(oldest);
        drop(value);
      }
      const value = kept.has(key) ? kept.get(key)! : make(...sizes);
      kept.delete(key);
      kept.set(key, value);
      return value;
    },
    /** Frees all. */
    clear(): void {
      kept.forEach(drop);
      kept.clear();
    },
  };
}
