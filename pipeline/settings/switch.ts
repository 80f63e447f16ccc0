/**
 * The settings of the Switch Transformer that a mixture is compared with: it has experts in every layer,
 * chosen token by token.
 *
 * @module
 */

import { integer, number, section } from "./field.ts";

/** Settings of the Switch Transformer. */
export const SWITCH = section("Switch Transformer", {
  switchExperts: integer({
    default: 0,
    min: 0,
    max: 4096,
    help: "experts of every layer; 0 takes as many as the mixture has",
  }),
  switchCapacity: number({
    default: 1.25,
    min: 1e-3,
    max: 1e6,
    help: "tokens that an expert takes in training, at most, as a multiple of an equal share of a pass",
  }),
  switchBalance: number({
    default: 0.01,
    min: 0,
    max: 1e6,
    help: "weight of the balance of the load in the loss",
  }),
  switchRate: number({
    default: 0,
    min: 0,
    max: 1,
    help: "its learning rate at its peak; 0 takes the experts'",
  }),
});
