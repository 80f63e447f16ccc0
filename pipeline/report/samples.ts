/**
 * Lets every expert of a run write a short text of its own, so that a reader sees what it has learned.
 *
 * @module
 */

import { relative } from "node:path";
import { InputError, RunError } from "../../kernels/errors.ts";
import { type Gpu, openGpu, type OpenGpuOptions } from "../../kernels/device/gpu.ts";
import { exists } from "../run/files.ts";
import { answer } from "../serving/generate.ts";
import { openMixture } from "../serving/mixture.ts";

/** What experts wrote. */
export interface Samples {
  /** Most tokens of a text. */
  tokens: number;
  /** The texts, by expert; each begins a document and depends on nothing but the expert and the seed. */
  texts: ReadonlyMap<number, string>;
  /** Why there are none, or not those of all: a clause, after "as". Undefined where there is nothing to say. */
  reason?: string;
}

/** How the texts are written. */
export interface SampleOptions extends OpenGpuOptions {
  /** Most tokens of a text; 0 writes none. */
  tokens: number;
  /** An open device to use instead of a new one; it stays open. */
  gpu?: Gpu;
  /** Ends the work. */
  signal?: AbortSignal;
}

const SEED = 0;

/**
 * Lets experts begin a document, one after another: each reads the token that ends documents, and goes on from there, token by
 * token, at the usual temperature and with a seed. Where there is no adapter, or the tokenizer or an expert's file is not there,
 * the texts end, and a reason says so.
 *
 * @throws {InputError} if the run has no such expert, or a file of it is damaged.
 */
export async function writeSamples(
  run: string,
  experts: readonly number[],
  { tokens, signal, gpu: given, ...device }: SampleOptions,
): Promise<Samples> {
  const texts = new Map<number, string>();
  if (tokens === 0 || experts.length === 0) return { tokens, texts };
  const gpu = given ?? await openGpu(device).catch((error) => {
    if (error instanceof RunError) return error.message;
    throw error;
  });
  if (typeof gpu === "string") return { tokens, texts, reason: `there is no device: ${gpu}` };
  try {
    const doing = `report on "${run}"`;
    const mixture = await openMixture({ run, gpu, doing, models: 1, slots: 1, capacity: 1 + tokens });
    try {
      const prompt = Uint32Array.of((await mixture.tokenizer()).eos);
      for (const expert of experts) {
        const text = await answer(mixture, { prompt, expert, maxNewTokens: tokens, seed: SEED, signal });
        texts.set(expert, (await Array.fromAsync(text)).join(""));
      }
    } finally {
      mixture.close();
    }
  } catch (error) {
    const absent = await absentFile(error);
    if (absent === undefined) throw error;
    return { tokens, texts, reason: `${relative(run, absent)} is not there` };
  } finally {
    if (!given) gpu.close();
  }
  return { tokens, texts };
}

/** Gives the file that an error is about, if it is that the file is not there. */
async function absentFile(error: unknown): Promise<string | undefined> {
  if (!(error instanceof InputError) || error.where === undefined) return undefined;
  return await exists(error.where) ? undefined : error.where;
}
