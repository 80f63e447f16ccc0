/**
 * Plots of the training of experts and dense models.
 *
 * @module
 */

import type { Way } from "../evaluation/evaluation.ts";
import {
  across,
  expertLine,
  lineEncoding,
  METRIC,
  MOST_LEGEND,
  noGrid,
  type Plot,
  POINT,
  quantity,
  type Spec,
  wayLine,
} from "./plots.ts";
import type { Curve } from "./read.ts";

const MOST_POINTS = 150;
/** Models with up to so many points get a dot for each: validation losses, and a training loss that no line can join. */
const MOST_DOTS = { validationLoss: 30, loss: 1 };
/** Up to so few points get larger dots, as lines hardly join them. */
const FEW_DOTS = 3;
/**
 * From so many experts on, tokens are plotted on a logarithmic axis, as experts would be crowded at the left
 * end of a linear one.
 */
const CROWDED = 8;

/** Plots training and validation loss, against tokens and against steps. */
export function trainingPlots(curves: Curve[], experts: number): Plot[] {
  const lines = curves.map(({ model, expert }) =>
    expert === null ? wayLine(model as Way, experts) : expertLine(expert)
  );
  const names = lines.map(({ name }) => name);
  const plot = (loss: "loss" | "validationLoss", by: "tokens" | "steps"): Plot => {
    const validation = loss === "validationLoss";
    const kind = validation ? "Validation" : "Training";
    const values = curves.flatMap((curve, i) =>
      thinned(curve, loss).map((point) => ({
        x: by === "tokens" ? point.tokens : point.step,
        loss: point.loss,
        model: names[i],
      }))
    ).filter(({ x }) => x > 0);
    const sparse = names.filter((name) =>
      values.filter(({ model }) => model === name).length <= MOST_DOTS[loss]
    );
    const domain = lossDomain(values.map((value) => value.loss));
    const dots = values.filter(({ model, loss }) => sparse.includes(model) && loss <= domain[1]);
    const few = FEW_DOTS * sparse.length;
    const key = names.length > MOST_LEGEND
      ? " Coloured: the experts; thick, black or white: the dense models, that of more steps grey and dashed."
      : "";
    const title = by === "tokens" ? "training tokens of the model" : "training steps of the model";
    const x = experts < CROWDED
      ? { scale: { zero: true }, axis: noGrid(title, METRIC) }
      : logarithmic(values.map(({ x }) => x), title);
    return {
      id: `${kind.toLowerCase()}-loss-by-${by}`,
      title: `${kind} loss against ${by}`,
      about: validation
        ? `Mean loss on held-out text: of an expert on the held-out sequences that are routed to it, of a dense model on all, against the ${by} it has trained on. Experts' and dense losses are of different texts.${key}`
        : `Mean loss of the training text of each model, against the ${by} it has trained on${
          by === "steps" ? " (with a larger batch, a step is of more tokens)" : ""
        }.${key}`,
      size: "half",
      spec: (width) => ({
        height: 250 + (names.length > MOST_LEGEND ? 0 : 20 * Math.ceil(names.length / 2)),
        data: { values },
        layer: [
          { mark: { type: "line", clip: true } },
          ...(dots.length === 0 ? [] : [{
            data: { values: dots },
            mark: { ...POINT, size: dots.length > few ? 14 : 40 },
          }]),
        ],
        encoding: {
          x: quantity("x", x),
          y: quantity("loss", {
            scale: { zero: false, domain },
            axis: across("nats per predicted token", { tickCount: 6 }),
          }),
          ...lineEncoding("model", lines, width),
        },
      }),
      table: {
        head: ["model", "steps", "tokens", "first", "last", "lowest"],
        rows: curves.map((curve, i) => {
          const losses = curve.points.flatMap((point) => point[loss] ?? []);
          const { step, tokens } = curve.points.at(-1)!;
          const lowest = losses.length === 0 ? null : Math.min(...losses);
          return [names[i], step, tokens, losses[0] ?? null, losses.at(-1) ?? null, lowest];
        }),
      },
    };
  };
  const validated = curves.some(({ points }) =>
    points.some((point) => typeof point.validationLoss === "number")
  );
  return [
    plot("loss", "tokens"),
    plot("loss", "steps"),
    ...(validated ? [plot("validationLoss", "tokens"), plot("validationLoss", "steps")] : []),
  ];
}

/** Describes a logarithmic axis over some numbers, with ticks at one and three of each power of ten. */
function logarithmic(numbers: number[], title: string): Spec {
  const [low, high] = [Math.min(...numbers), Math.max(...numbers)];
  const powers = Array.from({ length: 20 }, (_, i) => [Number(`1e${i}`), Number(`3e${i}`)]).flat();
  return {
    scale: { type: "log", domain: [low, high], nice: false },
    axis: noGrid(`${title} (logarithmic)`, {
      ...METRIC,
      values: powers.filter((power) => power >= low && power <= high),
    }),
  };
}

/** Takes means of neighbouring points, so that a curve has at most 150 of them. */
function thinned({ points }: Curve, field: "loss" | "validationLoss") {
  const kept = points.filter((point) => typeof point[field] === "number");
  const size = Math.ceil(kept.length / MOST_POINTS);
  return Array.from({ length: Math.ceil(kept.length / Math.max(1, size)) }, (_, i) => {
    const bin = kept.slice(i * size, (i + 1) * size);
    return { ...bin.at(-1)!, loss: bin.reduce((sum, point) => sum + point[field]!, 0) / bin.length };
  });
}

/** Leaves out the steep beginning, which would flatten the rest: the upper limit is the 95th percentile. */
function lossDomain(losses: number[]): [number, number] {
  const sorted = [...losses].sort((a, b) => a - b);
  const low = sorted[0];
  const high = sorted[Math.min(sorted.length - 1, Math.floor(0.95 * sorted.length))];
  const room = 0.05 * (high - low) || 0.1;
  return [low - room, high + room];
}
