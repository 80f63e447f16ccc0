/**
 * The settings of the models that are trained on text: experts, dense baselines, a Switch
 * Transformer, and their optimiser.
 *
 * @module
 */

import { say, setting } from "../../kernels/errors.ts";
import { choice, flag, integer, number, path, section } from "./field.ts";

const INSTEAD = say`, instead of ${setting("expertSteps")}; 0 goes by the steps`;

function denseRate(times: "batch" | "steps") {
  const help =
    `learning rate of the dense model with E times the ${times} at its peak; 0 takes the experts'`;
  return number({ default: 0, min: 0, max: 1 }, help);
}

/** Settings of the experts. */
export const EXPERTS = section("Experts", {
  expertHidden: integer({ default: 64, min: 2, max: 65_536 }, "width of an expert"),
  expertLayers: integer({ default: 2, min: 1, max: 1024 }, "layers of an expert"),
  expertHeads: integer({ default: 4, min: 1, max: 1024 }, "attention heads of an expert"),
  expertArchitecture: choice(
    ["gpt-neox", "llama"],
    { default: "gpt-neox", isLater: true },
    "shape of experts: the paper's, or RMSNorm, SwiGLU and no biases",
  ),
  expertKvHeads: integer(
    { default: 0, min: 0, max: 1024, isLater: true },
    "heads of keys and values (llama); 0 takes all attention heads",
  ),
  expertHeadSize: integer(
    { default: 0, min: 0, max: 65_536, isLater: true },
    "columns of an attention head (llama); 0 takes the width over the heads",
  ),
  expertIntermediate: integer(
    { default: 0, min: 0, max: 1_048_576, isLater: true },
    "columns inside the MLP (llama); 0 takes 8/3 of the width, rounded up to 32",
  ),
  expertRopeTheta: number(
    { default: 10_000, min: 1, isLater: true },
    "base of the rotary angles (llama)",
  ),
  expertUntied: flag("gives experts an output head that is not the embedding", { isLater: true }),
  expertBatch: integer(
    { default: 16, min: 1, max: 65_536 },
    "sequences in an expert's training batch",
  ),
  expertRate: number({ default: 3e-3, min: 0, max: 1 }, "learning rate of the experts at its peak"),
  expertWarmup: integer({ default: 50, min: 0 }, "steps over which the rate rises to its peak"),
  denseRate: denseRate("batch"),
  denseStepsRate: denseRate("steps"),
  expertFinalRate: number(
    { default: 0.1, min: 0, max: 1 },
    "share of its peak that the rate ends at",
  ),
  expertSteps: integer({ default: 400, min: 1 }, "training steps of an expert"),
  expertTokens: integer(
    { flag: "tokens", default: 0, min: 0 },
    say`tokens that an expert sees${INSTEAD}`,
  ),
  expertEpochs: number(
    { flag: "epochs", default: 0, min: 0, max: 1_000_000 },
    say`passes over an expert's sequences${INSTEAD}`,
  ),
  microBatch: integer(
    { default: 0, min: 0, max: 65_536 },
    "sequences that run at once, gradients summed up over the batch; 0 for an " +
      "expert's batch, in every model",
  ),
  logEvery: integer({ default: 10, min: 1 }, "steps between two lines of metrics"),
  validateEvery: integer({ default: 100, min: 0 }, "steps between validations; 0: only at the end"),
  validationSequences: integer(
    { default: 256, min: 0 },
    "most held-out sequences to read; 0 for none",
  ),
  init: path(
    { default: "", value: "FOLDER" },
    "checkpoint folder (GPTNeoXForCausalLM or LlamaForCausalLM) to start from; without " +
      "it from new weights",
  ),
  dtype: choice(
    ["f32", "bf16"],
    { default: "f32" },
    "what experts train in; bf16 stores activations in half the bytes; their weights " +
      "are f32, as are evaluation and generation",
  ),
  saveDtype: choice(["f32", "f16", "bf16"], { default: "f32" }, "number type of the final weights"),
});

/** Settings of the experts' shape beyond sizes that all shapes have. */
export const EXPERT_SHAPE = [
  "expertArchitecture",
  "expertKvHeads",
  "expertHeadSize",
  "expertIntermediate",
  "expertRopeTheta",
  "expertUntied",
] as const;

/** Settings of the larger dense model. */
export const LARGER_DENSE = section("Larger dense model", {
  denseHidden: integer(
    { default: 0, min: 0, max: 65_536 },
    "its width; 0 takes twice the expert's",
  ),
  denseLayers: integer(
    { default: 0, min: 0, max: 1024 },
    "its layers; 0 takes the expert's, or more where it has less than about four " +
      "times its parameters",
  ),
  denseHeads: integer(
    { default: 0, min: 0, max: 1024 },
    "its attention heads; 0 takes the expert's",
  ),
  denseComputeRate: number(
    { default: 0, min: 0, max: 1 },
    "learning rate at its peak; 0 takes the experts'",
  ),
});

/**
 * Settings of the Switch Transformer that a mixture is compared with: it has experts in every
 * layer, chosen token by token.
 */
export const SWITCH = section("Switch Transformer", {
  switchExperts: integer(
    { default: 0, min: 0, max: 4096 },
    "experts of every layer; 0 takes the mixture's",
  ),
  switchCapacity: number(
    { default: 1.25, min: 1e-3, max: 1e6 },
    "most tokens that an expert takes in a pass of training, as a multiple of an equal share",
  ),
  switchBalance: number({ default: 0.01, min: 0, max: 1e6 }, "weight of the load-balancing loss"),
  switchRate: number(
    { default: 0, min: 0, max: 1 },
    "its learning rate at its peak; 0 takes the experts'",
  ),
});

/** Settings of AdamW, which updates the weights of routers and experts. */
export const OPTIMISER = section("Optimiser", {
  clip: number({ default: 1, min: 1e-9 }, "largest global norm of a gradient"),
  beta1: number({ default: 0.9, min: 0, max: 0.999999 }, "AdamW's decay of the first moment"),
  beta2: number({ default: 0.99, min: 0, max: 0.999999 }, "AdamW's decay of the second moment"),
  epsilon: number({ default: 1e-8, min: 1e-30, max: 1 }, "AdamW's epsilon"),
  weightDecay: number({ default: 0.1, min: 0, max: 1 }, "AdamW's weight decay, on matrices"),
});
