/**
 * The loss of a vocabulary: scoring without logits next to the product alone that would store them,
 * and the head of a training step.
 *
 * @module
 */

import type { Arena, Dispatch, Gpu } from "../../kernels/device/gpu.ts";
import { padded } from "../../kernels/device/matrix.ts";
import type { Peak } from "../../kernels/device/peak.ts";
import { type Clock, takeMedian } from "../../kernels/device/time.ts";
import { createBanks, initialWeights } from "../../pipeline/model/parameters.ts";
import { planLoss, planLossBackward } from "../../pipeline/model/transformer.ts";
import { someTokens } from "./sizes.ts";
import { columns, digits, percent } from "./text.ts";
import { takeTurns } from "./work.ts";

/** A head, and the rows of each model that reach it at once. */
export interface Head {
  /** Tokens of the vocabulary. */
  vocabulary: number;
  /** Terms of a logit. */
  hidden: number;
  /** Rows per model. */
  rows: number;
  /** Models of the bank. */
  models: number;
}

/** The paper's router in banks of 1, 4 and 32, smaller vocabularies, and an expert's head. */
export const HEADS: readonly Head[] = [
  { vocabulary: 32_000, hidden: 96, rows: 2048, models: 1 },
  { vocabulary: 32_000, hidden: 96, rows: 512, models: 4 },
  { vocabulary: 32_000, hidden: 96, rows: 64, models: 32 },
  { vocabulary: 4096, hidden: 96, rows: 2048, models: 1 },
  { vocabulary: 4096, hidden: 256, rows: 2048, models: 1 },
  { vocabulary: 1024, hidden: 48, rows: 2048, models: 4 },
  { vocabulary: 32_000, hidden: 1024, rows: 256, models: 1 },
];

/** A head that only shows that it runs. */
export const QUICK_HEAD: Head = { vocabulary: 64, hidden: 32, rows: 32, models: 2 };

/** What a head takes. */
export interface HeadTimes extends Head {
  /** Seconds of the product that stores logits, read by nobody. */
  product: number;
  /** Seconds of the loss without logits. */
  loss: number;
  /** `product / loss`: above 1 where the loss takes less than the product alone. */
  ratio: number;
  /** FLOP/s of the loss's product, as a share of the peak. */
  share: number;
  /**
   * Seconds of loss and gradients in training: by chunks of logits three products, without logits
   * five.
   */
  training: number;
  /** FLOP/s of three products, as a share of the peak. */
  trainingShare: number;
}

/** Times a head, all ways in turns. */
export async function measureHead(
  gpu: Gpu,
  head: Head,
  { rounds, clock, peak }: { rounds: number; clock: Clock; peak: Peak },
): Promise<HeadTimes> {
  const arena = gpu.arena();
  const plans = planHead(gpu, arena, head);
  const ways = Object.entries(plans).map(([name, plan]) => [name, () => gpu.submit(plan)] as const);
  const finish = async () => void await gpu.read([{ buffer: gpu.empty }]);
  const seconds = await takeTurns(Object.fromEntries(ways), rounds, finish);
  arena.destroy();
  const [product, loss, training] = ["product", "loss", "training"].map((way) =>
    takeMedian(seconds.get(way)!, clock)
  );
  const flops = 2 * head.models * head.rows * head.vocabulary * head.hidden;
  const shareOfPeak = (products: number, seconds: number) =>
    products * flops / seconds / (peak.gflops * 1e9);
  const shares = { share: shareOfPeak(1, loss), trainingShare: shareOfPeak(3, training) };
  return { ...head, product, loss, ratio: product / loss, training, ...shares };
}

/**
 * Plans the passes of a head as trainers and scorers do; the product is that of a training step
 * that stores logits.
 */
function planHead(gpu: Gpu, arena: Arena, head: Head) {
  const own = planPasses(gpu, arena, head);
  const storing = { ...gpu, variants: { ...gpu.variants, loss: "chunks" as const } };
  const { training } = gpu.variants.loss === "chunks" ? own : planPasses(storing, arena, head);
  const product = training.filter((_, i) => training[i + 1]?.label === "cross_entropy_backward");
  return { product, ...own };
}

function planPasses(
  gpu: Gpu,
  arena: Arena,
  { vocabulary, hidden, rows: length, models: count }: Head,
) {
  const config = { vocabulary, hidden, layers: 1, heads: 1, context: length };
  const models = Array.from({ length: count }, (_, seed) => initialWeights(config, seed));
  const { banks } = createBanks(gpu, arena, config, models, { batch: 1, length }, {
    training: true,
  });
  const training: Dispatch[] = [];
  const loss: Dispatch[] = [];
  for (const { bank, acts, size } of banks) {
    gpu.write(acts.targets, someTokens(size * length, vocabulary));
    gpu.write(acts.weights, new Float32Array(size * length).fill(1 / length));
    gpu.write(
      acts.normalized,
      Float32Array.from({ length: size * length * padded(hidden) }, noise),
    );
    const buffers = bank.layout.segments.map(({ size: values }, i) =>
      arena.buffer(`gradients ${i}`, values * size * 4)
    );
    training.push(...planLossBackward(gpu, bank, acts, { buffers, accumulate: false }));
    loss.push(planLoss(gpu, bank, acts));
  }
  return { loss, training };
}

const noise = (_: unknown, i: number) => i * 0.618 % 1 - 0.5;

/** Writes the heads as a table. */
export function headsText(heads: readonly HeadTimes[]): string {
  const head = [
    "vocabulary",
    "hidden",
    "rows",
    "models",
    "product",
    "loss",
    "product / loss",
    "of the peak",
  ];
  const rows = heads.map((own) => [
    ...[own.vocabulary, own.hidden, own.rows, own.models].map((count) =>
      count.toLocaleString("en-US")
    ),
    ...[own.product, own.loss].map((seconds) => `${digits(1000 * seconds)} ms`),
    ...[
      digits(own.ratio),
      percent(own.share),
      `${digits(1000 * own.training)} ms`,
      percent(own.trainingShare),
    ],
  ]);
  return columns([[...head, "training", "of the peak"], ...rows], "rrrrrrrrrr");
}
