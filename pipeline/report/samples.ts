/**
 * Lets every expert of a run write a short text of its own, so that a reader sees what it has learned.
 *
 * @module
 */

import { RunError } from "../../kernels/errors.ts";
import { openGpu, type OpenGpuOptions } from "../../kernels/device/gpu.ts";
import { answer } from "../serving/generate.ts";
import { openMixture } from "../serving/mixture.ts";

/** What experts wrote. */
export interface Samples {
  /** Most tokens of a text. */
  tokens: number;
  /** The texts, by expert; each begins a document and depends on nothing but the expert and the seed. */
  texts: ReadonlyMap<number, string>;
  /** Why there are none; undefined where there is nothing to say. */
  reason?: string;
}

/** How the texts are written. */
export interface SampleOptions extends OpenGpuOptions {
  /** Most tokens of a text; 0 writes none. */
  tokens: number;
  /** Ends the work. */
  signal?: AbortSignal;
}

const SEED = 0;

/**
 * Lets experts begin a document, one after another: each reads the token that ends documents, and goes on from there, token by
 * token, at the usual temperature and with a seed. Without an adapter there are no texts, and a reason.
 *
 * @throws {InputError} if the run has no such expert, or a file of it is damaged.
 */
export async function writeSamples(
  run: string,
  experts: readonly number[],
  { tokens, signal, ...device }: SampleOptions,
): Promise<Samples> {
  const texts = new Map<number, string>();
  if (tokens === 0 || experts.length === 0) return { tokens, texts };
  const gpu = await openGpu(device).catch((error) => {
    if (error instanceof RunError) return error.message;
    throw error;
  });
  if (typeof gpu === "string") return { tokens, texts, reason: gpu };
  try {
    const mixture = await openMixture({ run, gpu, models: 1, slots: 1, capacity: 1 + tokens });
    try {
      const prompt = Uint32Array.of((await mixture.tokenizer()).eos);
      for (const expert of experts) {
        const text = await answer(mixture, { prompt, expert, maxNewTokens: tokens, seed: SEED, signal });
        texts.set(expert, (await Array.fromAsync(text)).join(""));
      }
    } finally {
      mixture.close();
    }
  } finally {
    gpu.close();
  }
  return { tokens, texts };
}
