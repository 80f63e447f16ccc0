/** Scoring: the NLL of the same sequences under every model of a bank, without gradients. */

import { sequenceSum } from "../../kernels/cross_entropy/cross_entropy.ts";
import { orDestroy } from "../../kernels/device/buffers.ts";
import type { Arena, Dispatch, Gpu, GpuBuffer } from "../../kernels/device/gpu.ts";
import type { Dtype } from "../../kernels/device/storage.ts";
import { createBanks, type Weights, writeTensors } from "./parameters.ts";
import { createHostBatch, type HostBatch, placeSequence, shiftTargets } from "./batch.ts";
import { rowsPerRead } from "./passes.ts";
import type { ModelConfig } from "./shape.ts";
import {
  checkSpans,
  firstPredicted,
  predictedTokens,
  prefixSpan,
  prefixTokens,
  type Span,
  wholeSpan,
} from "./span.ts";
import { planForward, planLoss } from "./transformer.ts";

/**
 * Log-probabilities of the tokens of spans, one span after another. The first token of a row is
 * never predicted, so no span has a value for it.
 */
export interface TokenScores {
  /** NLL in nats `[rows, models]`, summed over the row's span. */
  nll: Float32Array;
  /**
   * Where the tokens of every row's span start in `logProbability`; one more entry says where the
   * last ones end `[rows + 1]`.
   */
  starts: Uint32Array;
  /** Log-probability of every token, nats `[tokens, models]`. */
  logProbability: Float32Array;
}

/** Token ids. */
export type Tokens = Uint16Array | Uint32Array;

/**
 * Scores sequences with every model of a bank. The result of a row does not depend on the other
 * rows.
 */
export interface Scorer {
  /** Number of models, E. */
  readonly models: number;
  /** Device memory held, in bytes. */
  readonly bytes: number;
  /**
   * Returns the NLL in nats `[rows, prefixes, models]` of sequences `tokens` `[rows, stride]`,
   * summed over those of the first `prefix` tokens that count: the first `lengths[row]`, or those
   * in the row's span. Without `prefixes` it is `[rows, models]`, and the prefix is the scorer's
   * length. `signal` ends it between two passes; a GPU first runs those that are read back
   * together, about a second of work at most.
   *
   * Throws an `InputError` on a token id outside the vocabulary, and a `RangeError` on a span
   * beyond the stride or the length.
   */
  score(
    tokens: Tokens,
    stride: number,
    counted: Uint32Array | readonly Span[],
    signal?: AbortSignal,
  ): Promise<Float32Array>;
  /** Scores each token that counts; ignores prefixes. The first call allocates the buffers. */
  scoreTokens(
    tokens: Tokens,
    stride: number,
    counted: Uint32Array | readonly Span[],
    signal?: AbortSignal,
  ): Promise<TokenScores>;
  /** Replaces the weights of all models by those of models of the same shape. */
  load(models: readonly Weights[]): void;
  /** Frees the device memory. */
  close(): void;
}

/** What {@link createScorer} takes. */
export interface ScorerOptions {
  /** Shape of the models. */
  config: ModelConfig;
  /** Their weights. */
  models: readonly Weights[];
  /** Sequences per forward pass. */
  batch: number;
  /** Tokens per sequence that are read: M for routers. */
  length: number;
  /**
   * Prefixes to sum over in the one forward pass: ascending numbers of tokens, each at most
   * `length`, which is the default.
   */
  prefixes?: readonly number[];
  /** What matrices and activations are stored in. Default: f32. */
  dtype?: Dtype;
}

// About how many bytes of values of single tokens are read back at once.
const TOKENS_BUDGET = 16 * 2 ** 20;

/** Rows to score. */
interface Rows {
  tokens: Tokens;
  stride: number;
  spans: readonly Span[];
  signal?: AbortSignal;
}

/** Receives the output of a row and a model: its value `i` stands at `at + i * size`. */
type Take = (
  row: number,
  model: number,
  output: { values: Float32Array; at: number; size: number },
) => void;

/** Puts models on the device. The result plans passes, and runs rows through them. */
function createPasses(
  gpu: Gpu,
  arena: Arena,
  { config, models, batch, length, dtype }: ScorerOptions,
) {
  const shape = { batch, length };
  const options = { training: false, dtype };
  const { acts, banks } = createBanks(gpu, arena, config, models, shape, options);
  const slot = arena.buffer("slot", 8); // u32 `[2]`: where the results of a batch go
  const forwards = banks.map(({ bank, acts }) => planForward(gpu, bank, acts));
  const input = createHostBatch(batch, length);
  const targets = new Uint32Array(batch * length);
  const weights = new Float32Array(batch * length);

  /**
   * Plans forward pass and loss, and the buffers in which results wait for their readback. A row
   * has one value (`steps` is 1), its sum, or one value per token. The host then adds these in f32
   * in ascending order, and so do all variants of the kernels: the bits are the same.
   */
  function plan(steps: number) {
    const most = rowsPerRead(gpu.kind, config, { models: models.length, length });
    const rows = steps === 1 ? most : Math.min(most, TOKENS_BUDGET / (steps * models.length * 4));
    const places = Math.ceil(rows / batch) * batch; // rows that have room before a readback
    const outputs = banks.map(({ acts: { nll: values }, size }) => {
      const sums: GpuBuffer = arena.buffer("sequence sums", places * steps * size * 4);
      const sizes = { models: size, batch: batch * steps, length: length / steps };
      return { values, slot, sums, ...sizes, ascending: true };
    });
    const dispatches = banks.flatMap(({ bank, acts }, i) => [
      ...forwards[i],
      planLoss(gpu, bank, acts),
      sequenceSum(gpu, outputs[i]),
    ]);
    return { steps, places, outputs, dispatches };
  }

  function submit(rows: Rows, first: number, at: number, dispatches: Dispatch[]): void {
    fillBatch(input, rows, first);
    shiftTargets(input, 1, length, config.vocabulary, targets, weights, { sum: true });
    gpu.write(acts.tokens, input.tokens);
    gpu.write(acts.lengths, input.lengths);
    gpu.write(acts.targets, targets);
    gpu.write(acts.weights, weights);
    gpu.write(slot, Uint32Array.of(at, 0));
    gpu.submit(dispatches);
  }

  /** Runs rows through a pass, batch by batch, and hands over the results. */
  async function run(
    { steps, places, outputs, dispatches }: ReturnType<typeof plan>,
    rows: Rows,
    take: Take,
  ): Promise<void> {
    const count = rows.spans.length;
    for (let first = 0; first < count; first += places) {
      rows.signal?.throwIfAborted();
      const part = Math.min(places, count - first);
      for (let place = 0; place < part; place += batch) {
        submit(rows, first + place, place * steps, dispatches);
      }
      const bytes = part * steps * 4;
      const results = await gpu.read(
        outputs.map(({ sums, models }) => ({ buffer: sums, bytes: bytes * models })),
      );
      banks.forEach(({ first: column, size }, i) => {
        const values = new Float32Array(results[i]);
        takeRows(values, { part, size, steps }, (row, model, output) => {
          take(first + row, column + model, output);
        });
      });
    }
  }

  return { banks, plan, run };
}

/** Fills a batch with rows from `first` on, and with empty sequences after the last row. */
function fillBatch(batch: HostBatch, { tokens, stride, spans }: Rows, first: number): void {
  for (let i = 0; i < batch.lengths.length; i++) {
    const row = first + i;
    const { begin, end } = spans[row] ?? wholeSpan(0);
    placeSequence(batch, i, tokens, row * stride, end, begin);
  }
}

/** Hands over the output of `part` rows for each of the `size` models of a bank. */
function takeRows(
  values: Float32Array,
  { part, size, steps }: { part: number; size: number; steps: number },
  take: Take,
): void {
  for (let row = 0; row < part; row++) {
    for (let model = 0; model < size; model++) {
      take(row, model, { values, at: row * steps * size + model, size });
    }
  }
}

/**
 * Plans the forward pass of a bank for batches of one shape, split into groups where a binding
 * limit demands it.
 */
export function createScorer(gpu: Gpu, options: ScorerOptions): Scorer {
  const { length, prefixes } = options;
  if (prefixes) checkPrefixes(prefixes, length);
  const arena = gpu.arena();
  const { banks, plan, run, scoring } = orDestroy(arena, () => {
    const passes = createPasses(gpu, arena, options);
    return { ...passes, scoring: passes.plan(prefixes ? length : 1) };
  });
  const count = options.models.length;
  // How many values to add for each prefix: one per predicted token, or the sum of the whole row.
  const ends = prefixes?.map((prefix) => prefixTokens(length, prefix)) ?? [1];
  let perToken = prefixes && scoring; // the plan that keeps a value per token

  /** Returns the spans of rows: what counts of each. */
  const toSpans = (stride: number, counted: Uint32Array | readonly Span[]): readonly Span[] => {
    const limit = Math.min(length, stride);
    if (counted instanceof Uint32Array) {
      return Array.from(counted, (real) => prefixSpan(real, limit));
    }
    checkSpans(counted, limit);
    return counted;
  };

  return {
    models: count,
    get bytes() {
      return arena.bytes;
    },
    async score(tokens, stride, counted, signal) {
      const spans = toSpans(stride, counted);
      const nll = new Float32Array(spans.length * ends.length * count);
      await run(scoring, { tokens, stride, spans, signal }, (row, model, { values, at, size }) => {
        let sum = 0;
        for (let step = 0, k = 0; k < ends.length; k++) {
          for (; step < ends[k]; step++) sum = Math.fround(sum + values[at + step * size]);
          nll[(row * ends.length + k) * count + model] = sum;
        }
      });
      return nll;
    },
    async scoreTokens(tokens, stride, counted, signal) {
      const spans = toSpans(stride, counted);
      const starts = new Uint32Array(spans.length + 1);
      spans.forEach((span, row) => starts[row + 1] = starts[row] + predictedTokens(span));
      const nll = new Float32Array(spans.length * count);
      const logProbability = new Float32Array(starts[spans.length] * count);
      perToken ??= plan(length);
      await run(perToken, { tokens, stride, spans, signal }, (row, model, { values, at, size }) => {
        const first = firstPredicted(spans[row]);
        let sum = 0;
        for (let i = 0; i < starts[row + 1] - starts[row]; i++) {
          const value = values[at + (first - 1 + i) * size];
          sum = Math.fround(sum + value);
          logProbability[(starts[row] + i) * count + model] = 0 - value;
        }
        nll[row * count + model] = sum;
      });
      return { nll, starts, logProbability };
    },
    load(models) {
      for (const { first, size, bank, transposes } of banks) {
        writeTensors(gpu, bank.layout, bank.weights, models.slice(first, first + size));
        gpu.submit(transposes);
      }
    },
    close: () => arena.destroy(),
  };
}

function checkPrefixes(prefixes: readonly number[], length: number): void {
  prefixes.forEach((prefix, i) => {
    const least = i === 0 ? 1 : prefixes[i - 1] + 1;
    if (Number.isSafeInteger(prefix) && prefix >= least && prefix <= length) return;
    throw new RangeError(
      `Cannot score as prefixes must ascend from 1 to the length, ${length}: number ` +
        `${i} is ${prefix}`,
    );
  });
}
