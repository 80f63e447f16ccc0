/**
 * The settings of the larger dense model, which is trained for as many FLOPs as the mixture.
 *
 * @module
 */

import { integer, number, section } from "./field.ts";

/** Settings of the larger dense model. */
export const LARGER_DENSE = section("Larger dense model", {
  denseHidden: integer({ default: 0, min: 0, max: 65_536, help: "its width; 0 takes twice the expert's" }),
  denseLayers: integer({
    default: 0,
    min: 0,
    max: 1024,
    help: "its layers; 0 takes the expert's, or more where it has less than about four times its parameters",
  }),
  denseHeads: integer({ default: 0, min: 0, max: 1024, help: "its attention heads; 0 takes the expert's" }),
  denseComputeRate: number({
    default: 0,
    min: 0,
    max: 1,
    help: "its learning rate at its peak; 0 takes the experts'",
  }),
});
