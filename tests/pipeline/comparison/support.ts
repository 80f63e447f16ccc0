/**
 * Writes runs that can be compared, as the tasks leave them.
 *
 * @module
 */

import { type DocumentScores, writeDocumentScores } from "../../../pipeline/evaluation/documents.ts";
import type { Evaluation } from "../../../pipeline/evaluation/evaluation.ts";
import { type Columns, toBatch } from "../../../pipeline/rows/arrow.ts";
import type { Lineage } from "../../../pipeline/rows/lineage.ts";
import { writeShards } from "../../../pipeline/rows/shards.ts";
import { outputsHash } from "../../../pipeline/run/manifest.ts";
import type { Configuration } from "../../../pipeline/settings/configuration.ts";
import { defaultConfiguration } from "../../../pipeline/settings/configuration.ts";
import { DOCUMENTS } from "../../../pipeline/stages/evaluate.ts";
import { evaluationOf, SHAPE, writeRun } from "../report/support.ts";

/** What of a run is to be unlike the others. */
export interface Unlike {
  /** Settings that are not the defaults. */
  settings?: Partial<Configuration>;
  /** Held-out sequences of two tokens each. */
  tokens?: number[];
  /** Most of them in a shard. */
  shardSequences?: number;
  /** Perplexity of the mixture by source. */
  sources?: Record<string, number>;
  /** Perplexity of the mixture. */
  perplexity?: number;
  /** NLL of every held-out document, of a token each; none in a run that an older version evaluated. */
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
  const { settings = {}, tokens = [1, 2, 3, 4, 5, 6], shardSequences = 100, perplexity = 45.25 } = unlike;
  await writeRun(run);
  const write = (path: string, value: unknown) => Deno.writeTextFile(`${run}/${path}`, JSON.stringify(value));
  const read = async (path: string) => JSON.parse(await Deno.readTextFile(`${run}/${path}`));
  const config = await read("config.json");
  await write("config.json", { ...config, configuration: { ...defaultConfiguration(), ...settings } });
  const rows = tokens.length / 2;
  const columns: Columns = {
    rows,
    sequence: BigUint64Array.from({ length: rows }, (_, i) => BigInt(i)),
    document: BigUint64Array.from({ length: rows }, (_, i) => BigInt(i)),
    source: Array.from({ length: rows }, () => "news"),
    tokens: Uint16Array.from(tokens),
    length: new Uint32Array(rows).fill(2),
  };
  const outputs: Record<string, { bytes: number; sha256: string }> = {};
  const batches = ReadableStream.from([toBatch(columns, { ...LINEAGE, config: String(shardSequences) })]);
  await Deno.mkdir(`${run}/tokens`, { recursive: true });
  for await (const { name, bytes, sha256 } of writeShards(`${run}/tokens`, "test", batches, shardSequences)) {
    outputs[`tokens/${name}`] = { bytes, sha256 };
  }
  const tokenize = await read("manifests/tokenize.json");
  const manifest = { ...tokenize, outputs: { ...tokenize.outputs, ...outputs } };
  await write("manifests/tokenize.json", manifest);
  const inputs = { tokens: outputsHash(manifest, "tokens/test-") };
  const evaluate = { ...tokenize, stage: "evaluate", inputs, outputs: {}, result: {} };
  if (unlike.documents) {
    const scores = scoresOf(unlike.documents.map(() => 1), unlike.documents);
    const of = { prefix: 64, experts: 4 };
    evaluate.outputs = { [DOCUMENTS]: await writeDocumentScores(`${run}/${DOCUMENTS}`, scores, of) };
  }
  await write("manifests/evaluate.json", evaluate);
  const evaluation = evaluated(perplexity, unlike.sources);
  if (unlike.documents) {
    evaluation.documents = evaluation.tokens = unlike.documents.length;
    evaluation.scores.mixture!.nllPerToken = unlike.documents.reduce((a, b) => a + b) / evaluation.tokens;
  }
  await write("evaluation.json", evaluation);
}

/** Changes the evaluation of a run. */
export async function changeEvaluation(run: string, change: (own: Evaluation) => Evaluation): Promise<void> {
  const path = `${run}/evaluation.json`;
  await Deno.writeTextFile(path, JSON.stringify(change(JSON.parse(await Deno.readTextFile(path)))));
}

function evaluated(perplexity: number, bySource: Record<string, number> = {}): Evaluation {
  const evaluation = evaluationOf(SHAPE);
  const scores = {
    ...evaluation.scores,
    mixture: { nllPerToken: Math.log(perplexity), perplexity, low: 0.9 * perplexity, high: 1.1 * perplexity },
  };
  const sources = evaluation.sources.map((own) => ({
    ...own,
    perplexity: { ...own.perplexity, mixture: bySource[own.source] ?? 40 },
  }));
  return { ...evaluation, scores, sources };
}
