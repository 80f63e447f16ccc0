/**
 * Compares results that must be equal to the bit: of products with every tile, of attention with
 * blocks of 32 and 64 rows, and of a model alone and in a bank of two. A driver that fuses a
 * multiplication and an addition in one text and not in another makes them differ.
 */

import { attentionBackward, attentionForward } from "../../kernels/attention/attention.ts";
import type { Dispatch, Gpu, GpuBuffer } from "../../kernels/device/gpu.ts";
import { type Matrix, padded } from "../../kernels/device/matrix.ts";
import { matmul } from "../../kernels/matmul/matmul.ts";
import { TILES } from "../../kernels/matmul/matmul_workgroup.ts";
import { initialWeights } from "../model/parameters.ts";
import { createTrainer } from "../model/trainer.ts";
import { normals } from "../random.ts";

/** Ways to compute the same, and whether the bits are equal. */
export interface BitsResult {
  /** The ways. */
  ways: string;
  /** Whether their bits are equal. */
  equal: boolean;
}

const MODEL = { vocabulary: 75, hidden: 20, layers: 1, heads: 2, context: 37 } as const;
/** No multiple of a tile. */
const PRODUCT = { m: 150, n: 135, k: 75 } as const;
const ATTENTION = { models: 1, batch: 1, heads: 2, length: 75, headSize: 16 } as const;

/** Compares all on a device, with the variants that it runs by itself. */
export async function compareBits(gpu: Gpu): Promise<BitsResult[]> {
  const alone = await trainedBits(gpu, [1]);
  const [first] = await trainedBits(gpu, [1, 2]);
  const results = [{ ways: "a model alone and in a bank of two", equal: alone[0] === first }];
  const { matmul, attention } = gpu.variants;
  if (matmul === "workgroup") {
    const bits = await Promise.all(TILES.map((tile) => productBits(gpu, tile)));
    results.push({ ways: "products with tiles of each size", equal: new Set(bits).size === 1 });
  }
  if (attention === "workgroup") {
    const [small, large] = await Promise.all([32, 64].map((rows) => attentionBits(gpu, rows)));
    results.push({ ways: "attention in blocks of 32 and of 64 rows", equal: small === large });
  }
  return results;
}

/** Trains a bank for two steps on one batch; gives the bits of each model's weights. */
async function trainedBits(gpu: Gpu, seeds: readonly number[]): Promise<string[]> {
  const batch = 2;
  const trainer = createTrainer(gpu, {
    config: MODEL,
    start: seeds.map((seed) => initialWeights(MODEL, seed)),
    batch,
    length: MODEL.context,
    settings: { beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weightDecay: 0.1, clip: 1 },
  });
  try {
    const computed = Uint32Array.from(
      { length: batch * MODEL.context },
      (_, i) => (i * i + 3 * i) % MODEL.vocabulary,
    );
    const input = {
      tokens: Uint32Array.from(seeds.flatMap(() => [...computed])),
      lengths: Uint32Array.from(seeds.flatMap(() => [MODEL.context, MODEL.context - 7])),
    };
    for (const rate of [0.01, 0.01]) trainer.step(input, rate);
    await trainer.drain();
    const weights = await trainer.weights();
    return weights.map((tensors) =>
      [...tensors.values()].map((values) => toHex(Float32Array.from(values).buffer)).join()
    );
  } finally {
    trainer.close();
  }
}

const toHex = (bytes: ArrayBuffer): string => new Uint8Array(bytes).toHex();

type Maker = (label: string, size: number | Float32Array) => GpuBuffer;

/** Runs calls over buffers of their own, and gives the bits of the results. */
async function bitsOf(
  gpu: Gpu,
  plan: (buffer: Maker) => { calls: Dispatch[]; results: GpuBuffer[] },
): Promise<string> {
  const arena = gpu.arena();
  try {
    const { calls, results } = plan((label, size) => arena.buffer(label, size));
    gpu.submit(calls);
    return (await gpu.read(results.map((buffer) => ({ buffer })))).map(toHex).join();
  } finally {
    arena.destroy();
  }
}

/** Gives the bits of a product with a tile. */
function productBits(gpu: Gpu, tile: typeof TILES[number]): Promise<string> {
  const { m, n, k } = PRODUCT;
  return bitsOf(gpu, (buffer) => {
    const matrix = (label: string, rows: number, columns: number): Matrix => {
      const stride = padded(columns);
      const values = normals(rows * stride, 1, label)
        .map((value, i) => i % stride < columns ? value : 0);
      return { buffer: buffer(label, values), stride, model: rows * stride };
    };
    const c = { buffer: buffer("c", 4 * m * padded(n)), stride: padded(n), model: m * padded(n) };
    const factors = { a: matrix("a", m, k), b: matrix("b", k, n) };
    return {
      calls: [matmul(gpu, { ...factors, c, models: 1, m, n, k, tile })],
      results: [c.buffer],
    };
  });
}

/** Gives the bits of attention and of its gradients in blocks of so many rows. */
function attentionBits(gpu: Gpu, blockRows: number): Promise<string> {
  const shape = ATTENTION;
  const values = shape.heads * shape.length * shape.headSize;
  return bitsOf(gpu, (buffer) => {
    const filled = (label: string) => buffer(label, normals(values, 1, label));
    const blank = (label: string) => buffer(label, 4 * values);
    const [q, k, v, dOut] = ["q", "k", "v", "dOut"].map(filled);
    const [out, lse, dHeads, product, dQ, dK, dV] = [
      ...["out", "lse", "dHeads", "product"],
      ...["dQ", "dK", "dV"],
    ].map(blank);
    const tensors = { shape, q, k, v, out, lse, blockRows };
    const gradients = { dOut, dHeads, product, dQ, dK, dV };
    const calls = [
      attentionForward(gpu, tensors),
      ...attentionBackward(gpu, { ...tensors, ...gradients }),
    ];
    return { calls, results: [out, dQ, dK, dV] };
  });
}
