/**
 * Evaluates a mixture on held-out sequences beside its baselines: perplexities with intervals, by source, by
 * routed segment and by length of the routing prefix (SmallTalk LM, sections 3.2 and 3.3, figures 4b and 5).
 *
 * The sequences are read once per model. Models are leased one after another. Of a sequence it keeps where it
 * goes and its NLL under every expert, of a document a row of sums. Only mixtures of several experts
 * (`mix.ts`) need single tokens.
 *
 * @module
 */

import { InputError, say, setting, type Text } from "../../kernels/errors.ts";
import { parameterCount } from "../model/shape.ts";
import type { Partitioner } from "../partition/partitioner.ts";
import { unknownText } from "../partition/score.ts";
import { type Baseline, BASELINES } from "./baselines.ts";
import { fewDocuments, resample } from "./bootstrap.ts";
import { type DocumentScores, scoresOfDocuments } from "./documents.ts";
import { type Evaluation, EVALUATION_FORMAT } from "./evaluation.ts";
import { checkFallback, createFallback, type FallbackOptions } from "./fallback.ts";
import { createMixing, mixesOf, type MixOptions, type Part } from "./mix.ts";
import { choicesOf, reliabilityOf } from "./reliability.ts";
import { createPasses, type PassOptions } from "./model_pass.ts";
import { type OtherRouting, routeByOther } from "./route_by.ts";
import { type Kept, route, type Routed, type RouteOptions } from "./routes.ts";
import { createTables, figuresOf, summarize, type Tables } from "./tables.ts";
import { ofTrained } from "./trained.ts";

/** What {@linkcode evaluate} takes. */
export interface EvaluateOptions
  extends RouteOptions, Omit<PassOptions, "kept">, MixOptions, FallbackOptions {
  /** The experts that are there, where not all are. */
  trained?: readonly number[];
  /** Baselines of the mixture to compare with. */
  baselines?: readonly Baseline[];
  /** A partitioner besides the mixture's own that chooses among its experts too. It stays open. */
  routeBy?: Partitioner;
  /** Draws of the bootstrap; 1000 unless given. */
  resamples?: number;
  /** Seed of the bootstrap; 0 unless given. */
  seed?: number;
  /** Called with the sequences done so far; a sequence counts once per pass. */
  onProgress?: (done: number) => void;
  /** Called with what every held-out document came to, before the bootstrap. */
  onDocuments?: (scores: DocumentScores) => void;
  /** Called with a warning of sequences of which the partitioner knows nothing, or of too few documents for intervals. */
  onWarning?: (message: Text) => void;
}

/** Default number of draws of the bootstrap. */
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
  const { mixture, prefix, fallback, resamples = RESAMPLES, seed = 0, trained, signal } = options;
  if (!Number.isSafeInteger(prefix) || prefix < 1) {
    throw new InputError(`Cannot evaluate as the prefix must be an integer >= 1: prefix is ${prefix}`);
  }
  let done = 0;
  const onRows = (rows: number) => options.onProgress?.(done += rows);
  const partitioner = await mixture.partitioner();
  const { experts, shape: router } = partitioner;
  const baselines = BASELINES.filter((name) => options.baselines?.includes(name));
  checkFallback(options, baselines);
  const mixes = mixesOf(options, partitioner);
  const routing = async () => {
    const some = trained && await ofTrained(options, partitioner, trained, onRows);
    const open = some?.open ?? options.open;
    return {
      open,
      kept: some?.kept,
      routed: await route({ ...options, open }, partitioner, onRows, mixes !== undefined),
    };
  };
  const { open, kept, routed } = await routing().finally(() => mixture.closePartitioner());
  if (routed.documents === 0) {
    const which = trained ? ` that go to experts ${trained.join(", ")}` : "";
    throw new InputError(`Cannot evaluate as there must be held-out sequences${which}: there are none`);
  }
  if (routed.unknown > 0) options.onWarning?.(unknownText(routed.unknown));
  const few = fewDocuments(routed.documents);
  if (few) options.onWarning?.(say`${few}; more are held out with a larger ${setting("holdout")}`);
  const all: Part = { begin: 0, end: routed.blocks.length };
  const mixing = mixes && createMixing(mixes, routed, options, partitioner, onRows);
  const falling = fallback && createFallback({ fallback, margin: options.margin }, routed, prefix);
  const other = options.routeBy && await routeByOther(options.routeBy, options, routed, { experts }, onRows);
  const more = (mixing?.columns ?? 0) + (falling?.columns ?? 0) + (other?.columns ?? 0);
  const tables = createTables(routed, { prefix, experts, baselines, more });
  const { columns, add } = tables;
  const firstMix = tables.more;
  const firstFallback = firstMix + (mixing?.columns ?? 0);
  const firstOther = firstFallback + (falling?.columns ?? 0);

  const passes = createPasses({ ...options, open, kept }, routed, partitioner, onRows);
  const there = trained ?? [...Array(experts).keys()];
  for (const part of mixing?.parts ?? [all]) {
    await mixing?.begin(part);
    for (const expert of there) {
      const keep = (block: Kept, row: number, nll: number) => block.nll[row * experts + expert] = nll;
      await passes.run(expert, part, keep, mixing && ((block, scores) => mixing.take(block, expert, scores)));
    }
    await mixing?.end(part, add, firstMix);
  }
  addExperts(routed, tables, there, experts, other && { routing: other, first: firstOther });
  for (const name of baselines) {
    await passes.run(name, all, (block, row, nll) => {
      add(block, row, columns[name]!, nll);
      if (name === fallback) falling!.take(block, row, nll);
    });
  }
  falling?.add(add, firstFallback);
  options.onDocuments?.(scoresOfDocuments(routed, tables));

  const { width, byDocument: { nll, tokens } } = tables;
  const { config, adopted } = passes.models();
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
    ...other && { routedBy: other.summarize(figures, firstOther) },
    models: {
      config,
      parameters: parameterCount(config),
      ...adopted.length > 0 && { adopted },
      ...router && { router, routerParameters: parameterCount(router) },
    },
  };
}

/**
 * Adds what the experts found of every sequence to the tables: the NLL of the chosen expert by length of the routing prefix, that of a
 * random expert in the mean, and the lowest of all, which only hindsight could choose. What another partitioner chooses goes to columns
 * from `first` on.
 */
function addExperts(
  { blocks, prefixes }: Routed,
  { columns, add }: Tables,
  there: readonly number[],
  experts: number,
  other?: { routing: OtherRouting; first: number },
): void {
  for (const expert of there) {
    for (const block of blocks) {
      for (let row = 0; row < block.rows; row++) {
        const nll = block.nll[row * experts + expert];
        for (let k = 0; k < prefixes.length; k++) {
          if (block.routes[row * prefixes.length + k] === expert) add(block, row, k, nll);
        }
        add(block, row, columns.random!, nll / there.length);
        other?.routing.add(add, other.first, block, row, expert, nll);
      }
    }
  }
  for (const block of blocks) {
    for (let row = 0; row < block.rows; row++) {
      const lowest = Math.min(...there.map((expert) => block.nll[row * experts + expert]));
      add(block, row, columns.oracle!, lowest);
    }
  }
}
