/**
 * The forms that a model may have on the device: a decoder that writes texts, a scorer, or a scorer
 * of what may follow texts.
 */

import type { Gpu } from "../../kernels/device/gpu.ts";
import { countCacheBytes } from "../model/activations.ts";
import type { Checkpoint, CheckpointNotes } from "../model/checkpoints/hugging_face_config.ts";
import { type BranchScorer, createBranchScorer } from "../model/branch_scorer.ts";
import { createDecoder, type DecoderOptions } from "../model/decoder.ts";
import { rowsPerPass } from "../model/passes.ts";
import { createScorer, type Scorer } from "../model/scorer.ts";
import { type ModelConfig, parameterCount } from "../model/shape.ts";
import { Engine, type Queue } from "./engine.ts";
import type { Held } from "./leases.ts";

/** A model on the device. */
export interface LoadedModel extends Held {
  config: ModelConfig; // its shape
  notes: CheckpointNotes; // what its writer noted
}

/** A form that a model may have on the device. */
export interface Form<Value extends LoadedModel> {
  name: string; // name of the form; a model may be held in several at once
  slots?: number; // users that it may have at once. Default: no limit
  size(config: ModelConfig): number; // estimates its device memory, in bytes
  /**
   * Puts a model on the device, where its work waits in `queue`. Afterwards the host needs no
   * weights.
   */
  open(checkpoint: Checkpoint, gpu: Gpu, queue: Queue): Value;
}

/** A model that writes texts, and its slots. */
export type DecodingModel = LoadedModel & { engine: Engine };

const SLOTS = 8; // sequences side by side unless more or fewer are asked for

/** What a decoder is made with; `capacity` is the model's context unless it is less. */
export type DecodingOptions = Partial<Omit<DecoderOptions, "config" | "weights">>;

/** A decoder of some slots. */
export function decoding({ slots = SLOTS, ...options }: DecodingOptions = {}): Form<DecodingModel> {
  const usedCapacity = ({ context }: ModelConfig) => Math.min(context, options.capacity ?? context);
  return {
    name: `decoder ${JSON.stringify({ slots, ...options })}`,
    slots,
    size: (config) => {
      const { dtype } = options;
      const cache = countCacheBytes(config, { slots, capacity: usedCapacity(config), dtype });
      return weightBytes(config) + cache;
    },
    open({ config, weights, notes }, gpu, queue) {
      const shape = { config, weights, slots, capacity: usedCapacity(config) };
      const engine = new Engine(createDecoder(gpu, { ...options, ...shape }), queue);
      return {
        config,
        notes,
        engine,
        bytes: engine.bytes,
        close: (reason) => engine.close(reason),
      };
    },
  };
}

/** A scorer of sequences of `length` tokens, as many at once as are quick. */
export function scoring({ length }: { length: number }): Form<LoadedModel & { scorer: Scorer }> {
  return {
    name: `scorer ${length}`,
    size: weightBytes,
    open({ config, weights, notes }, gpu, queue) {
      const batch = rowsPerPass(gpu.maxBindingBytes, config, length);
      const scoring = createScorer(gpu, { config, models: [weights], batch, length });
      const scorer: Scorer = {
        ...scoring,
        score: (...asked) => queue(() => scoring.score(...asked)),
        scoreTokens: (...asked) => queue(() => scoring.scoreTokens(...asked)),
      };
      return { config, notes, scorer, bytes: scoring.bytes, close: scoring.close };
    },
  };
}

/**
 * A scorer of continuations, with room for as many sequences of the model's context as are quick,
 * at most `most`.
 */
export function branching(
  { most = Infinity } = {},
): Form<LoadedModel & { branches: Pick<BranchScorer, "score"> }> {
  return {
    name: `branches ${most}`,
    size: weightBytes,
    open({ config, weights, notes }, gpu, queue) {
      const batch = Math.min(most, rowsPerPass(gpu.maxBindingBytes, config, config.context));
      const scoring = createBranchScorer(gpu, { config, weights, batch });
      const score: BranchScorer["score"] = (...asked) => queue(() => scoring.score(...asked));
      return { config, notes, branches: { score }, bytes: scoring.bytes, close: scoring.close };
    },
  };
}

const BYTES = 4;

/** Estimates the bytes of the weights and of the transposed copies of nearly all of them. */
function weightBytes(config: ModelConfig): number {
  return 2 * BYTES * parameterCount(config);
}
