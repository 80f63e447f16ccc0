/**
 * The settings of AdamW, which updates the weights of routers and experts.
 *
 * @module
 */

import { number, section } from "./field.ts";

/** Settings of the optimiser. */
export const OPTIMISER = section("Optimiser", {
  clip: number({ default: 1, min: 1e-9, help: "largest global norm of a gradient" }),
  beta1: number({ default: 0.9, min: 0, max: 0.999999, help: "AdamW's decay of the first moment" }),
  beta2: number({ default: 0.99, min: 0, max: 0.999999, help: "AdamW's decay of the second moment" }),
  epsilon: number({ default: 1e-8, min: 1e-30, max: 1, help: "AdamW's epsilon" }),
  weightDecay: number({ default: 0.1, min: 0, max: 1, help: "AdamW's weight decay, on matrices" }),
});
