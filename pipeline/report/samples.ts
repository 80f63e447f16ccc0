// Lets every expert of a run write a short text of its own, so that a reader sees what it has learned.

import { relative } from "node:path";
import { type Gpu, openGpu, type OpenGpuOptions } from "../../kernels/device/gpu.ts";
import { InputError, RunError } from "../../kernels/errors.ts";
import { exists } from "../run/files.ts";
import { answer } from "../serving/generate.ts";
import { openMixture } from "../serving/mixture.ts";

/** What experts wrote: the most tokens of a text, the texts by expert, and why there are none, or not those of all. */
export type Samples = { tokens: number; texts: ReadonlyMap<number, string>; reason?: string };

/**
 * Lets experts begin a document, one after another, with a seed, on an open device or a new one; 0 tokens are none. Where there is no adapter, or the tokenizer or an expert's file is
 * not there, the texts end, and a reason says so.
 *
 * @throws {InputError} if the run has no such expert, or a file of it is damaged.
 */
export async function writeSamples(
  run: string,
  experts: readonly number[],
  { tokens, signal, gpu: given, ...device }: OpenGpuOptions & {
    tokens: number;
    gpu?: Gpu;
    signal?: AbortSignal;
  },
): Promise<Samples> {
  const texts = new Map<number, string>();
  if (tokens === 0 || experts.length === 0) return { tokens, texts };
  let hasDevice = false;
  try {
    using held = new DisposableStack();
    const gpu = given ?? held.adopt(await openGpu(device), (own) => own.close());
    hasDevice = true;
    const options = { run, gpu, doing: `report on "${run}"`, models: 1, slots: 1, capacity: 1 + tokens };
    const mixture = held.adopt(await openMixture(options), (own) => own.close());
    const prompt = Uint32Array.of((await mixture.tokenizer()).eos);
    for (const expert of experts) {
      const text = await answer(mixture, { prompt, expert, maxNewTokens: tokens, seed: 0, signal });
      texts.set(expert, (await Array.fromAsync(text)).join(""));
    }
    return { tokens, texts };
  } catch (error) {
    const noDevice = !hasDevice && error instanceof RunError;
    const reason = noDevice ? `there is no device: ${error.message}` : await absence(run, error);
    if (reason === undefined) throw error;
    return { tokens, texts, reason };
  }
}

/** Reports which file is not there, if that is what an error is about. */
async function absence(run: string, error: unknown): Promise<string | undefined> {
  if (!(error instanceof InputError) || error.where === undefined || await exists(error.where)) {
    return undefined;
  }
  return `${relative(run, error.where)} is not there`;
}
