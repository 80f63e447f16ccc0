/**
 * Continues a prompt: routes it by its prefix, loads the expert that the router chooses (or several, whose
 * probabilities are mixed), and streams text.
 *
 * A model has a context of S tokens. A longer prompt is an error, and a text ends where the context does.
 * With a sliding window the model goes on instead: it reads the later half of its context anew.
 */

import { InputError, say, setting } from "../../kernels/errors.ts";
import type { OpenGpuOptions } from "../../kernels/device/gpu.ts";
import { uniform } from "../random.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import type { ModelConfig } from "../model/shape.ts";
import { type Change, type Choice, choose, type ChoosingOptions } from "./answering.ts";
import type { Reader } from "./engine.ts";
import { decoding } from "./forms.ts";
import type { Answering } from "./mixing.ts";
import { type Mixture, type MixtureOptions, openMixture } from "./mixture.ts";
import type { Values } from "../settings/field.ts";
import type { Route } from "./route.ts";
import { sampleToken, SAMPLING, samplingOf } from "./sampling.ts";
import { createDetokenizer, createStopFilter } from "./text_stream.ts";

/**
 * Why a text ended: the model closed the document, a stop text came, there were enough tokens, or the context
 * is full.
 */
export type Finish = "eos" | "stop" | "length" | "context";

/** How a text is continued: the settings in {@link SAMPLING}, and: */
export interface ContinueOptions extends Partial<Values<typeof SAMPLING>> {
  /**
   * Keeps keys and values of the tokens that were read. Without it, all tokens are read again for every new
   * one, with the same result. Default: true.
   */
  cache?: boolean;
  /** Goes on with the later half of the context once it is full. Default: false. */
  window?: boolean;
  /** Ends the work. */
  signal?: AbortSignal;
  /**
   * Called with the logits f32 `[vocabulary]` that every token was chosen from, and the token; also for the
   * EOS that ends the text.
   */
  onToken?: (token: number, logits: Float32Array) => void;
}

/**
 * What {@link answer} takes. If an expert or a dense model is named, it answers, and the partitioner is not
 * read.
 */
export interface AnswerOptions extends ContinueOptions, ChoosingOptions {
  /** Text to continue, or its tokens. */
  prompt: string | Uint32Array;
  /** Texts to stop before. */
  stop?: readonly string[];
  /** Who continues the prompt, if that was chosen before; then the options that would choose are ignored. */
  choice?: Choice;
}

/** What {@link generate} takes. */
export interface GenerateOptions
  extends
    Omit<AnswerOptions, "expert" | "prompt" | "choice">,
    Pick<MixtureOptions, "run" | "model" | "memory" | "gpu" | "onWarning" | keyof OpenGpuOptions> {
  /** Text to continue. */
  prompt: string;
  /** Expert to use instead of the partitioner's choice: the partitioner is not read. */
  expert?: number;
}

/** A text that comes while it is iterated, once. */
export interface Generation extends AsyncIterable<string> {
  /** What the partitioner said; null where an expert or a model was named. */
  readonly route: Route | null;
  /**
   * The expert that begins the text, the one of the largest weight if there are several; null if a model was
   * named.
   */
  readonly expert: number | null;
  /**
   * The experts that continue the text now, the one of the largest weight first; none if a model was named.
   */
  readonly answering: readonly Answering[];
  /** What the partitioner said last. It differs from `route` where experts are weighted anew. */
  readonly lastRoute: Route | null;
  /** Changes of these experts so far. */
  readonly changes: readonly Change[];
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
  /**
   * Gives the expert back, or frees it if it is held for this text alone. The end of the iteration does the
   * same.
   */
  close(): void;
}

const [EXPERT, MODEL] = [setting("expert"), setting("model")];

/**
 * Opens a text that continues a prompt. In a run it routes the prompt and frees the partitioner before it
 * loads the expert. So only one expert is held and only its folder is read; of a mixture, as many as are
 * mixed. Where experts are weighted anew, the partitioner stays open.
 *
 * Throws an `InputError` where the prompt is empty or too long, where the expert is out of range or not
 * trained yet (it names the task to run), where a mixture is impossible, where a model has another shape or
 * tokenizer, and where a file is damaged.
 */
export async function generate(
  { run, model, memory, adapter, variants, gpu, onWarning, ...options }: GenerateOptions,
): Promise<Generation> {
  if (model !== undefined && options.expert !== undefined) {
    throw new InputError(
      say`Cannot generate as ${EXPERT} belongs to a run: it is ${options.expert}, and ${MODEL} is "${model}"; leave one out`,
    );
  }
  return await open(
    await openMixture({ run, model, memory, adapter, variants, gpu, onWarning }),
    options,
    true,
  );
}

/**
 * Opens a text that continues a prompt in a mixture that many share: it decodes side by side with the others of its expert, and
 * does not depend on them. It holds a slot of the expert until it ends or is closed. Throws as {@linkcode generate} does.
 */
export async function answer(mixture: Mixture, options: AnswerOptions): Promise<Generation> {
  return await open(mixture, options, false);
}

/** Opens a text that has a mixture for itself: the mixture is closed when the text ends. */
async function open(mixture: Mixture, options: AnswerOptions, alone: boolean): Promise<Generation> {
  using held = new DisposableStack();
  if (alone) held.defer(() => mixture.close());
  const { prompt, signal } = options;
  const { maxNewTokens } = samplingOf(options);
  if (prompt === "") throw new InputError("Cannot continue a prompt as it must not be empty: it is");
  const tokenizer = await mixture.tokenizer();
  const promptTokens = typeof prompt === "string" ? (await tokenizer.encode([prompt]))[0] : prompt;
  if (promptTokens.length === 0) {
    throw new InputError("Cannot continue a prompt as the tokenizer must make a token of it: it makes none");
  }
  signal?.throwIfAborted();
  const { route, begin } = options.choice ?? await choose(mixture, promptTokens, options);
  const experts = mixture.routes ? await mixture.experts() : null;
  if (alone && options.reroute === undefined) mixture.closePartitioner();
  const form = alone ? decoding({ slots: 1, capacity: promptTokens.length + maxNewTokens }) : undefined;
  const chosen = held.use(
    await begin({ form, check: (config) => checkPrompt(promptTokens, config, tokenizer, options), signal }),
  );
  const { config, notes, changes, reader, readerFor } = chosen;
  const tokens: number[] = [];
  let finish: Finish | null = null;
  const owned = held.move();
  const { vocabulary } = tokenizer;
  const ids = continueTokens(reader, promptTokens, {
    ...options,
    eos: notes.eos ?? tokenizer.eos,
    vocabulary,
    readerFor,
  });

  /** Yields the text as it comes. Frees what is held at the end, however it ends. */
  async function* text(): AsyncGenerator<string> {
    using _ = owned;
    const detokenizer = await createDetokenizer(tokenizer, promptTokens);
    const filter = createStopFilter(options.stop ?? []);
    while (finish === null) {
      const next = await ids.next();
      if (!next.done) tokens.push(next.value);
      const piece = filter.push(next.done ? await detokenizer.flush() : await detokenizer.push(next.value));
      if (piece.stopped) finish = "stop";
      else if (next.done) finish = next.value;
      const shown = finish === null || piece.stopped ? piece.text : piece.text + filter.flush();
      if (shown !== "") yield shown;
    }
  }
  const pieces = text();
  return {
    route,
    expert: mixture.routes ? chosen.answering[0]?.expert ?? null : null,
    get answering() {
      return mixture.routes ? chosen.answering : [];
    },
    get lastRoute() {
      return chosen.route;
    },
    changes,
    experts,
    context: config.context,
    promptTokens,
    tokens,
    get finish() {
      return finish;
    },
    close: () => owned.dispose(),
    [Symbol.asyncIterator]: () => pieces,
  };
}

/** What {@linkcode continueTokens} takes. */
export interface ContinueTokensOptions extends ContinueOptions {
  /** Id of the token that ends a text. */
  eos: number;
  /** Number of ids that may be chosen: those below it. */
  vocabulary?: number;
  /**
   * Gives the reader that goes on after such tokens: one that has read nothing, or the current one with what
   * it has read. Default: always the current one.
   */
  readerFor?: (tokens: readonly number[]) => Promise<Reader | undefined>;
}

/**
 * Yields the tokens that continue `prompt`, and returns why they end. `eos` ends them and is not among them.
 * A model may have ids from `vocabulary` on that its tokenizer does not know; these are never chosen.
 */
export async function* continueTokens(
  reader: Reader,
  prompt: Uint32Array,
  options: ContinueTokensOptions,
): AsyncGenerator<number, Exclude<Finish, "stop">> {
  const { cache = true, window = false, eos, vocabulary, signal, onToken, readerFor } = options;
  const { maxNewTokens, seed, ...sampling } = samplingOf(options);
  const tokens = Array.from(prompt);
  let start = 0; // place of the first token that the reader holds
  reader.clear();
  for (let i = 0; i < maxNewTokens; i++) {
    signal?.throwIfAborted();
    reader = await readerFor?.(tokens) ?? reader;
    if (!window && tokens.length > reader.capacity) return "context";
    const from = windowStart(tokens.length, reader.capacity);
    if (!cache || from !== start) {
      reader.clear();
      start = from;
    }
    const logits = await reader.read(tokens.slice(start + reader.length));
    const draw = uniform(seed, "generated token", i);
    const token = sampleToken(logits.subarray(0, vocabulary), sampling, draw);
    onToken?.(token, logits.subarray(0, vocabulary));
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

/**
 * Throws an `InputError` where a prompt exceeds the context, or the ids of the tokenizer exceed those of the
 * model.
 */
function checkPrompt(
  prompt: Uint32Array,
  { context, vocabulary }: ModelConfig,
  tokenizer: Tokenizer,
  { window = false }: ContinueOptions,
): void {
  if (vocabulary < tokenizer.vocabulary) {
    throw new InputError(
      `Cannot continue a prompt as the model's vocabulary must hold all ids of the tokenizer: it has ${vocabulary}, the ` +
        `tokenizer has ${tokenizer.vocabulary}`,
      { remedy: "copy its own tokenizer.json again, or train it again" },
    );
  }
  if (prompt.length > context && !window) {
    throw new InputError(
      `Cannot continue a prompt as it must fit the model's context of ${context} tokens: it has ${prompt.length}`,
      { remedy: say`shorten it, or let the ${setting("window")} slide` },
    );
  }
}
