/**
 * The settings of the experts and the dense baselines: what they are and how they train.
 *
 * @module
 */

import { say, setting } from "../../kernels/errors.ts";
import { choice, integer, number, path, section } from "./field.ts";

const INSTEAD = say`, instead of ${setting("expertSteps")}; 0 goes by the steps`;

function denseRate(times: "batch" | "steps") {
  const help = `learning rate of the dense model with E times the ${times} at its peak; 0 takes the experts'`;
  return number({ default: 0, min: 0, max: 1, help });
}

/** Settings of the experts. */
export const EXPERTS = section("Experts", {
  expertHidden: integer({ default: 64, min: 2, max: 65_536, help: "width of an expert" }),
  expertLayers: integer({ default: 2, min: 1, max: 1024, help: "layers of an expert" }),
  expertHeads: integer({ default: 4, min: 1, max: 1024, help: "attention heads of an expert" }),
  expertBatch: integer({ default: 16, min: 1, max: 65_536, help: "sequences in an expert's training batch" }),
  expertRate: number({ default: 3e-3, min: 0, max: 1, help: "learning rate of the experts at its peak" }),
  expertWarmup: integer({ default: 50, min: 0, help: "steps over which the rate rises to its peak" }),
  denseRate: denseRate("batch"),
  denseStepsRate: denseRate("steps"),
  expertFinalRate: number({ default: 0.1, min: 0, max: 1, help: "share of its peak that the rate ends at" }),
  expertSteps: integer({ default: 400, min: 1, help: "training steps of an expert" }),
  expertTokens: integer({
    flag: "tokens",
    default: 0,
    min: 0,
    help: say`tokens that an expert sees${INSTEAD}`,
  }),
  expertEpochs: number({
    flag: "epochs",
    default: 0,
    min: 0,
    max: 1_000_000,
    help: say`passes over an expert's sequences${INSTEAD}`,
  }),
  microBatch: integer({
    default: 0,
    min: 0,
    max: 65_536,
    help:
      "sequences that run at once, gradients summed up over the batch; 0 for an expert's batch, in every model",
  }),
  logEvery: integer({ default: 10, min: 1, help: "steps between two lines of metrics" }),
  validateEvery: integer({ default: 100, min: 0, help: "steps between validations; 0: only at the end" }),
  validationSequences: integer({ default: 256, min: 0, help: "most held-out sequences to read; 0 for none" }),
  init: path({
    default: "",
    value: "FOLDER",
    help: "checkpoint folder (GPTNeoXForCausalLM) to start from; without it from new weights",
  }),
  dtype: choice(["f32", "bf16"], {
    default: "f32",
    help:
      "what experts train in; bf16 stores activations in half the bytes; their weights are f32, as are evaluation and generation",
  }),
  saveDtype: choice(["f32", "f16", "bf16"], { default: "f32", help: "number type of the final weights" }),
});
