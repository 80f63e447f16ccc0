/** Held-out rows, models and plain recomputations for the tests of evaluation. */

import { assertEquals } from "@std/assert";
import type { Columns, RecordBatch } from "../../../pipeline/rows/arrow.ts";
import type { Lineage } from "../../../pipeline/rows/lineage.ts";
import { randomBits } from "../../../pipeline/random.ts";
import type { Gpu } from "../../../kernels/device/gpu.ts";
import type {
  Checkpoint,
  CheckpointNotes,
} from "../../../pipeline/model/checkpoints/hugging_face_config.ts";
import type { Routers } from "../../../pipeline/model/checkpoints/checkpoint.ts";
import type { Weights } from "../../../pipeline/model/parameters.ts";
import type { ModelConfig } from "../../../pipeline/model/shape.ts";
import { createPartitioner } from "../../../pipeline/partition/em/partitioner.ts";
import { scoreModel } from "../../../pipeline/evaluation/passes.ts";
import { evaluate, type EvaluateOptions } from "../../../pipeline/evaluation/evaluate.ts";
import type { Baseline } from "../../../pipeline/evaluation/baselines.ts";
import type { Evaluation } from "../../../pipeline/evaluation/evaluation.ts";
import { Mixture } from "../../../pipeline/serving/mixture.ts";
import { assertClose, gpu as ownGpu, randomIntegers } from "../../kernels/support.ts";
import { sequenceNll } from "../model/reference.ts";
import { anyWeights } from "../model/support.ts";
import { cutBatches } from "../partition/support.ts";

export const S = 12;
export const ROUTER: ModelConfig = { vocabulary: 13, hidden: 8, layers: 1, heads: 2, context: S };
export const MODEL: ModelConfig = { vocabulary: 13, hidden: 12, layers: 2, heads: 2, context: S };
export const LINEAGE = {
  format: 1,
  stage: "tokenize",
  sequenceLength: S,
  vocabulary: 13,
  eos: 0,
  tokenizer: "ab12",
} satisfies Lineage;
/** Tokens of the routing prefix. */
export const M = 6;
/** Experts. */
export const E = 3;
export const RESAMPLES = 40;
export const SEED = 3;
export const EXPERTS = ["a", "b", "c"];

/** What may be other than usual. */
export interface Options extends Partial<EvaluateOptions> {
  gpu?: Gpu;
  routers?: Routers;
  experts?: ModelLoader[];
  dense?: Record<string, ModelLoader>;
}

/** Evaluates rows under three random experts and both baselines, unless stated otherwise. */
export async function evaluateRows(
  rows: Columns,
  options: Options = {},
  size = 5,
): Promise<Evaluation> {
  const {
    gpu: device = ownGpu,
    routers = anyRouters(E),
    experts = EXPERTS.map((name) => anyModel(name)),
    dense = { dense: anyModel("dense"), "dense-steps": anyModel("dense-steps") },
    ...rest
  } = options;
  const mixture = mixtureOf(device, routers, Object.assign({}, experts, dense));
  const open = rest.open ?? (() => streamRows(rows, size));
  const pass = { mixture, open, signal: rest.signal };
  try {
    return await evaluate({
      mixture,
      open,
      prefix: M,
      sequenceLength: S,
      baselines: Object.keys(dense) as Baseline[],
      scores: (model) => scoreModel(model, pass, LINEAGE),
      resamples: RESAMPLES,
      seed: SEED,
      ...rest,
    });
  } finally {
    mixture.close();
  }
}

const SOURCES = ["sea", "code", ""];

/**
 * Held-out rows: lengths 2 to 12, documents of several sequences that are not in order, three
 * sources.
 */
export function anyRows(rows: number, documents = 7, name = "rows"): Columns {
  const document = BigUint64Array.from(
    randomIntegers(rows, documents, `documents of ${name}`),
    (id) => BigInt(id) + 900n,
  );
  return {
    rows,
    sequence: BigUint64Array.from({ length: rows }, (_, row) => BigInt(row) + 50n),
    document,
    source: [...document].map((id) => SOURCES[Number(id) % 3]),
    tokens: Uint16Array.from(randomIntegers(rows * S, 13, `tokens of ${name}`)),
    length: randomIntegers(rows, S - 1, `lengths of ${name}`).map((length) => length + 2),
  };
}

/** Streams rows in batches of one size. */
export const streamRows = (
  columns: Columns,
  size = 5,
  lineage: Lineage = LINEAGE,
): ReadableStream<RecordBatch> => cutBatches(columns, size, lineage);

/** Routers with random weights. */
export function anyRouters(count: number, notes: CheckpointNotes = { tokenizer: "ab12" }): Routers {
  const models = Array.from({ length: count }, (_, i) => anyWeights(ROUTER, `router ${i}`));
  return { config: ROUTER, models, notes, sha256: "cd34" };
}

/** A model with random weights, by name. */
export function anyModel(
  name: string,
  config = MODEL,
  notes: CheckpointNotes = { tokenizer: "ab12" },
): ModelLoader {
  return () => Promise.resolve({ config, weights: anyWeights(config, name), notes, sha256: "" });
}

/** Reads a model. */
export type ModelLoader = () => Promise<Checkpoint>;

/** A mixture of models in memory with room for one. */
export function mixtureOf(
  gpu: Gpu,
  routers: Routers,
  models: Record<string | number, ModelLoader>,
): Mixture {
  return new Mixture({
    name: (model) => typeof model === "number" ? `expert ${model}` : model,
    partitioner: (device) => Promise.resolve(createPartitioner(routers, device)),
    tokenizer: () => Promise.reject(new Error("an evaluation needs no tokenizer")),
    describe: (model) => models[model](),
    load: (model) => models[model](),
  }, { gpu, models: 1 });
}

/** Real tokens of every row. */
export function sequencesOf({ rows, tokens, length }: Columns): number[][] {
  return Array.from(
    { length: rows },
    (_, row) => [...tokens!.subarray(row * S, row * S + length[row])],
  );
}

/** NLLs `[rows]` of sequences by the f64 model, one at a time. */
export function referenceNll(
  config: ModelConfig,
  weights: Weights,
  sequences: number[][],
): number[] {
  return sequences.map((tokens) => tokens.length > 1 ? sequenceNll(config, weights, tokens) : 0);
}

/** The expert of the least cost; the first among equals. */
export const argmin = (values: number[]): number => values.indexOf(Math.min(...values));

/**
 * Figures in plain words: sums over sequences of documents that are drawn one by one. `nll` is that
 * of every sequence.
 */
export function plainFigures(rows: Columns) {
  const sequences = sequencesOf(rows);
  const all = [...sequences.keys()];
  const documents = [...new Set(rows.document!)];
  const draws = Array.from({ length: RESAMPLES }, (_, draw) => {
    const drawn = drawnDocuments(documents.length, draw, SEED).map((document) =>
      documents[document]
    );
    return drawn.flatMap((id) => all.filter((row) => rows.document![row] === id));
  });
  const interval = (values: number[]) => {
    const sorted = values.toSorted((a, b) => a - b);
    const at = (place: number) => {
      const floor = Math.floor(place);
      return sorted[floor] + (place - floor) * ((sorted[floor + 1] ?? 0) - sorted[floor]);
    };
    return { low: at(0.025 * (RESAMPLES - 1)), high: at(0.975 * (RESAMPLES - 1)) };
  };
  const tokens = (of: number[]) => of.reduce((sum, row) => sum + sequences[row].length - 1, 0);
  const perplexity = (nll: number[], of = all) =>
    Math.exp(of.reduce((sum, row) => sum + nll[row], 0) / tokens(of));
  const gain = (nll: number[], than: number[]) => {
    const percent = (of?: number[]) => 100 * (1 - perplexity(nll, of) / perplexity(than, of));
    return { percent: percent(), ...interval(draws.map(percent)) };
  };
  const score = (nll: number[]) => {
    return { perplexity: perplexity(nll), ...interval(draws.map((of) => perplexity(nll, of))) };
  };
  return { sequences, all, documents, tokens, perplexity, gain, score };
}

/** Compares two values of any shape, numbers with a tolerance. */
export function assertAlike(actual: unknown, expected: unknown, what = "evaluation"): void {
  if (typeof expected === "number") {
    return assertClose([actual as number], [expected], { atol: 2e-5, rtol: 2e-5 }, what);
  }
  if (typeof expected !== "object" || expected === null) {
    return assertEquals(actual, expected, what);
  }
  assertEquals(Object.keys(actual as object).sort(), Object.keys(expected).sort(), what);
  for (const [name, value] of Object.entries(expected)) {
    assertAlike((actual as Record<string, unknown>)[name], value, `${what}.${name}`);
  }
}

/** The documents of draw `draw`, one 32-bit half of a 64-bit random number each. */
export function drawnDocuments(documents: number, draw: number, seed: number): number[] {
  return Array.from({ length: documents }, (_, i) => {
    const bits = randomBits(seed, "bootstrap", (BigInt(draw) << 32n) | BigInt(i >> 1));
    const half = i % 2 === 0 ? bits & 0xffffffffn : bits >> 32n;
    return Number((half * BigInt(documents)) >> 32n);
  });
}
