/**
 * Scores sequences: adds the column `nll`, what each sequence costs every expert. With routers that
 * is the negative log-likelihood of its prefix under each of them (SmallTalk LM, section 2.2: log
 * p(x_{1:M}; θ_r[e]) = −nll[e]).
 */

import { InputError, say, setting, type Text } from "../../kernels/errors.ts";
import { checkLineage, FORMAT, readLineage } from "../rows/lineage.ts";
import { checkTokens, findOrigin, fromBatch, type RecordBatch, toBatch } from "../rows/arrow.ts";
import type { Columns } from "../rows/arrow.ts";
import type { Lineage } from "../rows/lineage.ts";
import { concatColumns } from "../rows/columns.ts";
import { prefixTokens } from "../model/span.ts";
import { checkSettings } from "../settings/configuration.ts";
import type { Partitioner } from "./partitioner.ts";

/** Settings of {@link score}. */
export interface ScoreOptions {
  /** The partitioner that says the costs. It stays open. */
  partitioner: Partitioner;
  /** Tokens of the prefix, 2 to S; the partitioner's M by default. */
  prefix?: number;
  /** Leaves `tokens` out of the result: scores on disk do not hold them. */
  dropTokens?: boolean;
  /** Ends it between two passes. */
  signal?: AbortSignal;
  /** Called with a warning about input that says less than it should. */
  onWarning?: (message: Text) => void;
  /**
   * Called at the end with the sequences of which the partitioner knows nothing, if there are some.
   * Default: a warning tells them.
   */
  onUnknown?: (sequences: number) => void;
}

/** Words a warning of sequences of which a partitioner knows nothing. */
export function unknownText(sequences: number): string {
  const [subject, them] = sequences === 1
    ? ["1 sequence has", "it"]
    : [`${sequences} sequences have`, "them"];
  return `${subject} no label that training had: every expert costs ${them} the ` +
    `same, and the first one takes ${them} unless parts are balanced`;
}

/** Gives how many tokens of each row may route: of one that begins with a prompt, the prompt's. */
export const routedLengths = ({ length, begin }: Pick<Columns, "length" | "begin">): Uint32Array =>
  begin ? length.map((real, row) => begin[row] > 0 ? Math.min(real, begin[row]) : real) : length;

/**
 * Counts the predicted tokens of each row that its costs are sums over: of one that begins with a
 * prompt at least one.
 */
export const routedPredictions = (
  rows: Pick<Columns, "length" | "begin">,
  prefix: number,
): Uint32Array =>
  routedLengths(rows).map((real, row) =>
    Math.max(Number((rows.begin?.[row] ?? 0) > 0), prefixTokens(real, prefix))
  );

/**
 * Rows that are collected before they are scored, so that small batches do not cost a readback
 * each.
 */
const ROWS_PER_GROUP = 1024;

/**
 * Adds `nll` f32 `[rows, E]`, the costs by the first min(M, length) tokens, to every batch.
 *
 * Small batches are joined; the rows and their order stay. Throws an `InputError` where the rows
 * come from another tokenizer than the partitioner's. Also where the prefix exceeds S or a token id
 * is not below the partitioner's vocabulary.
 */
export function score(
  source: ReadableStream<RecordBatch>,
  options: ScoreOptions,
): ReadableStream<RecordBatch> {
  const { prefix = options.partitioner.prefix } = options;
  checkSettings({ prefix });
  return ReadableStream.from(scored(source, { ...options, prefix }));
}

const PREFIX = setting("prefix");

/** Makes the lineage of scored rows from that of the rows that are scored, where they have one. */
function scoreLineage(
  { tokenizer, vocabulary, eos, experts, sha256, perSequence }: Partitioner,
  rowsLineage: Partial<Lineage> | null,
  sequenceLength: number,
  prefix: number,
): Lineage {
  const stageLineage = {
    stage: "score",
    sequenceLength: sequenceLength || undefined,
    prefix,
    experts,
    routers: sha256,
  };
  const costs = perSequence ? { costs: "per sequence" } : {};
  return { format: FORMAT, eos, tokenizer, vocabulary, ...rowsLineage, ...stageLineage, ...costs };
}

async function* scored(
  source: ReadableStream<RecordBatch>,
  { partitioner, prefix, dropTokens = false, signal, onWarning, ...options }: ScoreOptions & {
    prefix: number;
  },
): AsyncGenerator<RecordBatch> {
  const { tokenizer, vocabulary } = partitioner;
  let lineage: Lineage | undefined;
  let sequenceLength = 0;
  let held: Columns[] = [];
  let count = 0;
  let unknown = 0;
  const { onUnknown = (sequences) => onWarning?.(unknownText(sequences)) } = options;

  const flush = async (): Promise<RecordBatch> => {
    const { tokens, ...columns } = concatColumns(held);
    held = [];
    count = 0;
    const sequences = {
      ...columns,
      tokens: tokens!,
      sequenceLength,
      length: routedLengths(columns),
    };
    const nll = columns.rows === 0
      ? new Float32Array()
      : await partitioner.costs(sequences, [prefix], signal);
    unknown += partitioner.unknown?.(sequences) ?? 0;
    return toBatch({ ...columns, ...(dropTokens ? {} : { tokens }), nll }, lineage!);
  };

  for await (const batch of source) {
    const where = findOrigin(batch);
    checkLineage(batch, { tokenizer, vocabulary }, "the partitioner");
    const { nll: _nll, expert: _expert, ...columns } = fromBatch(batch, where, ["tokens"]);
    const length = columns.tokens!.length / columns.rows; // NaN without rows
    // Batches of other tools may have no rows at first: these say nothing of sequences.
    if (lineage === undefined || sequenceLength === 0) {
      const batchLineage = readLineage(batch);
      sequenceLength = batchLineage?.sequenceLength ?? (length || 0);
      if (batchLineage === null && lineage === undefined) {
        onWarning?.(`${where} does not say which tokenizer made it: taken to be the partitioner's`);
      }
      if (sequenceLength > 0 && prefix > sequenceLength) {
        throw new InputError(
          say`Cannot score ${where} as ${PREFIX} must be at most the sequence length: \
${PREFIX} is ${prefix}, the sequences have ${sequenceLength} tokens`,
          { where },
        );
      }
      lineage = scoreLineage(partitioner, batchLineage, sequenceLength, prefix);
    }
    if (columns.rows > 0 && length !== sequenceLength) {
      throw new InputError(
        `Cannot score ${where} as all sequences must have ${sequenceLength} tokens: ` +
          `these have ${length}`,
        { where },
      );
    }
    checkTokens(columns, vocabulary, where);
    held.push(columns);
    count += columns.rows;
    if (count >= ROWS_PER_GROUP) yield await flush();
  }
  if (held.length > 0) yield await flush();
  if (unknown > 0) onUnknown(unknown);
}
