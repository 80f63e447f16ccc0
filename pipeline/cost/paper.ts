/**
 * The paper's figures of cost (arXiv 2410.03529, Table 3 and its section on communication), printed
 * next to what the formulas give.
 */

import { resolveConfiguration } from "../settings/resolution.ts";
import { type Communication, denseStepBytes, exchangeBytes, findShape } from "./mixture.ts";
import { mixtureFlops } from "./flops.ts";

/**
 * A row of Table 3: steps and batch of an expert and of the dense model. With them stand what the
 * paper prints, perplexities too, and what the formulas give: training FLOPs of the experts, and
 * additional ones of the mixture, in 1e19; FLOPs of one sequence through an expert, and additional
 * ones of the routers, in 1e12. `denseTraining` is the training of the dense model by its own steps
 * and batch.
 *
 * @ignore Its type is inferred.
 */
type TableRow = ReturnType<typeof countRow>;

const ROUTER_STEPS = 128_000;
const TOKENS_BETWEEN_EXCHANGES = 45e6;
const NOMINAL_PARAMETERS = 1.3e9;

/**
 * Steps and batch of the dense model; training, its overhead, inference, its overhead; perplexity,
 * dense and mixture.
 */
const ROWS: [
  preset: string,
  experts: number,
  dense: [number, number],
  printed: number[],
  ppl: number[],
][] = [
  ["paper-335m", 4, [256_000, 512], [31.02, 0.22, 0.79, 0.01], [11.78, 10.78]],
  ["paper-335m", 8, [512_000, 512], [62.03, 0.75, 0.79, 0.02], [11.25, 10.20]],
  ["paper-335m", 16, [1_024_000, 512], [124.06, 2.71, 0.79, 0.04], [10.80, 9.64]],
  ["paper-335m", 32, [2_048_000, 512], [248.12, 10.28, 0.79, 0.08], [10.50, 9.07]],
  ["paper-1.3b", 4, [512_000, 512], [221.33, 0.36, 2.81, 0.01], [9.10, 8.75]],
  ["paper-1.3b", 16, [1_024_000, 1024], [885.32, 4.87, 2.81, 0.04], [8.48, 7.42]],
  ["paper-1.3b", 32, [1_024_000, 2048], [1770.65, 18.94, 2.81, 0.08], [8.20, 6.76]],
];

/**
 * Counts the paper's Table 3 from the presets. Router training is counted at S tokens, as the paper
 * does, though its loss reads M.
 */
export const paperTable = (): TableRow[] => ROWS.map(countRow);

function countRow(
  [preset, experts, [denseSteps, denseBatch], printed, [dense, mixture]]: typeof ROWS[number],
) {
  const [training, trainingOverhead, inference, inferenceOverhead] = printed;
  const c = resolveConfiguration({ preset });
  const shape = {
    ...findShape(c),
    experts,
    routers: experts,
    steps: c.expertSteps,
    routerSteps: ROUTER_STEPS,
    routerLength: c.sequenceLength,
    roundsScored: ROUTER_STEPS * c.routerBatch * experts,
    corpusScored: c.expertSteps * c.expertBatch * experts,
  };
  const flops = mixtureFlops(shape);
  const ofDense = mixtureFlops({
    ...shape,
    experts: 1,
    routers: 1,
    steps: denseSteps,
    batch: denseBatch,
  });
  return {
    model: preset.replace("paper-", "").toUpperCase(), // as the paper calls an expert by its size
    experts,
    steps: shape.steps,
    batch: shape.batch,
    denseSteps,
    denseBatch,
    printed: { training, trainingOverhead, inference, inferenceOverhead },
    counted: {
      training: flops.experts / 1e19,
      trainingOverhead: flops.overhead / 1e19,
      inference: flops.inference / 1e12,
      inferenceOverhead: flops.inferenceOverhead / 1e12,
      denseTraining: ofDense.experts / 1e19,
    },
    perplexity: { dense, mixture },
  };
}

/**
 * A model of the paper's pair: training in 1e19 FLOPs and one sequence in 1e12, both with all
 * overhead; printed perplexity.
 */
export type PairedModel =
  & { model: string }
  & Record<"training" | "inference" | "perplexity", number>;

/**
 * The 1.3B dense model next to 32 experts of 335M, and how much less its training costs, as a share
 * of the mixture's (`apart`).
 */
export type PaperPair = Record<"dense" | "mixture", PairedModel> & Record<"apart", number>;

/**
 * Takes the pair out of Table 3, as it is: the dense model's training costs 14% less than the
 * mixture's.
 */
export function paperPair(): PaperPair {
  const rows = paperTable();
  const find = (model: string, experts: number) =>
    rows.find((row) => row.model === model && row.experts === experts)!;
  const [large, small] = [find("1.3B", 4), find("335M", 32)];
  const { denseTraining: training, inference } = large.counted;
  const dense = { model: "1.3B dense", training, inference, perplexity: large.perplexity.dense };
  const mixture = {
    model: "335M, E=32",
    training: small.counted.training + small.counted.trainingOverhead,
    inference: small.counted.inference + small.counted.inferenceOverhead,
    perplexity: small.perplexity.mixture,
  };
  return { dense, mixture, apart: 1 - dense.training / mixture.training };
}

/** The paper's figures of communication, of 32 experts of its 1.3B model. */
export type PaperCommunication = Pick<
  Communication,
  "exchanges" | "bytesPerExchange" | "denseBytesPerStep"
>;

/** What the paper prints. */
export const PRINTED_COMMUNICATION: PaperCommunication = {
  exchanges: 94,
  bytesPerExchange: 5.625e6,
  denseBytesPerStep: 10.4e9,
};

/**
 * Counts the paper's figures of communication from the preset of the 1.3B model with 32 experts.
 */
export function paperCommunication(): PaperCommunication {
  const c = resolveConfiguration({ preset: "paper-1.3b" });
  return {
    exchanges: Math.ceil(
      ROUTER_STEPS * c.sequenceLength * c.routerBatch / TOKENS_BETWEEN_EXCHANGES,
    ),
    bytesPerExchange: exchangeBytes(TOKENS_BETWEEN_EXCHANGES * c.experts / c.sequenceLength),
    denseBytesPerStep: denseStepBytes(NOMINAL_PARAMETERS),
  };
}
