/**
 * Continues a prompt: routes it by its prefix, loads the one expert that it goes to, and streams text.
 *
 * A model has a context of S tokens. A longer prompt is an error, and text ends where the context does, unless the window
 * slides: then the model goes on from the later half of its context, read anew.
 *
 * @module
 */

import { type Gpu, openGpu } from "../../kernels/gpu.ts";
import type { Variants } from "../../kernels/variants.ts";
import { checkSeed, uniform } from "../random.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import type { ModelConfig } from "../model/shape.ts";
import type { Weights } from "../model/parameters.ts";
import { createDecoder, type Decoder } from "../model/decoder.ts";
import { openModel, openRun } from "./models.ts";
import type { Route } from "./route.ts";
import { checkSampling, sampleToken, type Sampling } from "./sampling.ts";
import { createDetokenizer, createStopFilter } from "./text_stream.ts";

/** Why a text ended: the model closed the document, a stop text came, enough tokens, or the context is full. */
export type Finish = "eos" | "stop" | "length" | "context";

/** How a text is continued. */
export interface ContinueOptions extends Partial<Sampling> {
  /** Most new tokens. Default 200. */
  maxNewTokens?: number;
  /** Seed of the sampling: the same seed gives the same text. Default 0. */
  seed?: number;
  /** Keeps keys and values of what was read; without it every token reads everything again, to the same tokens. Default true. */
  cache?: boolean;
  /** Goes on from the later half of the context once it is full. Default false. */
  window?: boolean;
  /** Ends the work. */
  signal?: AbortSignal;
}

/** What {@link generate} takes. */
export interface GenerateOptions extends ContinueOptions {
  /** Text to continue. */
  prompt: string;
  /** Run folder with `tokenizer.json`, `routers/` and `experts/`. */
  run?: string;
  /** A checkpoint folder to use instead of a run's experts; nothing is routed. */
  model?: string;
  /** Expert to use instead of the routers' choice: no router is read. */
  expert?: number;
  /** Texts to stop before. */
  stop?: readonly string[];
  /** Adapter to ask for, see {@link openGpu}. */
  adapter?: string;
  /** Forms of kernels to run instead of the adapter's own. */
  variants?: Partial<Variants>;
  /** An open device to use instead of a new one. */
  gpu?: Gpu;
}

/** A text that comes as it is iterated, once. */
export interface Generation extends AsyncIterable<string> {
  /** What the routers said; null where an expert or a model was named. */
  readonly route: Route | null;
  /** The expert; null where a model was named. */
  readonly expert: number | null;
  /** Number of experts; null where it is not known. */
  readonly experts: number | null;
  /** Longest text of the model, in tokens. */
  readonly context: number;
  /** Tokens of the prompt. */
  readonly promptTokens: Uint32Array;
  /** New tokens so far. */
  readonly tokens: readonly number[];
  /** Why the text ended, once it has. */
  readonly finish: Finish | null;
  /** Frees the device memory, as the end of the iteration does. */
  close(): void;
}

const DEFAULT_NEW_TOKENS = 200;

/**
 * Opens a text that continues a prompt.
 *
 * In a run it routes the prompt and frees the routers before it loads the expert, so that one expert is held, and only its
 * folder read. Throws a `RangeError` where the prompt is empty or too long, the expert out of range or not trained yet (and
 * names the task to run), or a model of another shape or tokenizer; a `SyntaxError` where a file is damaged.
 */
export async function generate(options: GenerateOptions): Promise<Generation> {
  const { prompt, run, model, expert, signal } = options;
  checkOptions(options);
  if (prompt === "") throw new RangeError("Cannot continue a prompt as it must not be empty: it is");
  const source = model === undefined ? await openRun(run!, expert) : await openModel(model);
  const [promptTokens] = await source.tokenizer.encode([prompt]);
  if (promptTokens.length === 0) {
    throw new RangeError("Cannot continue a prompt as the tokenizer must make a token of it: it makes none");
  }
  signal?.throwIfAborted();
  const gpu = options.gpu ?? await openGpu({ adapter: options.adapter, variants: options.variants });
  let decoder: Decoder | undefined;
  let open = true;
  const close = () => {
    if (!open) return;
    open = false;
    decoder?.close();
    if (!options.gpu) gpu.close();
  };
  try {
    const { checkpoint, ...choice } = await source.choose(gpu, promptTokens);
    const { config, weights, notes } = checkpoint;
    decoder = openDecoder(gpu, config, weights, promptTokens.length, options);
    const state: State = { tokens: [], finish: null };
    const eos = notes.eos ?? source.tokenizer.eos;
    const text = continueText(decoder, source.tokenizer, promptTokens, { ...options, eos }, state, close);
    return {
      ...choice,
      experts: source.experts,
      context: config.context,
      promptTokens,
      tokens: state.tokens,
      get finish() {
        return state.finish;
      },
      close,
      [Symbol.asyncIterator]: () => text,
    };
  } catch (error) {
    close();
    throw error;
  }
}

interface State {
  tokens: number[];
  finish: Finish | null;
}

/** Yields the text as it comes and keeps `state` up to date; calls `close` at the end, however it ends. */
async function* continueText(
  decoder: Decoder,
  tokenizer: Tokenizer,
  prompt: Uint32Array,
  options: GenerateOptions & { eos: number },
  state: State,
  close: () => void,
): AsyncGenerator<string> {
  try {
    const detokenizer = await createDetokenizer(tokenizer, prompt);
    const filter = createStopFilter(options.stop ?? []);
    const ids = continueTokens(decoder, prompt, { ...options, vocabulary: tokenizer.vocabulary });
    while (state.finish === null) {
      const next = await ids.next();
      if (!next.done) state.tokens.push(next.value);
      const piece = filter.push(next.done ? await detokenizer.flush() : await detokenizer.push(next.value));
      if (piece.stopped) state.finish = "stop";
      else if (next.done) state.finish = next.value;
      const text = state.finish === null || piece.stopped ? piece.text : piece.text + filter.flush();
      if (text !== "") yield text;
    }
  } finally {
    close();
  }
}

/**
 * Yields the tokens that continue `prompt`, and returns why they end. `eos` ends them and is not among them; ids from
 * `vocabulary` on, which a model may have without a tokenizer's knowing them, are never chosen.
 */
export async function* continueTokens(
  decoder: Decoder,
  prompt: Uint32Array,
  options: ContinueOptions & { eos: number; vocabulary?: number },
): AsyncGenerator<number, Exclude<Finish, "stop">> {
  const {
    maxNewTokens = DEFAULT_NEW_TOKENS,
    seed = 0,
    cache = true,
    window = false,
    eos,
    vocabulary,
    signal,
  } = options;
  const sampling = samplingOf(options);
  const tokens = Array.from(prompt);
  let start = 0; // place of the first token that the decoder holds
  decoder.clear(0);
  for (let i = 0; i < maxNewTokens; i++) {
    signal?.throwIfAborted();
    if (!window && tokens.length > decoder.capacity) return "context";
    const from = windowStart(tokens.length, decoder.capacity);
    if (!cache || from !== start) {
      decoder.clear(0);
      start = from;
    }
    const [logits] = await decoder.read([{ slot: 0, tokens: tokens.slice(start + decoder.length(0)) }]);
    const draw = uniform(seed, "generated token", i);
    const token = sampleToken(logits.subarray(0, vocabulary), sampling, draw);
    if (token === eos) return "eos";
    tokens.push(token);
    yield token;
  }
  return "length";
}

/** Returns where a window of `capacity` tokens begins in a text of `length`: it moves by half a window whenever it is full. */
export function windowStart(length: number, capacity: number): number {
  const half = Math.ceil(capacity / 2);
  return Math.max(0, Math.ceil((length - capacity) / half)) * half;
}

/** Makes a decoder with room for a prompt of `length` tokens and what follows it, as far as the model's context reaches. */
function openDecoder(
  gpu: Gpu,
  config: ModelConfig,
  weights: Weights,
  length: number,
  { maxNewTokens = DEFAULT_NEW_TOKENS, window = false }: ContinueOptions,
): Decoder {
  const { context } = config;
  if (length > context && !window) {
    throw new RangeError(
      `Cannot continue a prompt as it must fit the model's context of ${context} tokens: it has ${length}; shorten it, ` +
        "or let the window slide (--window)",
    );
  }
  return createDecoder(gpu, { config, weights, capacity: Math.min(context, length + maxNewTokens) });
}

function samplingOf({ temperature = 0.8, topK = 0, topP = 1 }: Partial<Sampling>): Sampling {
  return { temperature, topK, topP };
}

function checkOptions(options: GenerateOptions): void {
  const { run, model, expert, maxNewTokens = 1, seed = 0 } = options;
  checkSampling(samplingOf(options));
  if (!Number.isSafeInteger(maxNewTokens) || maxNewTokens < 1) {
    throw new RangeError(
      `Cannot generate as max-new-tokens must be a whole number of at least 1: it is ${maxNewTokens}`,
    );
  }
  checkSeed(seed);
  if (model === undefined && run === undefined) {
    throw new TypeError("Cannot generate as a run or a model must be named: neither is");
  }
  if (model !== undefined && expert !== undefined) {
    throw new TypeError(
      `Cannot generate as an expert belongs to a run: expert is ${expert}, and the model is "${model}"; leave one out`,
    );
  }
}
