/**
 * Lays out what stages and trainings made for a person to read.
 *
 * @module
 */

import { withPath } from "../../pipeline/partition/tree/branches.ts";
import type { Estimate, PartitionPlan, ProofSummary } from "../../pipeline/run/mod.ts";
import type { TrainResult } from "../../pipeline/stages/mod.ts";
import { duration } from "../../pipeline/graph/mod.ts";
import { binaryBytes, countText, engineering, percent } from "../../pipeline/graph/numbers.ts";
import { lines, table } from "./layout.ts";

/**
 * Words the cost of an optimal assignment, and what proves how good it is; `costs` says what a cost
 * is, where it is no NLL.
 */
export function proofText(proof: ProofSummary, costs?: string): string {
  const { cost, bound, gapPerSequence, gapShare, greedyGapShare } = proof;
  const [total, least] = [cost, bound].map((sum) =>
    sum.toLocaleString("en", { maximumFractionDigits: 3 })
  );
  const share = (share: number) =>
    `${Number((100 * share).toPrecision(2))}% of what balancing costs`;
  const gap = `${gapPerSequence.toPrecision(2)} ${costs === undefined ? "nats " : ""}per sequence`;
  const greedy = greedyGapShare === undefined ? "" : `; that of greedy ${share(greedyGapShare)}`;
  return `cost ${total}, bound ${least}; gap ${gap}, ${share(gapShare)}${greedy}`;
}

/** Lays out what a partition would do, with estimates of time, disk and memory. */
export function planText(plan: PartitionPlan): string {
  const estimateCells = ({ seconds, diskBytes, memoryBytes }: Estimate) => [
    ...[duration(Math.ceil(seconds)), binaryBytes(diskBytes), binaryBytes(memoryBytes)],
  ];
  const rows = plan.stages.map(({ stage, action, nodes, toMake, because, ...price }) => {
    if (action === "up to date") return [stage, "", "", "", action];
    const share = nodes > 1 ? `, ${toMake} of ${nodes}` : "";
    return [stage, ...estimateCells(price), `${action}${share}${because ? `: ${because}` : ""}`];
  });
  const [time, disk, memory] = estimateCells(plan);
  return lines(
    table("stage | time | disk | memory | what", rows) + "\n",
    `in all ${time}, ${disk} of disk, at most ${memory} of memory`,
    plan.assumptions.map((line) => `assumed: ${line}`),
    plan.warnings.map((line) => `warning: ${line}`),
  );
}

/** Writes a table of trained models. */
export function trainedText(run: string, models: TrainResult[]): string {
  const rows = models.map((
    { folder, path, steps, batch, tokens, rate, loss, validationLoss },
  ) => [
    withPath(folder, path),
    `${steps} x ${batch}`,
    tokens,
    rate.toExponential(1),
    ...[loss, validationLoss].map((loss) => loss?.toFixed(3) ?? "none"),
  ]);
  return lines(
    table("model | steps x batch | tokens | peak rate | loss | held-out loss", rows),
    models.flatMap(notes),
    `run folder  ${run}`,
  );
}

/**
 * Compares the cost of training a model, and of a sequence through it, with those of the mixture
 * and of an expert; words the balance and the dropped tokens of routing among the experts of its
 * layers.
 */
function notes({ folder, cost, routing }: TrainResult): string[] {
  const reported: string[] = [];
  if (cost) {
    const { parameters, training, mixture, inference, expertInference, memory } = cost;
    const share = training / mixture - 1;
    const difference = `${percent(Math.abs(share))} ${
      share < 0 ? "less" : "more"
    } than the mixture's`;
    const times = `${(inference / expertInference).toFixed(2)} times an expert's`;
    const routers = memory.routing ?? 0; // counted where a prefix routes
    const expert = `one expert ${binaryBytes(memory.expertInference)}`;
    const answering = routers === 0
      ? expert
      : `the mixture ${binaryBytes(memory.expertInference + routers)}: ${expert}, all routers ${
        binaryBytes(routers)
      }`;
    reported.push(
      `${folder} has ${countText(parameters)} weights; its training takes ${
        engineering(training)
      } FLOPs, ` +
        `${difference} ${
          engineering(mixture)
        } with routers and scoring, as counted when it was trained`,
      `a sequence takes ${engineering(inference)} FLOPs, ${times} ${engineering(expertInference)}`,
      `memory of training ${binaryBytes(memory.training)}, of one expert's ${
        binaryBytes(memory.expertTraining)
      }, ` +
        `with all activations kept; of generating ${
          binaryBytes(memory.inference)
        }, with ${answering}`,
    );
  }
  if (routing) {
    const balance = `balance ${
      routing.balance.toFixed(3)
    } (1 where every expert gets as many tokens)`;
    reported.push(
      `${folder} at its end: ${balance}, no expert took ${percent(routing.dropped)} of the tokens`,
    );
  }
  return reported;
}
