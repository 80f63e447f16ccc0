/**
 * Continues a prompt: routes it by its prefix, loads the expert that the router chooses (or
 * several, whose probabilities are mixed), and streams text.
 *
 * A model has a context of S tokens. A longer prompt is an error, and a text ends where the context
 * does. With a sliding window the model goes on instead: it reads the later half of its context
 * anew.
 */

import { ensure, InputError, say, setting } from "../../kernels/errors.ts";
import type { OpenGpuOptions } from "../../kernels/device/gpu.ts";
import { uniform } from "../random.ts";
import type { Values } from "../settings/field.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import type { ModelConfig } from "../model/shape.ts";
import { type Change, type Choice, choose, chooseAnew, type ChoosingOptions } from "./answering.ts";
import type { Reader } from "./engine.ts";
import { decoding, type DecodingModel, type DecodingOptions, type Form } from "./forms.ts";
import { type Answering, mixReaders, type Route } from "./mixing.ts";
import { type Mixture, type MixtureOptions, openMixture } from "./mixture.ts";
import { checkShape, type ModelName } from "./models.ts";
import { sampleToken, SAMPLING, settingsAmong } from "./sampling.ts";
import { createStopFilter } from "./text_stream.ts";

/**
 * Why a text ended: the model closed the document, a stop text came, there were enough tokens, or
 * the context is full.
 */
export type Finish = "eos" | "stop" | "length" | "context";

/** How a text is continued: the settings in {@link SAMPLING}, and: */
export interface ContinueOptions extends Partial<Values<typeof SAMPLING>> {
  /**
   * Keeps keys and values of the tokens that were read. Without it, all are read again for every
   * new one, with the same result. Default: true.
   */
  cache?: boolean;
  /** Goes on with the later half of the context once it is full. Default: false. */
  window?: boolean;
  /** Ends the work. */
  signal?: AbortSignal;
  /**
   * Called with the logits f32 `[vocabulary]` that every token was chosen from, and the token; also
   * for the EOS that ends the text.
   */
  onToken?: (token: number, logits: Float32Array) => void;
}

/**
 * What {@link answer} takes. If an expert or a dense model is named, it answers, and the
 * partitioner is not read.
 */
export interface AnswerOptions extends ContinueOptions, ChoosingOptions {
  /** Text to continue, or its tokens. */
  prompt: string | Uint32Array;
  /** Texts to stop before. */
  stop?: readonly string[];
  /**
   * Who continues the prompt, if that was chosen before; then the options that would choose are
   * ignored.
   */
  choice?: Choice;
}

/** What {@link generate} takes. */
export interface GenerateOptions extends
  Omit<AnswerOptions, "expert" | "prompt" | "choice">,
  Pick<
    MixtureOptions,
    "run" | "model" | "beam" | "memory" | "readEvery" | "gpu" | keyof OpenGpuOptions
  > {
  /** Text to continue. */
  prompt: string;
  /** Expert to use instead of the partitioner's choice: the partitioner is not read. */
  expert?: number;
}

/**
 * Opens a text that continues a prompt. In a run it routes the prompt and frees the partitioner
 * before it loads the expert. So only one expert is held and only its folder is read; of a mixture,
 * as many as are mixed. Where experts are weighted anew, the partitioner stays open.
 *
 * Throws an `InputError` where the prompt is empty or too long, or a mixture is impossible. Also
 * where the expert is out of range or not trained yet (it names the task to run). Also where a
 * model has another shape or tokenizer, or a file is damaged.
 */
export async function generate(
  { run, model, beam, memory, readEvery, adapter, variants, gpu, ...options }: GenerateOptions,
): Promise<Generation> {
  if (model !== undefined && options.expert !== undefined) {
    const fact = say`it is ${options.expert}, and ${setting("model")} is "${model}"; leave one out`;
    throw new InputError(say`Cannot generate as ${setting("expert")} belongs to a run: ${fact}`);
  }
  const mixture = await openMixture({ run, model, beam, memory, adapter, variants, gpu });
  return await Generation.open(mixture, options, { readEvery });
}

/**
 * Opens a text that continues a prompt in a mixture that many share: it decodes side by side with
 * the others of its expert, and does not depend on them. It holds a slot of the expert until it
 * ends or is closed. Throws as {@linkcode generate} does.
 */
export async function answer(mixture: Mixture, options: AnswerOptions): Promise<Generation> {
  return await Generation.open(mixture, options);
}

const answeringExperts = (answering: readonly Answering[]) => answering.map(({ expert }) => expert);

/** A text that comes while it is iterated, once. */
export class Generation implements AsyncIterable<string>, Disposable {
  /** What the partitioner said; null where an expert or a model was named. */
  readonly route: Route | null;
  /**
   * The expert that begins the text, the one of the largest weight if there are several; null if a
   * model was named.
   */
  readonly expert: number | null;
  /**
   * The experts that continue the text now, the one of the largest weight first; none if a model
   * was named.
   */
  answering: readonly Answering[];
  /** What the partitioner said last. It differs from `route` where experts are weighted anew. */
  lastRoute: Route | null;
  /** Changes of these experts so far. */
  readonly changes: Change[] = [];
  /** Longest text of the model, in tokens. */
  context = 0;
  /** New tokens so far. */
  readonly tokens: number[] = [];
  /**
   * Code units of the text that they spell, with what a stop text hides, but not of a character
   * that is incomplete.
   */
  spelled = 0;
  /** Why the text ended, once it has. */
  finish: Finish | null = null;
  readonly #pieces = this.#text();
  readonly #readers = new Map<ModelName, Reader>();
  readonly #ended = new DisposableStack();
  #models = new DisposableStack();
  #eos = 0;

  private constructor(
    private readonly mixture: Mixture,
    private readonly tokenizer: Tokenizer,
    private readonly options: AnswerOptions,
    private readonly choice: Choice,
    readonly promptTokens: Uint32Array, // tokens of the prompt
    readonly experts: number | null, // number of experts; null where it is not known
    private readonly form?: Form<DecodingModel>,
  ) {
    this.route = this.lastRoute = choice.route;
    this.answering = experts === null ? [] : choice.answering;
    this.expert = this.answering[0]?.expert ?? null;
  }

  /**
   * @ignore Opens a text. One that has its mixture `alone`, with models in a form of their own,
   * closes it when it ends.
   */
  static async open(
    mixture: Mixture,
    options: AnswerOptions,
    alone?: Pick<DecodingOptions, "readEvery">,
  ): Promise<Generation> {
    using held = new DisposableStack();
    if (alone) held.defer(() => mixture.close());
    const { prompt, signal, reroute } = options;
    const { maxNewTokens } = settingsAmong(SAMPLING, options);
    const tokenizer = await mixture.tokenizer();
    const tokens = typeof prompt === "string" ? (await tokenizer.encode([prompt]))[0] : prompt;
    ensure(tokens.length > 0, "Cannot continue a prompt as it must have a token: it has none");
    signal?.throwIfAborted();
    const choice = options.choice ?? (await choose(mixture, [tokens], options))[0];
    const experts = mixture.routes ? await mixture.experts() : null;
    if (alone && reroute === undefined) mixture.closePartitioner();
    const form = alone &&
      decoding({ ...alone, slots: 1, capacity: tokens.length + maxNewTokens });
    const generation = new Generation(mixture, tokenizer, options, choice, tokens, experts, form);
    await generation.#takeModels();
    generation.#ended.use(held.move());
    return generation;
  }

  /**
   * Gives the expert back, or frees it if it is held for this text alone. The end of the iteration
   * does the same.
   */
  close(): void {
    this.#models.dispose();
    this.#ended.dispose();
  }

  /** Closes it. */
  [Symbol.dispose](): void {
    this.close();
  }

  /** The text in pieces, as it comes. */
  [Symbol.asyncIterator](): AsyncGenerator<string> {
    return this.#pieces;
  }

  /** Leases the models that continue the text now, and takes a slot of each. */
  async #takeModels(): Promise<void> {
    using stack = new DisposableStack();
    const { mixture, choice, tokenizer, options } = this;
    const names = choice.rule
      ? answeringExperts(this.answering).sort((a, b) => a - b)
      : [choice.model];
    const models = stack.use(await mixture.leaseAll(names, this.form, options.signal)).value;
    const [{ config, notes }] = models;
    models.forEach((model, i) => {
      const name = `expert ${names[i]}`;
      if (typeof names[i] === "number") {
        checkShape(model, mixture.shape, name, { likeName: "the run's experts" });
      }
      if (i > 0 && notes.adopted === undefined) {
        checkShape(model, config, name, { likeName: `expert ${names[0]}` });
      }
      checkPrompt(this.promptTokens, model.config, tokenizer, options);
    });
    this.#readers.clear();
    models.forEach(({ engine }, i) => this.#readers.set(names[i], stack.use(engine.join())));
    this.#models = stack.move();
    if (this.context > 0) return; // others begin the text
    this.context = config.context;
    this.#eos = notes.eos ?? tokenizer.eos;
  }

  /** Reads with those that continue the text now, from its beginning. */
  #reader(): Reader {
    const { choice, answering, tokenizer } = this;
    if (!choice.rule) return this.#readers.get(choice.model)!;
    const readers = answering.map(({ expert }) => this.#readers.get(expert)!);
    return mixReaders(readers, answering.map(({ weight }) => weight), tokenizer.vocabulary);
  }

  /** Lets others go on where that is due; returns the reader that goes on then. */
  async #readerFor(tokens: readonly number[]): Promise<Reader | undefined> {
    const chosen = await chooseAnew(this.choice, this.mixture, this.promptTokens.length, tokens);
    if (!chosen) return undefined;
    const [experts, newExperts] = [this.answering, chosen.answering].map(answeringExperts);
    ({ route: this.lastRoute, answering: this.answering } = chosen);
    if (new Set(experts).symmetricDifference(new Set(newExperts)).size > 0) {
      // Given back before others are asked for: a text that waits for models holds none.
      this.#models.dispose();
      await this.#takeModels();
    }
    if (String(newExperts) !== String(experts)) {
      const change = { tokens: this.tokens.length, ...chosen };
      this.changes.push(change);
      this.options.onChange?.(change);
    }
    return this.#reader();
  }

  /** Yields the text as it comes. Frees what is held at the end, however it ends. */
  async *#text(): AsyncGenerator<string> {
    using _ = this;
    const { tokenizer: { vocabulary }, options } = this;
    const readerFor = (tokens: readonly number[]) => this.#readerFor(tokens);
    const about = { ...options, eos: this.#eos, vocabulary, readerFor };
    const ids = continueTokens(this.#reader(), this.promptTokens, about);
    const speller = (await this.mixture.texts()).speller();
    const filter = createStopFilter(options.stop ?? []);
    while (this.finish === null) {
      const next = await ids.next();
      if (!next.done) this.tokens.push(next.value);
      const spelled = await (next.done ? speller.flush() : speller.push(next.value));
      this.spelled += spelled.length;
      const { text, stopped } = filter.push(spelled);
      if (stopped) this.finish = "stop";
      else if (next.done) this.finish = next.value;
      const shown = next.done && !stopped ? text + filter.flush() : text;
      if (shown !== "") yield shown;
    }
  }
}

/** What {@linkcode continueTokens} takes. */
interface ContinueTokensOptions extends ContinueOptions {
  eos: number; // id of the token that ends a text
  vocabulary?: number; // number of ids that may be chosen: those below it
  /**
   * Gives the reader that goes on after such tokens: one that has read nothing, or the current one
   * with what it has read. Default: always the current one.
   */
  readerFor?: (tokens: readonly number[]) => Promise<Reader | undefined>;
}

/**
 * Yields the tokens that continue `prompt`, and returns why they end. `eos` ends them and is not
 * among them. A model may have ids from `vocabulary` on that its tokenizer does not know; these are
 * never chosen.
 */
export async function* continueTokens(
  reader: Reader,
  prompt: Uint32Array,
  options: ContinueTokensOptions,
): AsyncGenerator<number, Exclude<Finish, "stop">> {
  const { cache = true, window = false, eos, vocabulary, signal, onToken, readerFor } = options;
  const { maxNewTokens, seed, ...sampling } = settingsAmong(SAMPLING, options);
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
    const draw = (token: number) => uniform(seed, "generated token", i + token);
    const ahead = { ...sampling, vocabulary, most: cache ? maxNewTokens - 1 - i : 0, draw };
    const all = await reader.read(tokens.slice(start + reader.length), ahead);
    const logits = all.subarray(0, vocabulary);
    const token = sampleToken(logits, sampling, draw(0));
    onToken?.(token, logits);
    if (token === eos) return "eos";
    tokens.push(token);
    yield token;
  }
  return "length";
}

/**
 * Returns where a window of `capacity` tokens begins in a text of `length`: it moves by half a
 * window whenever it is full.
 */
export function windowStart(length: number, capacity: number): number {
  const half = Math.ceil(capacity / 2);
  return Math.max(0, Math.ceil((length - capacity) / half)) * half;
}

/**
 * Throws an `InputError` where a prompt exceeds the context, or the ids of the tokenizer exceed
 * those of the model.
 */
function checkPrompt(
  { length }: Uint32Array,
  { context, vocabulary }: ModelConfig,
  tokenizer: Tokenizer,
  { window = false }: ContinueOptions,
): void {
  if (vocabulary < tokenizer.vocabulary) {
    const rule = "the model's vocabulary must hold all ids of the tokenizer";
    const fact = `it has ${vocabulary}, the tokenizer has ${tokenizer.vocabulary}`;
    throw new InputError(`Cannot continue a prompt as ${rule}: ${fact}`, {
      remedy: "copy its own tokenizer.json again, or train it again",
    });
  }
  if (length <= context || window) return;
  const rule = `it must fit the model's context of ${context} tokens`;
  throw new InputError(`Cannot continue a prompt as ${rule}: it has ${length}`, {
    remedy: say`shorten it, or let the ${setting("window")} slide`,
  });
}
