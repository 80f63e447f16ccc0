/**
 * Writes runs that can be compared, as the tasks leave them.
 *
 * @module
 */

import {
  type DocumentScores,
  writeDocumentScores,
} from "../../../../pipeline/evaluation/tables.ts";
import type { Evaluation } from "../../../../pipeline/evaluation/evaluation.ts";
import { arrowBytes, type Columns, toBatch } from "../../../../pipeline/rows/arrow.ts";
import type { Lineage } from "../../../../pipeline/rows/lineage.ts";
import { writeRunConfiguration } from "../../../../pipeline/graph/configuration.ts";
import type { Configuration } from "../../../../pipeline/settings/configuration.ts";
import { defaultConfiguration } from "../../../../pipeline/settings/configuration.ts";
import { evaluationOf, SHAPE, writeEvaluation, writeRun, writeText } from "../support.ts";

/** What of a run is to be unlike the others. */
export interface Unlike {
  /** Settings that are not the defaults. */
  settings?: Partial<Configuration>;
  /** Held-out sequences of two tokens each. */
  tokens?: number[];
  /** Most of them in a block. */
  perBlock?: number;
  /** Perplexity of the mixture by source. */
  sources?: Record<string, number>;
  /** Perplexity of the mixture. */
  perplexity?: number;
  /** NLL of every held-out document, of a token each. */
  documents?: number[];
}

/** Gives what documents came to, of so many predicted tokens each. */
export function scoresOf(tokens: ArrayLike<number>, mixture: ArrayLike<number>): DocumentScores {
  return {
    document: BigUint64Array.from(tokens, (_, i) => BigInt(i)),
    source: Array.from(tokens, () => "news"),
    sequences: new Uint32Array(tokens.length).fill(1),
    tokens: Uint32Array.from(tokens),
    nll: { mixture: Float64Array.from(mixture) },
  };
}

const LINEAGE: Lineage = {
  format: 1,
  stage: "tokenize",
  sequenceLength: 2,
  vocabulary: 1024,
  eos: 0,
  tokenizer: "0",
};

/** Writes a run that is evaluated, with its held-out shards. */
export async function writeComparedRun(run: string, unlike: Unlike = {}): Promise<void> {
  const { settings = {}, tokens = [1, 2, 3, 4, 5, 6], perBlock = 100, perplexity = 45.25 } = unlike;
  await writeRun(run);
  await writeRunConfiguration(run, { ...defaultConfiguration(), input: ["text"], ...settings });
  const blocks: Uint8Array<ArrayBuffer>[] = [];
  for (let from = 0; from < tokens.length; from += 2 * perBlock) {
    blocks.push(await arrowOf(tokens.slice(from, from + 2 * perBlock)));
  }
  await writeText(run, blocks);
  const evaluation = evaluated(perplexity, unlike.sources);
  const { documents = [3, 4] } = unlike;
  if (unlike.documents) {
    evaluation.documents = evaluation.tokens = documents.length;
    evaluation.scores.mixture!.nllPerToken = documents.reduce((a, b) => a + b) / evaluation.tokens;
  }
  const path = `${run}/scores.arrow`;
  await writeDocumentScores(path, scoresOf(documents.map(() => 1), documents), {
    prefix: 64,
    experts: 4,
  });
  await writeEvaluation(run, evaluation, await Deno.readFile(path));
  await Deno.remove(path);
}

async function arrowOf(tokens: readonly number[]): Promise<Uint8Array<ArrayBuffer>> {
  const rows = tokens.length / 2;
  const columns: Columns = {
    rows,
    sequence: BigUint64Array.from({ length: rows }, (_, i) => BigInt(i)),
    document: BigUint64Array.from({ length: rows }, (_, i) => BigInt(i)),
    source: Array.from({ length: rows }, () => "news"),
    tokens: Uint16Array.from(tokens),
    length: new Uint32Array(rows).fill(2),
  };
  return await new Response(arrowBytes(ReadableStream.from([toBatch(columns, LINEAGE)]))).bytes();
}

function evaluated(perplexity: number, bySource: Record<string, number> = {}): Evaluation {
  const evaluation = evaluationOf(SHAPE);
  const scores = {
    ...evaluation.scores,
    mixture: {
      nllPerToken: Math.log(perplexity),
      perplexity,
      low: 0.9 * perplexity,
      high: 1.1 * perplexity,
    },
  };
  const sources = evaluation.sources.map((own) => ({
    ...own,
    perplexity: { ...own.perplexity, mixture: bySource[own.source] ?? 40 },
  }));
  return { ...evaluation, scores, sources };
}
