/**
 * Scores sequences with every router: adds the column `nll`, the negative log-likelihood of each sequence's prefix
 * under each router (SmallTalk LM, section 2.2: log p(x_{1:M}; θ_r[e]) = −nll[e]).
 *
 * @module
 */

import type { Gpu } from "../../kernels/gpu.ts";
import {
  checkLineage,
  checkTokens,
  type Columns,
  FORMAT,
  fromBatch,
  type Lineage,
  lineageOf,
  originOf,
  type RecordBatch,
  toBatch,
} from "../rows/arrow.ts";
import { concatColumns } from "../rows/columns.ts";
import type { Routers } from "../checkpoints/checkpoint.ts";
import { createScorer, type Scorer } from "../model/scorer.ts";
import { rowsPerPass } from "../model/passes.ts";

/** Settings of {@link score}. */
export interface ScoreOptions {
  /** The open device. */
  gpu: Gpu;
  /** The routers, from `loadRouters`. */
  routers: Routers;
  /** Tokens of the prefix, M: 1 to S. */
  prefix: number;
  /** Sequences per forward pass. Changes the speed and the memory, never a result. */
  batch?: number;
  /** Leaves `tokens` out of the result: scores on disk do without them. */
  dropTokens?: boolean;
  /** Hash of the stage's configuration, for the lineage. */
  config?: string;
  /** Takes one line about input that says less than it should. */
  onWarning?: (message: string) => void;
}

/** Rows that are collected before they are scored, so that small batches do not cost a readback each. */
const ROWS_PER_GROUP = 1024;

/**
 * Adds `nll` f32 `[rows, E]`, nats, summed over the first min(M, length) tokens, to every batch.
 *
 * Small batches are joined; the rows and their order stay. Throws `RangeError` where the rows come from another
 * tokenizer than the routers', where `prefix` exceeds S, or where a token id is not below the routers' vocabulary.
 */
export function score(
  source: ReadableStream<RecordBatch>,
  options: ScoreOptions,
): ReadableStream<RecordBatch> {
  const { prefix } = options;
  if (!Number.isSafeInteger(prefix) || prefix < 1) {
    throw new RangeError(
      `Cannot score as the prefix must be a whole number of tokens >= 1: prefix is ${prefix}`,
    );
  }
  return ReadableStream.from(scored(source, options));
}

async function* scored(
  source: ReadableStream<RecordBatch>,
  options: ScoreOptions,
): AsyncGenerator<RecordBatch> {
  const { gpu, routers, prefix, dropTokens = false, onWarning } = options;
  let scorer: Scorer | undefined;
  let lineage: Lineage | undefined;
  let sequenceLength = 0;
  let held: Columns[] = [];
  let count = 0;

  const flush = async (): Promise<RecordBatch> => {
    const rows = concatColumns(held);
    held = [];
    count = 0;
    const nll = rows.rows === 0
      ? new Float32Array()
      : await scorer!.score(rows.tokens!, sequenceLength, rows.length);
    const { tokens, ...rest } = rows;
    return toBatch({ ...rest, ...(dropTokens ? {} : { tokens }), nll }, lineage!);
  };

  try {
    for await (const batch of source) {
      const where = originOf(batch);
      checkLineage(
        batch,
        { tokenizer: routers.notes.tokenizer, vocabulary: routers.config.vocabulary },
        "the routers",
      );
      const { nll: _nll, expert: _expert, ...columns } = fromBatch(batch, where);
      if (columns.tokens === undefined) {
        throw new RangeError(`Cannot score ${where} as it must have a column "tokens": it has none`);
      }
      if (lineage === undefined) {
        const known = lineageOf(batch);
        sequenceLength = known?.sequenceLength ??
          (columns.rows > 0 ? columns.tokens.length / columns.rows : 0);
        if (known === null) {
          onWarning?.(`${where} does not say which tokenizer made it: taken to be the routers'`);
        }
        if (sequenceLength > 0 && prefix > sequenceLength) {
          throw new RangeError(
            `Cannot score ${where} as the prefix must be at most the sequence length: prefix is ${prefix}, the ` +
              `sequences have ${sequenceLength} tokens`,
          );
        }
        lineage = {
          format: FORMAT,
          eos: routers.notes.eos,
          tokenizer: routers.notes.tokenizer,
          vocabulary: routers.config.vocabulary,
          ...known,
          sequenceLength,
          stage: "score",
          prefix,
          experts: routers.models.length,
          routers: routers.sha256,
          config: options.config,
        };
        const { config, models } = routers;
        const rows = rowsPerPass(gpu, config, prefix, options.batch);
        scorer = createScorer(gpu, { config, models, batch: rows, length: prefix });
      } else if (columns.rows > 0 && columns.tokens.length !== columns.rows * sequenceLength) {
        throw new RangeError(
          `Cannot score ${where} as all sequences must have ${sequenceLength} tokens: these have ` +
            `${columns.tokens.length / columns.rows}`,
        );
      }
      checkTokens(columns, routers.config.vocabulary, where);
      held.push(columns);
      count += columns.rows;
      if (count >= ROWS_PER_GROUP) yield await flush();
    }
    if (count > 0 || held.length > 0) yield await flush();
  } finally {
    scorer?.close();
  }
}
