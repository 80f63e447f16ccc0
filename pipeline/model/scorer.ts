/** Scoring: the NLL of the same sequences under every model of a bank, without gradients. */

import { sequenceSum } from "../../kernels/cross_entropy.ts";
import type { Dispatch, Gpu, GpuBuffer } from "../../kernels/gpu.ts";
import { takesPasses } from "../../kernels/matmul.ts";
import type { Dtype } from "../../kernels/storage.ts";
import { emptyBatch, placeSequence, shiftTargets } from "./batch.ts";
import type { ModelConfig } from "./shape.ts";
import { type Bank, createBank, type Weights, writeTensors } from "./parameters.ts";
import { createActivations, modelsPerBank, planForward, planLoss, planTransposes } from "./transformer.ts";

/** Scores sequences with every model of a bank. */
export interface Scorer {
  /** Number of models, E. */
  readonly models: number;
  /** Device memory held, in bytes. */
  readonly bytes: number;
  /**
   * Returns the NLL in nats `[rows, prefixes, models]`, summed over the first `min(prefix, lengths[row])` tokens, of
   * sequences `tokens` `[rows, stride]`; without `prefixes` it is `[rows, models]`, over `min(length, lengths[row])`.
   * Throws `RangeError` on a token id outside the vocabulary.
   */
  score(tokens: Uint16Array | Uint32Array, stride: number, lengths: Uint32Array): Promise<Float32Array>;
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
  /** Prefixes to sum over in the one forward pass: ascending numbers of tokens, each at most `length`, which is the default. */
  prefixes?: readonly number[];
  /** What matrices and activations are stored in. Default: f32. */
  dtype?: Dtype;
}

/** Rows scored between two readbacks, at most: a readback costs as much as a small forward pass. */
const ROWS_PER_READ = 4096;
/** Bytes of single tokens' NLLs read back at once, about: only prefixes need these. */
const TOKENS_BUDGET = 16 * 2 ** 20;

/** Plans the forward pass of a bank for batches of one shape, split into groups where a binding limit demands it. */
export function createScorer(gpu: Gpu, options: ScorerOptions): Scorer {
  const { config, models, batch, length, prefixes, dtype } = options;
  if (prefixes) checkPrefixes(prefixes, length);
  const arena = gpu.arena();
  const count = models.length;
  const perBank = modelsPerBank(config, { models: count, batch, length }, gpu.maxBindingBytes);
  const acts = createActivations(arena, config, { models: perBank, batch, length }, {
    training: false,
    dtype,
    sums: takesPasses(gpu),
  });
  const slot = arena.buffer("slot", 8);
  // The device sums whole sequences. With prefixes it "sums" single tokens, and the host adds them up, in f32 and in the
  // same order: the same bits.
  const steps = prefixes ? length : 1;
  const ends = prefixes?.map((prefix) => prefix - 1) ?? [1]; // steps to add up: a token's NLL stands at the one before it
  const rowsPerRead = prefixes
    ? Math.min(ROWS_PER_READ, TOKENS_BUDGET / (4 * length * count))
    : ROWS_PER_READ;
  const places = Math.ceil(rowsPerRead / batch) * batch;
  const groups: {
    first: number;
    size: number;
    bank: Bank;
    sums: GpuBuffer;
    transposes: Dispatch[];
    forward: Dispatch[];
  }[] = [];
  for (let first = 0; first < count; first += perBank) {
    const part = models.slice(first, first + perBank);
    const bank = createBank(gpu, arena, config, part, dtype);
    const transposes = planTransposes(gpu, bank);
    gpu.submit(transposes);
    const own = { ...acts, shape: { ...acts.shape, models: part.length } };
    const sums = arena.buffer("sequence sums", places * steps * part.length * 4);
    groups.push({
      first,
      size: part.length,
      bank,
      sums,
      transposes,
      forward: [
        ...planForward(gpu, bank, own),
        ...planLoss(gpu, bank, own),
        sequenceSum(gpu, {
          values: own.nll,
          slot,
          sums,
          models: part.length,
          batch: batch * steps,
          length: length / steps,
        }),
      ],
    });
  }

  const input = emptyBatch(batch, length);
  const targets = new Uint32Array(batch * length);
  const weights = new Float32Array(batch * length);

  /** Runs one batch of rows `first` to `first + count` and leaves its sums at `place`. */
  function run(
    source: Uint16Array | Uint32Array,
    stride: number,
    sourceLengths: Uint32Array,
    first: number,
    count: number,
    place: number,
  ) {
    for (let i = 0; i < batch; i++) {
      const real = i < count ? Math.min(length, stride, sourceLengths[first + i]) : 0;
      placeSequence(input, i, source, (first + i) * stride, real);
    }
    shiftTargets(input, 1, length, config.vocabulary, targets, weights, { sum: true });
    gpu.write(acts.tokens, input.tokens);
    gpu.write(acts.lengths, input.lengths);
    gpu.write(acts.targets, targets);
    gpu.write(acts.weights, weights);
    gpu.write(slot, Uint32Array.of(place * steps, 0));
    gpu.submit(groups.flatMap(({ forward }) => forward));
  }

  return {
    models: count,
    get bytes() {
      return arena.bytes;
    },
    async score(source, stride, sourceLengths) {
      const rows = sourceLengths.length;
      const nll = new Float32Array(rows * ends.length * count);
      for (let first = 0; first < rows; first += places) {
        const part = Math.min(places, rows - first);
        for (let place = 0; place < part; place += batch) {
          run(source, stride, sourceLengths, first + place, Math.min(batch, part - place), place);
        }
        const results = await gpu.read(
          groups.map(({ sums, size }) => ({ buffer: sums, bytes: part * steps * size * 4 })),
        );
        results.forEach((result, group) => {
          const { first: column, size } = groups[group];
          const values = new Float32Array(result);
          for (let row = 0; row < part; row++) {
            for (let model = 0; model < size; model++) {
              let sum = 0;
              for (let step = 0, k = 0; k < ends.length; k++) {
                for (; step < ends[k]; step++) {
                  sum = Math.fround(sum + values[(row * steps + step) * size + model]);
                }
                nll[((first + row) * ends.length + k) * count + column + model] = sum;
              }
            }
          }
        });
      }
      return nll;
    },
    load(models) {
      for (const { first, size, bank, transposes } of groups) {
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
      `Cannot score as prefixes must ascend from 1 to the length, ${length}: number ${i} is ${prefix}`,
    );
  });
}
