/**
 * One model that reads a text token by token and keeps the keys and values of what it has read. Plans and bindings are
 * made once per length of call; a token costs one submit and one readback of its logits.
 *
 * @module
 */

import type { Dispatch, Gpu } from "../../kernels/gpu.ts";
import { matmul, padded, takesPasses } from "../../kernels/matmul.ts";
import type { Dtype } from "../../kernels/storage.ts";
import type { ModelConfig } from "./shape.ts";
import { createBank, transposedOf, type Weights } from "./parameters.ts";
import { createActivations, modelsPerBank, planForward, planTransposes } from "./transformer.ts";

/** Reads tokens and says what may come next. */
export interface Decoder {
  /** Tokens that fit. */
  readonly capacity: number;
  /** Tokens read so far. */
  readonly length: number;
  /** Device memory held, in bytes. */
  readonly bytes: number;
  /**
   * Reads tokens after those read so far; returns the logits f32 `[vocabulary]` after the last one. The bits do not depend
   * on how a text is cut into calls. Throws a `RangeError` where there is no token, no room, or an id outside the vocabulary.
   */
  read(tokens: ArrayLike<number>): Promise<Float32Array>;
  /** Forgets what was read. */
  clear(): void;
  /** Frees the device memory. */
  close(): void;
}

/** What {@link createDecoder} takes. */
export interface DecoderOptions {
  /** Shape of the model. */
  config: ModelConfig;
  /** Its weights. */
  weights: Weights;
  /** Most tokens to read: room for their keys and values is made at once. */
  capacity: number;
  /** Tokens that run at once, at most; a longer text takes several passes. Default 512. */
  longestPass?: number;
  /** What matrices, activations, keys and values are stored in. Default: f32. */
  dtype?: Dtype;
}

/** Makes the buffers of one model with a cache of `capacity` positions, and uploads its weights. */
export function createDecoder(
  gpu: Gpu,
  { config, weights, capacity, longestPass = 512, dtype }: DecoderOptions,
): Decoder {
  const { vocabulary, hidden } = config;
  const longest = Math.min(longestPass, capacity);
  const shape = { models: 1, batch: 1, length: longest };
  modelsPerBank(config, shape, gpu.maxBindingBytes);
  const arena = gpu.arena();
  try {
    const bank = createBank(gpu, arena, config, [weights], dtype);
    const acts = createActivations(arena, config, shape, {
      training: false,
      capacity,
      dtype,
      sums: takesPasses(gpu),
    });
    gpu.submit(planTransposes(gpu, bank));

    /** Passes of fewer tokens use the same buffers, so that all share one cache. */
    const plan = (length: number): Dispatch[] => [
      ...planForward(gpu, bank, { ...acts, shape: { ...shape, length } }),
      matmul(gpu, {
        a: {
          buffer: acts.normalized,
          offset: (length - 1) * padded(hidden),
          stride: padded(hidden),
          model: padded(hidden),
        },
        b: transposedOf(bank, "gpt_neox.embed_in.weight"),
        c: { buffer: acts.logits, stride: padded(vocabulary), model: padded(vocabulary) },
        models: 1,
        m: 1,
        n: vocabulary,
        k: hidden,
      }),
    ];
    const single = plan(1);
    let other = { length: 1, dispatches: single };
    const planned = (length: number) => {
      if (length === 1) return single;
      if (other.length !== length) other = { length, dispatches: plan(length) };
      return other.dispatches;
    };
    let position = 0;

    return {
      capacity,
      get length() {
        return position;
      },
      get bytes() {
        return arena.bytes;
      },
      async read(tokens) {
        const ids = Uint32Array.from(tokens);
        if (ids.length === 0 || position + ids.length > capacity) {
          throw new RangeError(
            `Cannot read tokens as 1 to ${
              capacity - position
            } must be given: the cache of ${capacity} holds ` +
              `${position}, ${ids.length} are given`,
          );
        }
        const foreign = ids.find((id) => id >= vocabulary);
        if (foreign !== undefined) {
          throw new RangeError(
            `Cannot read tokens as each must be below the vocabulary's ${vocabulary} ids: one is ${foreign}`,
          );
        }
        for (let first = 0; first < ids.length; first += longest) {
          const pass = ids.subarray(first, first + longest);
          gpu.write(acts.tokens, pass);
          gpu.write(acts.cache!.start, Uint32Array.of(position));
          gpu.submit(planned(pass.length));
          position += pass.length;
        }
        const [logits] = await gpu.read([{ buffer: acts.logits, bytes: vocabulary * 4 }]);
        return new Float32Array(logits);
      },
      clear() {
        position = 0;
      },
      close: () => arena.destroy(),
    };
  } catch (error) {
    arena.destroy();
    throw error;
  }
}
