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
 * Gives the sequences of one forward pass: as asked, or as many as are quick and fit bindings of
 * `limit` bytes.
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
 * Rows scored between two readbacks, at most. On a GPU a readback costs as much as a small forward
 * pass. On a processor it costs next to nothing, and only between two of them can work that was
 * submitted be left off: every pass is read back.
 */
const ROWS_PER_READ: Record<AdapterKind, number> = { gpu: 4096, software: 1 };
/**
 * Multiplications between two readbacks, about: a fraction of a second on most GPUs, many times a
 * readback.
 */
const PRODUCTS_PER_READ = 1e12;

/**
 * Gives the sequences that are scored between two readbacks, unless a pass has more: an
 * interruption waits for them.
 */
export function rowsPerRead(
  kind: AdapterKind,
  config: ModelConfig,
  { models, length }: { models: number; length: number },
): number {
  const products = parameterCount(config) * models * length;
  return Math.max(1, Math.min(ROWS_PER_READ[kind], Math.floor(PRODUCTS_PER_READ / products)));
}

/**
 * Makes what depends on some sizes, which takes milliseconds: plans of passes, scorers. Makes each
 * value when it is first asked for. Of more than `most` those that were used last are kept; `drop`
 * frees another one.
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
    /** Gives the value of these sizes. */
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
