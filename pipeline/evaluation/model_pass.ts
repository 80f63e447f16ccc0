/**
 * One pass of a model over the held-out sequences: the NLL of every sequence, with checks of the model and of
 * its results.
 *
 * @module
 */

import { InputError } from "../../kernels/errors.ts";
import type { TokenScores } from "../model/scorer.ts";
import { type ModelConfig, parameterCount } from "../model/shape.ts";
import type { Partitioner } from "../partition/partitioner.ts";
import type { Lineage } from "../rows/lineage.ts";
import { type LoadedModel, scoring } from "../serving/forms.ts";
import { checkShape, type ModelName, nameOf } from "../serving/models.ts";
import { hasOwnShape } from "./baselines.ts";
import type { Evaluation } from "./evaluation.ts";
import type { Part } from "./mix.ts";
import type { Kept, Routed, RouteOptions } from "./routes.ts";
import { blocks } from "./rows.ts";

/** How models score sequences. */
export interface PassOptions extends Pick<RouteOptions, "mixture" | "open" | "signal"> {
  /** Sequences per forward pass of a model. Changes the speed and the memory, never a result. */
  batch?: number;
  /** Gives what another process found of a model, so that it is not scored here; undefined for the others. */
  known?: (model: ModelName) => Promise<ModelScores | undefined>;
  /** Whether each sequence of which `known` tells is among those that are opened. Default: all are. */
  kept?: readonly boolean[];
}

/** What one model says of all sequences, whichever process asks it. */
export interface ModelScores {
  /** Its shape. */
  config: ModelConfig;
  /** What its writer noted. */
  notes: LoadedModel["notes"];
  /** NLL of every sequence, in their order, nats `[sequences]`. */
  nll: Float32Array;
}

/** Scores every sequence with one model of a mixture, for an evaluation that is made in parts. Throws as `evaluate()` does. */
export async function scoreModel(
  model: ModelName,
  { mixture, open, signal, batch, onProgress }: Pick<PassOptions, "mixture" | "open" | "signal" | "batch"> & {
    /** Called with the sequences done so far. */
    onProgress?: (done: number) => void;
  },
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
    scores.push(await scorer.score(tokens, sequenceLength, length, signal));
    done += rows;
    onProgress?.(done);
  }
  const nll = new Float32Array(done);
  scores.reduce((at, block) => (nll.set(block, at), at + block.length), 0);
  return { config, notes, nll };
}

/** Passes of models over the same sequences. */
export interface Passes {
  /**
   * Scores the blocks of a part with a model. `visit` gets the NLL of every sequence, and `take` what the model says of the tokens of a
   * block. Throws an `InputError` where the model does not fit the others, an NLL is not finite or the sequences are others.
   */
  run(
    model: ModelName,
    part: Part,
    visit: (block: Kept, row: number, nll: number) => void,
    take?: (block: number, scores: TokenScores) => void,
  ): Promise<void>;
  /** Says which shape the models have, and which of the experts were adopted, once an expert has scored. */
  models(): { config: ModelConfig; adopted: NonNullable<Evaluation["models"]["adopted"]> };
}

/** Prepares passes of models over sequences that are routed. */
export function createPasses(
  { mixture, open, batch, known: knownOf, kept, signal }: PassOptions,
  routed: Routed,
  partitioner: Pick<Partitioner, "tokenizer" | "vocabulary">,
  onRows: (rows: number) => void,
): Passes {
  const { sequenceLength } = routed;
  let config: ModelConfig | undefined;
  const adopted: NonNullable<Evaluation["models"]["adopted"]> = [];

  /** Checks the shape of a model: that of the first one, unless it was adopted or has a shape of its own. */
  function check(model: ModelName, { config: own, notes }: Pick<LoadedModel, "config" | "notes">): void {
    const name = nameOf(model);
    const textAlone = hasOwnShape(model);
    if (notes.adopted === undefined) {
      if (!textAlone) config ??= own;
      if (config) checkShape({ config: own, notes }, config, name, { textAlone });
    } else if (typeof model === "number") {
      const text = { vocabulary: partitioner.vocabulary, context: sequenceLength };
      checkShape({ config: own, notes }, text, name, { whose: "the run" });
      if (!adopted.some(({ expert }) => expert === model)) {
        adopted.push({ expert: model, config: own, parameters: parameterCount(own), from: notes.adopted });
      }
    }
  }

  /** Hands the NLL of every sequence of a block over. */
  function visitAll(
    model: ModelName,
    block: Kept,
    nll: Float32Array,
    visit: (block: Kept, row: number, nll: number) => void,
  ): void {
    for (let row = 0; row < block.rows; row++) {
      if (!Number.isFinite(nll[row])) {
        throw new InputError(
          `Cannot evaluate as every NLL must be finite: that of a sequence of document ${
            routed.ids[block.document[row]]
          } under ${nameOf(model)} is ${nll[row]}`,
          { remedy: `train ${nameOf(model)} again at a lower rate` },
        );
      }
      visit(block, row, nll[row]);
    }
    onRows(block.rows);
  }

  return {
    async run(model, { begin, end }, visit, take) {
      signal?.throwIfAborted();
      const known = take ? undefined : await knownOf?.(model); // parts keep no log-probabilities of tokens
      if (known) {
        check(model, known);
        if (kept && kept.length !== known.nll.length) throw otherSequences(model);
        const nll = kept ? known.nll.filter((_, row) => kept[row]) : known.nll;
        let at = 0;
        for (const block of routed.blocks) visitAll(model, block, nll.subarray(at, at += block.rows), visit);
        if (at !== nll.length) throw otherSequences(model);
        return;
      }
      using lease = await mixture.lease(model, scoring({ length: sequenceLength, batch }), signal);
      const { scorer } = lease.value;
      check(model, lease.value);
      let at = 0;
      for await (const { rows, tokens, sequenceLength, length } of blocks(open(), partitioner)) {
        signal?.throwIfAborted();
        const number = at++;
        const block = routed.blocks[number];
        if (block?.rows !== rows) throw otherSequences(model);
        if (number < begin || number >= end) continue;
        const scores = take && await scorer.scoreTokens(tokens, sequenceLength, length, signal);
        const nll = scores?.nll ?? await scorer.score(tokens, sequenceLength, length, signal); // the same bits
        visitAll(model, block, nll, visit);
        if (scores) take(number, scores);
      }
      if (at !== routed.blocks.length) throw otherSequences(model);
    },
    // Where all experts came from elsewhere, the first of them gives the shape.
    models: () => ({ config: config ?? adopted[0].config, adopted }),
  };
}

const otherSequences = (model: ModelName) =>
  new InputError(
    `Cannot evaluate as every pass must read the same sequences: ${
      nameOf(model)
    } gets more or fewer of them than the partitioner`,
  );
