/**
 * Evaluates a mixture on held-out sequences beside its baselines: perplexities with intervals, by source, by routed segment
 * and by length of the routing prefix (SmallTalk LM, sections 3.2 and 3.3, figures 4b and 5).
 *
 * The sequences are read once per model. Models are leased one after another; what is kept of a sequence is where it goes and
 * its NLL under every expert, what is kept of a document is a row of sums. Mixtures of several experts (`mix.ts`) need single tokens.
 *
 * @module
 */

import { InputError } from "../../kernels/errors.ts";
import type { TokenScores } from "../model/scorer.ts";
import { type ModelConfig, parameterCount } from "../model/shape.ts";
import type { Partitioner } from "../partition/partitioner.ts";
import type { Lineage } from "../rows/arrow.ts";
import { type LoadedModel, scoring } from "../serving/forms.ts";
import { checkShape, type ModelName } from "../serving/models.ts";
import { type Baseline, BASELINES, hasOwnShape } from "./baselines.ts";
import { resample } from "./bootstrap.ts";
import { type Evaluation, EVALUATION_FORMAT } from "./evaluation.ts";
import { checkFallback, createFallback, type FallbackOptions } from "./fallback.ts";
import { createMixing, mixesOf, type MixOptions, type Part } from "./mix.ts";
import { choicesOf, reliabilityOf } from "./reliability.ts";
import { routeByOther } from "./route_by.ts";
import { type Kept, route, type RouteOptions } from "./routes.ts";
import { blocks } from "./rows.ts";
import { createTables, figuresOf, summarize } from "./tables.ts";
import { ofTrained } from "./trained.ts";

/** What {@linkcode evaluate} takes. */
export interface EvaluateOptions extends RouteOptions, MixOptions, FallbackOptions {
  /** Baselines of the mixture to compare with. */
  baselines?: readonly Baseline[];
  /** A partitioner besides the mixture's own that chooses among its experts too. It stays open. */
  routeBy?: Partitioner;
  /** Draws of the bootstrap; 1000 unless given. */
  resamples?: number;
  /** Seed of the bootstrap; 0 unless given. */
  seed?: number;
  /** Sequences per forward pass of a model. Changes the speed and the memory, never a result. */
  batch?: number;
  /** Gives what another process found of a model, so that it is not scored here; undefined for the others. */
  known?: (model: ModelName) => Promise<ModelScores | undefined>;
  /** Called with the sequences done so far; a sequence counts once per pass. */
  onProgress?: (done: number) => void;
}

/** What is found of one model, whoever finds it. */
export interface ModelScores {
  /** Its shape. */
  config: ModelConfig;
  /** What its writer noted. */
  notes: LoadedModel["notes"];
  /** NLL of every sequence, in their order, nats `[sequences]`. */
  nll: Float32Array;
}

/** Scores every sequence with one model of a mixture, for an evaluation that is made in parts. Throws as {@linkcode evaluate} does. */
export async function scoreModel(
  model: ModelName,
  { mixture, open, signal, batch, onProgress }: Pick<
    EvaluateOptions,
    "mixture" | "open" | "signal" | "batch" | "onProgress"
  >,
  lineage: Pick<Lineage, "tokenizer" | "vocabulary" | "sequenceLength">,
): Promise<ModelScores> {
  signal?.throwIfAborted();
  const form = scoring({ length: lineage.sequenceLength!, batch });
  using lease = await mixture.lease(model, form, signal);
  const { scorer, config, notes } = lease.value;
  const scores: Float32Array[] = [];
  let done = 0;
  for await (const { rows, tokens, sequenceLength, length } of blocks(open(), lineage)) {
    signal?.throwIfAborted();
    scores.push(await scorer.score(tokens, sequenceLength, length));
    onProgress?.(done += rows);
  }
  const nll = new Float32Array(done);
  scores.reduce((at, block) => (nll.set(block, at), at + block.length), 0);
  return { config, notes, nll };
}

/** Draws of the bootstrap unless more or fewer are asked for. */
export const RESAMPLES = 1000;

/**
 * Evaluates experts that a partitioner chooses on held-out sequences.
 *
 * Where only some experts are there (`trained`), only sequences that go to them count, and prefixes of other lengths choose among
 * them.
 *
 * M tokens route as in `score` and `assignArgmax`, to the bit: the lowest cost, the lower id among equals. The same sequences,
 * models and device give the same result however the sequences are cut into batches.
 *
 * Every mixture of several experts is measured on the same sequences and draws; one of a single expert is the mixture, to the bit.
 *
 * @throws {InputError} if there are no sequences, if M is longer than they are, if models differ in shape, tokens, partitioner and
 * models in tokenizer, if an NLL isn't finite, or if a mixture or a fallback that is asked for is impossible.
 */
export async function evaluate(options: EvaluateOptions): Promise<Evaluation> {
  const { mixture, prefix, fallback, resamples = RESAMPLES, seed = 0, batch, trained, signal } = options;
  if (!Number.isSafeInteger(prefix) || prefix < 1) {
    throw new InputError(`Cannot evaluate as the prefix must be an integer >= 1: prefix is ${prefix}`);
  }
  let done = 0;
  const onRows = (rows: number) => options.onProgress?.(done += rows);
  const partitioner = await mixture.partitioner();
  const { experts, vocabulary, shape: router } = partitioner;
  const baselines = BASELINES.filter((name) => options.baselines?.includes(name));
  checkFallback(options, baselines);
  const mixes = mixesOf(options, partitioner);
  const routing = async () => {
    const open = trained ? await ofTrained(options, partitioner, trained, onRows) : options.open;
    return { open, routed: await route({ ...options, open }, partitioner, onRows, mixes !== undefined) };
  };
  const { open, routed } = await routing().finally(() => mixture.closePartitioner());
  if (routed.documents === 0) {
    const which = trained ? ` that go to experts ${trained.join(", ")}` : "";
    throw new InputError(`Cannot evaluate as there must be held-out sequences${which}: there are none`);
  }
  const all: Part = { begin: 0, end: routed.blocks.length };
  const mixing = mixes && createMixing(mixes, routed, options, partitioner, onRows);
  const falling = fallback && createFallback({ fallback, margin: options.margin }, routed, prefix);
  const more = (mixing?.columns ?? 0) + (falling?.columns ?? 0);
  const other = options.routeBy && await routeByOther(options.routeBy, options, routed, { experts }, onRows);
  const tables = createTables(routed, { prefix, experts, baselines, more });
  const { columns, add } = tables;
  const firstMix = tables.more;
  const firstFallback = firstMix + (mixing?.columns ?? 0);

  let config: ModelConfig | undefined;
  const adopted: NonNullable<Evaluation["models"]["adopted"]> = [];
  const pass = async (
    model: ModelName,
    { begin, end }: Part,
    visit: (block: Kept, row: number, nll: number) => void,
    take?: (block: number, scores: TokenScores) => void,
  ) => {
    signal?.throwIfAborted();
    const name = typeof model === "number" ? `expert ${model}` : model;
    const check = ({ config: own, notes }: Pick<LoadedModel, "config" | "notes">) => {
      const textAlone = hasOwnShape(model);
      if (notes.adopted === undefined) {
        if (!textAlone) config ??= own;
        if (config) checkShape({ config: own, notes }, config, name, { textAlone });
      } else if (typeof model === "number") {
        const text = { vocabulary, context: routed.sequenceLength };
        checkShape({ config: own, notes }, text, name, { whose: "the run" });
        if (!adopted.some(({ expert }) => expert === model)) {
          adopted.push({ expert: model, config: own, parameters: parameterCount(own), from: notes.adopted });
        }
      }
    };
    const onBlock = (block: Kept, nll: Float32Array) => {
      for (let row = 0; row < block.rows; row++) {
        if (!Number.isFinite(nll[row])) {
          throw new InputError(
            `Cannot evaluate as every NLL must be finite: that of a sequence of document ${
              routed.ids[block.document[row]]
            } under ${name} is ${nll[row]}`,
            { remedy: `train ${name} again at a lower rate` },
          );
        }
        visit(block, row, nll[row]);
      }
      onRows(block.rows);
    };
    // Parts keep no log-probabilities of tokens, and all sequences.
    const known = take || trained ? undefined : await options.known?.(model);
    if (known) {
      check(known);
      let at = 0;
      for (const block of routed.blocks) onBlock(block, known.nll.subarray(at, at += block.rows));
      if (at !== known.nll.length) throw changed(name);
      return;
    }
    using lease = await mixture.lease(model, scoring({ length: routed.sequenceLength, batch }), signal);
    const { scorer } = lease.value;
    check(lease.value);
    let at = 0;
    for await (const { rows, tokens, sequenceLength, length } of blocks(open(), partitioner)) {
      signal?.throwIfAborted();
      const number = at++;
      const block = routed.blocks[number];
      if (block?.rows !== rows) throw changed(name);
      if (number < begin || number >= end) continue;
      const scores = take && await scorer.scoreTokens(tokens, sequenceLength, length);
      onBlock(block, scores?.nll ?? await scorer.score(tokens, sequenceLength, length)); // the same bits
      if (scores) take(number, scores);
    }
    if (at !== routed.blocks.length) throw changed(name);
  };
  const there = trained ?? [...Array(experts).keys()];
  for (const part of mixing?.parts ?? [all]) {
    await mixing?.begin(part);
    for (const expert of there) {
      const keep = (block: Kept, row: number, nll: number) => block.nll[row * experts + expert] = nll;
      await pass(expert, part, keep, mixing && ((block, scores) => mixing.take(block, expert, scores)));
    }
    await mixing?.end(part, add, firstMix);
  }
  for (const expert of there) {
    for (const block of routed.blocks) {
      for (let row = 0; row < block.rows; row++) {
        const nll = block.nll[row * experts + expert];
        for (let k = 0; k < routed.prefixes.length; k++) {
          if (block.routes[row * routed.prefixes.length + k] === expert) add(block, row, k, nll);
        }
        add(block, row, columns.random!, nll / there.length);
        other?.add(block, row, expert, nll);
      }
    }
  }
  for (const block of routed.blocks) {
    for (let row = 0; row < block.rows; row++) {
      const lowest = Math.min(...there.map((expert) => block.nll[row * experts + expert]));
      add(block, row, columns.oracle!, lowest);
    }
  }
  for (const name of baselines) {
    await pass(name, all, (block, row, nll) => {
      add(block, row, columns[name]!, nll);
      if (name === fallback) falling!.take(block, row, nll);
    });
  }
  falling?.add(add, firstFallback);

  const { width, byDocument: { nll, tokens } } = tables;
  config ??= adopted[0].config; // where all experts came from elsewhere
  const draws = await resample({ nll, tokens, columns: width }, { resamples, seed, signal });
  const figures = figuresOf(tables, draws);
  return {
    format: EVALUATION_FORMAT,
    prefix,
    experts,
    ...trained && { trained: [...trained] },
    documents: routed.documents,
    sequences: routed.blocks.reduce((sum, { rows }) => sum + rows, 0),
    tokens: tokens.reduce((a, b) => a + b),
    resamples,
    seed,
    ...summarize(routed, tables, figures),
    ...!trained && { reliability: reliabilityOf(choicesOf(routed.blocks, columns.mixture!)) },
    ...mixing && { mixing: mixing.summarize(figures, firstMix, columns.mixture!) },
    ...falling && { fallback: falling.summarize(figures, firstFallback) },
    ...other && { routedBy: await other.summarize(tables, { resamples, seed, signal }) },
    models: {
      config,
      parameters: parameterCount(config),
      ...adopted.length > 0 && { adopted },
      ...router && { router, routerParameters: parameterCount(router) },
    },
  };
}

const changed = (name: string) =>
  new InputError(
    `Cannot evaluate as every pass must read the same sequences: ${name} gets more or fewer of them than the partitioner`,
  );
