// The training of experts and dense models.

import { percent, unbrokenBytes } from "../../graph/numbers.ts";
import type { Way } from "../../evaluation/evaluation.ts";
import { allTargets } from "../../stages/targets.ts";
import { summarizeRouting } from "../../training/metrics.ts";
import {
  type Axis,
  curves as plotCurves,
  expertLine,
  type Line,
  MOST_LEGEND,
  type Plot,
  wayLine,
} from "../charts.ts";
import { foldedTable, type Html, htmlTable, markup } from "../html.ts";
import type { Lacking, Section } from "../page.ts";
import { type Curve, lacking, type RunRecord } from "../read.ts";
import { shape, speed, spent } from "./what_ran.ts";

const MOST_POINTS = 150;
/**
 * From so many experts on, the horizontal axis is logarithmic: experts would be crowded at the left
 * end of a linear one.
 */
const CROWDED = 8;

type Loss = "loss" | "validationLoss";

const curveLine = ({ model, expert, path }: Curve, experts: number): Line =>
  expert === null ? wayLine(model as Way, experts) : expertLine(expert, path);

/** Takes means of neighbouring values of a curve, so that it has at most 150 of them. */
function thinned({ points }: Curve, loss: Loss, by: "tokens" | "step", line: string) {
  const kept = points.filter((point) => typeof point[loss] === "number" && point[by] > 0);
  const size = Math.max(1, Math.ceil(kept.length / MOST_POINTS));
  return Array.from({ length: Math.ceil(kept.length / size) }, (_, i) => {
    const bin = kept.slice(i * size, (i + 1) * size);
    return {
      x: bin.at(-1)![by],
      y: bin.reduce((sum, point) => sum + point[loss]!, 0) / bin.length,
      line,
    };
  });
}

/**
 * Leaves out the steep beginning, which would flatten the rest: the upper limit is the 95th
 * percentile.
 */
function lossDomain(values: readonly { y: number }[]): [number, number] {
  const losses = values.map(({ y }) => y).sort((a, b) => a - b);
  const [low, high] = [
    losses[0],
    losses[Math.min(losses.length - 1, Math.floor(0.95 * losses.length))],
  ];
  const room = 0.05 * (high - low) || 0.1;
  return [low - room, high + room];
}

/** Plots a loss of all models, against the tokens or the steps of their training. */
function lossPlot(
  curves: readonly Curve[],
  experts: number,
  loss: Loss,
  by: "tokens" | "step",
): Plot {
  const lines = curves.map((curve) => curveLine(curve, experts));
  const values = curves.flatMap((curve, i) => thinned(curve, loss, by, lines[i].name));
  const unit = by === "step" ? "steps" : by;
  const places = values.map(({ x }) => x);
  const title = `training ${unit} of the model`;
  const x: Axis = experts < CROWDED ? { title, zero: true, format: "~s" } : {
    title: `${title} (logarithmic)`,
    log: 10,
    format: "~s",
    domain: [Math.min(...places), Math.max(...places)],
  };
  const batch = by === "step" ? " (with a larger batch, a step is of more tokens)" : "";
  const [kind, about] = loss === "validationLoss"
    ? [
      "Validation",
      "Mean loss on held-out text: of an expert on the held-out sequences that are " +
      `routed to it, of a dense model on all, against the ${unit} it has trained on. ` +
      "Experts' and dense losses are of different texts.",
    ]
    : [
      "Training",
      `Mean loss of the training text of each model, against the ${unit} it has ` +
      `trained on${batch}.`,
    ];
  const key = lines.length > MOST_LEGEND
    ? " Coloured: the experts; thick, black or white: the dense models, that of more " +
      "steps grey and dashed."
    : "";
  const rows = curves.map(({ points }, i) => {
    const losses = points.flatMap((point) => point[loss] ?? []);
    const { step, tokens } = points.at(-1)!;
    const lowest = losses.length === 0 ? null : Math.min(...losses);
    return [lines[i].name, step, tokens, losses[0] ?? null, losses.at(-1) ?? null, lowest];
  });
  return {
    id: `${kind.toLowerCase()}-loss-by-${unit}`,
    title: `${kind} loss against ${unit}`,
    about: about + key,
    half: true,
    ...plotCurves({
      x,
      y: { title: "nats per predicted token", domain: lossDomain(values) },
      lines,
      values,
    }),
    table: { head: ["model", "steps", "tokens", "first", "last", "lowest"], rows },
  };
}

function switchRouting({ curves, switchCost, config }: RunRecord): Html | null {
  const points = curves.find(({ model }) => model === "switch")?.points ?? [];
  const lines = points.flatMap(({ step, reports }) => reports ? [{ step, reports }] : []);
  if (lines.length === 0) return null;
  const { expertLayers: layers } = config.configuration;
  const rows = [...new Set([0, lines.length >> 1, lines.length - 1])].map((i) => {
    const { balance, dropped } = summarizeRouting(lines[i].reports, { layers });
    return [lines[i].step, balance.toFixed(3), percent(dropped)];
  });
  const { inference = 0, expertInference = 0, routing } = switchCost?.memory ?? {};
  const needed = routing
    ? `the mixture ${unbrokenBytes(expertInference + routing)}: one expert and all routers`
    : `one expert ${unbrokenBytes(expertInference)}`;
  const memory = switchCost &&
    ` To generate, it takes ${unbrokenBytes(inference)} of memory, ${needed}.`;
  const head = ["step", "balance", "tokens that no expert took"];
  return markup`<p>How the Switch Transformer chose an expert for every token, over all layers. \
The balance is 1 where every
expert gets as many tokens, and the number of experts where one gets all. \
Tokens beyond what an expert takes in training are
taken by none.${memory}</p>
${htmlTable({ head, rows }, "Routing in the Switch Transformer")}`;
}

/** Lists the trainings that a run lacks. */
function listMissing(run: RunRecord, experts: number): Lacking[] {
  const { curves, alone, adopted } = run;
  const ready = new Set([...curves, ...adopted].flatMap(({ expert }) => expert ?? []));
  const missing = ready.size === 0 ? "the" : `${experts - ready.size} of the ${experts}`;
  const parts = alone.filter((expert) => !ready.has(expert)).map((expert) =>
    lacking(run, `Training of expert ${expert}`, "train-expert", { expert })
  );
  const all = alone.length === 0 && ready.size < experts
    ? [lacking(run, `Training of ${missing} experts`, "train-expert", { expert: "all" })]
    : [];
  const dense = allTargets(run.config.configuration).filter(({ name, expert, optional }) =>
    expert === undefined && !optional && !curves.some(({ model }) => model === name)
  ).map(({ command }) => {
    const name = `The dense baseline with ${experts} times the ${command.with.match ?? "batch"}`;
    return lacking(run, name, command.task, command.with);
  });
  return [...parts, ...all, ...dense];
}

/** The curves of all trainings. */
export const trainingSection: Section<RunRecord> = {
  id: "training",
  title: "Training",
  parts: (run) => {
    const { curves, adopted, partition, config } = run;
    const experts = partition?.experts ?? config.configuration.experts;
    const has = (name: string) => curves.some(({ model }) => model === name);
    const larger = has("dense-compute") &&
      (" The larger dense model sees fewer tokens, as its training costs as many " +
        "FLOPs as the mixture's.");
    const layers = has("switch") &&
      (" The Switch Transformer has as many experts in every layer, all in memory, " +
        "and chooses one for every token.");
    const losses = (["loss", "validationLoss"] as const).filter((loss) =>
      curves.some(({ points }) => points.some((point) => typeof point[loss] === "number"))
    );
    const rows = curves.map((curve) => {
      const { step, tokens } = curve.points.at(-1)!;
      const { name } = curveLine(curve, experts);
      return [name, step, tokens, spent(curve.seconds), speed(tokens, curve.seconds)];
    });
    const head = ["model", "steps", "tokens", "time", "tokens/s"];
    return [
      curves.length > 0 &&
      markup`<p>Every expert trains alone, on its part. \
Expert and dense models have the same shape, so the same cost of
inference; a dense model sees all the tokens, in batches ${experts} times as large \
or in ${experts} times the steps.\
${larger}${layers} The steep beginning of the curves is cut off.</p>`,
      adopted.map(({ expert, from, shape: config, parameters }) => {
        const model = shape(config, parameters);
        return markup`<p>Expert ${expert} was adopted from <code>${from}</code>: ${model}, \
trained by others.</p>`;
      }),
      listMissing(run, experts),
      losses.map((loss) =>
        (["tokens", "step"] as const).map((by) => lossPlot(curves, experts, loss, by))
      ),
      curves.length > 0 &&
      [switchRouting(run), foldedTable({ head, rows }, "Time of trainings", "Time and speed")],
    ];
  },
};
