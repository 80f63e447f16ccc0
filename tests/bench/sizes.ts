/**
 * The models that benchmarks measure, with their training batches.
 *
 * @module
 */

import type { ModelConfig } from "../../pipeline/model/shape.ts";
import type { AdamwSettings } from "../../kernels/adamw/adamw.ts";

/** Shape of a model and of its training batch. */
export interface Size extends ModelConfig {
  /** Sequences per step; `context` tokens each. */
  batch: number;
  /** Models side by side, of which one chunk of logits holds some. Default: 1. */
  models?: number;
  /** Bytes of a chunk of logits. Default: as on the processor. */
  logitsBytes?: number;
}

/** Models that train within seconds on a software adapter. */
export const MODELS = {
  R: { vocabulary: 512, hidden: 96, layers: 4, heads: 4, batch: 32, context: 128 },
  S: { vocabulary: 4096, hidden: 128, layers: 4, heads: 4, batch: 8, context: 256 },
  M: { vocabulary: 4096, hidden: 256, layers: 4, heads: 4, batch: 8, context: 256 },
} satisfies Record<string, Size>;

/**
 * The paper's router, on prefixes as it trains, and its experts, one sequence at a time so that
 * tensors fit a binding.
 */
export const PAPER = {
  "4.4M": { vocabulary: 32_000, hidden: 96, layers: 12, heads: 12, batch: 32, context: 256 },
  "335M": { vocabulary: 32_000, hidden: 1024, layers: 24, heads: 16, batch: 1, context: 1024 },
  "1.3B": { vocabulary: 32_000, hidden: 2048, layers: 24, heads: 16, batch: 1, context: 1024 },
} satisfies Record<string, Size>;

/** A router of the preset `tiny`, with its training batch. */
export const ROUTER: Size = {
  vocabulary: 1024,
  hidden: 32,
  layers: 2,
  heads: 2,
  batch: 16,
  context: 64,
};

/** An expert of the preset `small`, with its training batch. */
export const EXPERT: Size = {
  vocabulary: 2048,
  hidden: 64,
  layers: 2,
  heads: 4,
  batch: 16,
  context: 256,
};

/** A model that only shows that everything runs. */
export const QUICK: Size = {
  vocabulary: 64,
  hidden: 32,
  layers: 1,
  heads: 4,
  batch: 4,
  context: 32,
};

/** Settings of AdamW in every benchmark. */
export const SETTINGS: AdamwSettings = {
  beta1: 0.9,
  beta2: 0.99,
  epsilon: 1e-8,
  weightDecay: 0.1,
  clip: 1,
};

/** Learning rate of every step. */
export const RATE = 1e-3;

/** Gives a size in symbols, as tables name it. */
export function sizeText({ vocabulary, hidden, layers, heads, batch, context }: Size): string {
  return `B=${batch} S=${context} H=${hidden} L=${layers} heads=${heads} V=${vocabulary}`;
}

/** Draws `count` tokens below the vocabulary, spread over all of it; the same every time. */
export function someTokens(count: number, vocabulary: number): Uint32Array {
  return Uint32Array.from(
    { length: count },
    (_, i) => (Math.imul(i, 2_654_435_761) >>> 7) % vocabulary,
  );
}

/** Makes a batch of `sequences` full sequences. */
export function someBatch(sequences: number, length: number, vocabulary: number) {
  return {
    tokens: someTokens(sequences * length, vocabulary),
    lengths: new Uint32Array(sequences).fill(length),
  };
}
