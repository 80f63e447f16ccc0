/**
 * Reads golden values: a small model's weights, batch and training steps with what comes of them, by an independent f64 implementation
 * (`fixtures/golden/README.md`).
 *
 * @module
 */

import { fileURLToPath } from "node:url";
import type { AdamwSettings } from "../../kernels/adamw/adamw.ts";
import { decodeSafetensors } from "../checkpoints/safetensors.ts";
import type { HostBatch } from "../model/batch.ts";
import type { Weights } from "../model/parameters.ts";
import type { ModelConfig } from "../model/shape.ts";

/** What every `expected.json` holds, in the words of the implementation that wrote it. */
interface Expected {
  config: { vocab_size: number; hidden_size: number; num_hidden_layers: number; num_attention_heads: number };
  tokens: number[][];
  lengths: number[];
  adamw: {
    betas: [number, number];
    eps: number;
    weight_decay: number;
    clip: number;
    lr: number[];
    loss_before_step: number[];
    grad_norm: number[];
  };
  /** Of a Switch model alone, as the next two. */
  experts?: number;
  capacity_factor?: number;
  balance_weight?: number;
}

/** The golden values of one model; `Own` is what its `expected.json` holds apart from what all do. */
export interface GoldenCase<Own = unknown> {
  /** What `expected.json` holds. */
  expected: Expected & Own;
  /** The model. */
  config: ModelConfig;
  /** Settings of its training steps. */
  settings: AdamwSettings;
  /** The batch that they learn from. */
  batch: HostBatch;
  /** Reads another JSON file of the case. */
  json(file: string): unknown;
  /** Reads a file of tensors. */
  tensors(file: string): Weights;
}

/** Reads a case by its folder under `fixtures/golden/`, for instance `tiny` or `switch/roomy`. */
export function readGoldenCase<Own = unknown>(name: string): GoldenCase<Own> {
  const folder = new URL(`../../fixtures/golden/${name}/`, import.meta.url);
  const json = (file: string): unknown => JSON.parse(Deno.readTextFileSync(new URL(file, folder)));
  const expected = json("expected.json") as Expected & Own;
  const { config, tokens, lengths, adamw, experts, capacity_factor: capacity, balance_weight: balance } =
    expected;
  const [beta1, beta2] = adamw.betas;
  return {
    expected,
    config: {
      vocabulary: config.vocab_size,
      hidden: config.hidden_size,
      layers: config.num_hidden_layers,
      heads: config.num_attention_heads,
      context: tokens[0].length,
      ...experts === undefined
        ? {}
        : { sublayers: ["attention", "switch"], switch: { experts, capacity: capacity!, balance: balance! } },
    },
    settings: { beta1, beta2, epsilon: adamw.eps, weightDecay: adamw.weight_decay, clip: adamw.clip },
    batch: { tokens: Uint32Array.from(tokens.flat()), lengths: Uint32Array.from(lengths) },
    json,
    tensors: (file) => {
      const path = fileURLToPath(new URL(file, folder));
      const decoded = decodeSafetensors(Deno.readFileSync(path), path);
      return new Map([...decoded].map(([key, { values }]) => [key, values]));
    },
  };
}
