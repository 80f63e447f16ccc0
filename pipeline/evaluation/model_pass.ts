/**
 * One pass of a model over the held-out sequences: the NLL of every sequence. Models that are compared must fit
 * one another.
 *
 * @module
 */

import type { ModelConfig } from "../model/shape.ts";
import type { Lineage } from "../rows/lineage.ts";
import { type LoadedModel, scoring } from "../serving/forms.ts";
import { checkShape, type ModelName, nameOf } from "../serving/models.ts";
import { hasOwnShape } from "./baselines.ts";
import type { RouteOptions } from "./routes.ts";
import { blocks, joined, type Keep } from "./rows.ts";

/** How models score sequences. */
export interface PassOptions extends Pick<RouteOptions, "mixture" | "open" | "signal"> {
  /** Sequences per forward pass of a model. Changes the speed and the memory, never a result. */
  batch?: number;
  /** Gives what another process found of a model, so that it is not scored here; undefined for the others. */
  known?: (model: ModelName) => Promise<ModelScores | undefined>;
}

/** What one model gives for all sequences, whichever process asks it. */
export interface ModelScores extends Pick<LoadedModel, "config" | "notes"> {
  /** NLL of every sequence, in their order, nats `[sequences]`. */
  nll: Float32Array;
}

/** Scores every sequence with one model of a mixture. Throws as `evaluate()` does. */
export async function scoreModel(
  model: ModelName,
  { mixture, open, signal, batch, keep, check, onRows, onTokens }: Omit<PassOptions, "known"> & {
    /** The rows that are scored. Default: all. */
    keep?: Keep;
    /** Called with the model before it scores; throws where it does not fit. */
    check?: Check;
    /** Called with the sequences of each block. */
    onRows?: (rows: number) => void;
    /** Called with the log-probabilities of all tokens, block by block. */
    onTokens?: (logProbability: Float32Array) => void;
  },
  lineage: Pick<Lineage, "tokenizer" | "vocabulary" | "sequenceLength">,
): Promise<ModelScores> {
  signal?.throwIfAborted();
  using lease = await mixture.lease(model, scoring({ length: lineage.sequenceLength!, batch }), signal);
  const { scorer, config, notes } = lease.value;
  check?.(model, lease.value);
  const scores: Float32Array[] = [];
  for await (const { rows, tokens, sequenceLength, length } of blocks(open(), lineage, keep)) {
    signal?.throwIfAborted();
    const byToken = onTokens && await scorer.scoreTokens(tokens, sequenceLength, length, signal);
    if (byToken) onTokens(byToken.logProbability);
    scores.push(byToken?.nll ?? await scorer.score(tokens, sequenceLength, length, signal)); // the same bits
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
export function shapeChecker(text: Pick<ModelConfig, "vocabulary" | "context">, whose: string): Check {
  let first: { shape: ModelConfig; whose: string } | undefined;
  return (model, loaded) => {
    const name = nameOf(model);
    if (loaded.notes.adopted !== undefined) return checkShape(loaded, text, name, { whose });
    const textAlone = hasOwnShape(model);
    if (!textAlone) first ??= { shape: loaded.config, whose: name };
    if (first) checkShape(loaded, first.shape, name, { whose: first.whose, textAlone });
  };
}
