/**
 * Evaluates a mixture on held-out sequences beside its baselines: perplexities with intervals, by source, by routed segment
 * and by length of the routing prefix (SmallTalk LM, sections 3.2 and 3.3, figures 4b and 5).
 *
 * The sequences are read once per model. Models are leased one after another; what is kept of a sequence is where it goes and
 * its lowest NLL, what is kept of a document is a row of sums.
 *
 * @module
 */

import { InputError } from "../../kernels/errors.ts";
import { type ModelConfig, parameterCount } from "../model/shape.ts";
import { scoring } from "../serving/forms.ts";
import { checkShape, type ModelName } from "../serving/models.ts";
import { type Baseline, BASELINE_NOTES, BASELINES, isBaseline } from "./baselines.ts";
import { resample } from "./bootstrap.ts";
import { type Evaluation, EVALUATION_FORMAT } from "./evaluation.ts";
import { type Kept, route, type RouteOptions } from "./routes.ts";
import { blocks } from "./rows.ts";
import { createTables, summarize } from "./tables.ts";

/** What {@linkcode evaluate} takes. */
export interface EvaluateOptions extends RouteOptions {
  /** Baselines of the mixture to compare with. */
  baselines?: readonly Baseline[];
  /** Draws of the bootstrap; 1000 unless given. */
  resamples?: number;
  /** Seed of the bootstrap; 0 unless given. */
  seed?: number;
  /** Sequences per forward pass of a model. Changes the speed and the memory, never a result. */
  batch?: number;
  /** Called with the sequences done so far; a sequence counts once per pass. */
  onProgress?: (done: number) => void;
}

/** Draws of the bootstrap unless more or fewer are asked for. */
export const RESAMPLES = 1000;

/**
 * Evaluates experts that a partitioner chooses on held-out sequences.
 *
 * M tokens route as in `score` and `assignArgmax`, to the bit: the lowest cost, the lower id among equals. The same sequences,
 * models and device give the same result however the sequences are cut into batches.
 *
 * @throws {InputError} if there are no sequences, if M is longer than they are, if models differ in shape, tokens, partitioner
 * and models in tokenizer, or if an NLL isn't finite.
 */
export async function evaluate(options: EvaluateOptions): Promise<Evaluation> {
  const { mixture, prefix, open, resamples = RESAMPLES, seed = 0, batch, signal } = options;
  if (!Number.isSafeInteger(prefix) || prefix < 1) {
    throw new InputError(`Cannot evaluate as the prefix must be an integer >= 1: prefix is ${prefix}`);
  }
  let done = 0;
  const onRows = (rows: number) => options.onProgress?.(done += rows);
  const partitioner = await mixture.partitioner();
  const { experts, shape: router } = partitioner;
  const routed = await route(options, partitioner, onRows).finally(() => mixture.closePartitioner());
  if (routed.documents === 0) {
    throw new InputError("Cannot evaluate as there must be held-out sequences: there are none");
  }
  const baselines = BASELINES.filter((name) => options.baselines?.includes(name));
  const tables = createTables(routed, { prefix, experts, baselines });
  const { columns, add } = tables;

  let config: ModelConfig | undefined;
  const pass = async (model: ModelName, visit: (block: Kept, row: number, nll: number) => void) => {
    signal?.throwIfAborted();
    const name = typeof model === "number" ? `expert ${model}` : model;
    using lease = await mixture.lease(model, scoring({ length: routed.sequenceLength, batch }), signal);
    const textAlone = typeof model === "string" && isBaseline(model) && !BASELINE_NOTES[model].sameShape;
    checkShape(lease.value.config, config ??= lease.value.config, name, { textAlone });
    let at = 0;
    for await (const { rows, tokens, sequenceLength, length, document } of blocks(open(), partitioner)) {
      signal?.throwIfAborted();
      const block = routed.blocks[at++];
      if (block?.rows !== rows) throw changed(name);
      const nll = await lease.value.scorer.score(tokens, sequenceLength, length);
      for (let row = 0; row < rows; row++) {
        if (!Number.isFinite(nll[row])) {
          throw new InputError(
            `Cannot evaluate as every NLL must be finite: that of a sequence of document ${
              document[row]
            } under ${name} is ${nll[row]}`,
            { remedy: `train ${name} again at a lower rate` },
          );
        }
        visit(block, row, nll[row]);
      }
      onRows(rows);
    }
    if (at !== routed.blocks.length) throw changed(name);
  };
  for (let expert = 0; expert < experts; expert++) {
    await pass(expert, (block, row, nll) => {
      for (let k = 0; k < routed.prefixes.length; k++) {
        if (block.routes[row * routed.prefixes.length + k] === expert) add(block, row, k, nll);
      }
      add(block, row, columns.random!, nll / experts);
      block.lowest[row] = Math.min(block.lowest[row], nll);
    });
  }
  for (const block of routed.blocks) {
    block.lowest.forEach((nll, row) => add(block, row, columns.oracle!, nll));
  }
  for (const name of baselines) {
    await pass(name, (block, row, nll) => add(block, row, columns[name]!, nll));
  }

  const { width, byDocument: { nll, tokens } } = tables;
  const draws = await resample({ nll, tokens, columns: width }, { resamples, seed, signal });
  return {
    format: EVALUATION_FORMAT,
    prefix,
    experts,
    documents: routed.documents,
    sequences: routed.blocks.reduce((sum, { rows }) => sum + rows, 0),
    tokens: tokens.reduce((a, b) => a + b),
    resamples,
    seed,
    ...summarize(routed, tables, draws),
    models: {
      config: config!,
      parameters: parameterCount(config!),
      ...router && { router, routerParameters: parameterCount(router) },
    },
  };
}

const changed = (name: string) =>
  new InputError(
    `Cannot evaluate as every pass must read the same sequences: ${name} gets more or fewer of them than the partitioner`,
  );
