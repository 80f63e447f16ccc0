/**
 * One pass of a model over the held-out sequences: the NLL of every sequence. Models that are compared must fit
 * one another.
 *
 * @module
 */

import type { ModelConfig } from "../model/shape.ts";
import { type LoadedModel, scoring } from "../serving/forms.ts";
import { checkShape, type ModelName, modelTitle } from "../serving/models.ts";
import { hasOwnShape } from "./baselines.ts";
import type { RouteOptions } from "./routes.ts";
import { blocks, countedSpans, joined, type Keep, type Sequences } from "./rows.ts";

/** What one model gives for all sequences, whichever process asks it. */
export interface ModelScores extends Pick<LoadedModel, "config" | "notes"> {
  /** NLL of every sequence, in their order, nats `[sequences]`. */
  nll: Float32Array;
}

/** What {@linkcode scoreModel} takes. */
export interface PassOptions extends Pick<RouteOptions, "mixture" | "open" | "signal"> {
  /** The rows that are scored. Default: all. */
  keep?: Keep;
  /** Called with the sequences of each block. */
  onRows?: (rows: number) => void;
  /** Called with the log-probabilities of all tokens, block by block. */
  onTokens?: (logProbability: Float32Array) => void;
}

/** Scores every sequence with one model of a mixture. */
export async function scoreModel(
  model: ModelName,
  { mixture, open, signal, keep, onRows, onTokens }: PassOptions,
  sequences: Sequences,
): Promise<ModelScores> {
  signal?.throwIfAborted();
  using lease = await mixture.lease(model, scoring({ length: sequences.sequenceLength }), signal);
  const { scorer, config, notes } = lease.value;
  const scores: Float32Array[] = [];
  for await (const block of blocks(open(), sequences, keep)) {
    const { rows, tokens, sequenceLength } = block, counted = countedSpans(block);
    signal?.throwIfAborted();
    const byToken = onTokens && await scorer.scoreTokens(tokens, sequenceLength, counted, signal);
    if (byToken) onTokens(byToken.logProbability);
    scores.push(byToken?.nll ?? await scorer.score(tokens, sequenceLength, counted, signal)); // the same bits
    onRows?.(rows);
  }
  return { config, notes, nll: joined(scores) };
}

/** Checks the shape of a model. Throws an `InputError` where it does not fit the models before it. */
export type Check = (model: ModelName, loaded: Pick<LoadedModel, "config" | "notes">) => void;

/**
 * Makes the function that checks models one after another. Those that were trained with the run must have one
 * shape, except baselines that may have their own. Models of other trainers must be able to read the text.
 */
export function shapeChecker(text: Partial<ModelConfig>, whose: string): Check {
  let first: { shape: ModelConfig; whose: string } | undefined;
  return (model, loaded) => {
    const name = modelTitle(model);
    if (loaded.notes.adopted !== undefined) return checkShape(loaded, text, name, { whose });
    const textAlone = hasOwnShape(model);
    if (!textAlone) first ??= { shape: loaded.config, whose: name };
    if (first) checkShape(loaded, first.shape, name, { whose: first.whose, textAlone });
  };
}
