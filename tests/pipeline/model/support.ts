/** Models and batches for the tests of what runs models. */

import { assert, assertEquals } from "@std/assert";
import type { HostBatch } from "../../../pipeline/model/batch.ts";
import { countValues, type ModelConfig, parameterSpecs } from "../../../pipeline/model/shape.ts";
import type { Weights } from "../../../pipeline/model/parameters.ts";
import {
  assertClose,
  assertSameBits,
  dot,
  gpu,
  random,
  randomIntegers,
} from "../../kernels/support.ts";
import type { ReferenceWeights } from "./reference.ts";

/** A model with no zero or one anywhere, so that no term of any gradient hides. */
export function anyWeights(config: ModelConfig, name: string | number): Weights {
  return new Map(
    parameterSpecs(config).map((spec) => {
      const values = random(countValues(spec), `${spec.name} of ${name}`, 0.3);
      return [spec.name, spec.initial === "ones" ? values.map((value) => value + 1) : values];
    }),
  );
}

/**
 * Random sequences of random lengths, the last one full, for every model; padding holds random
 * tokens as well.
 */
export function anyBatch(
  { vocabulary }: ModelConfig,
  { models, batch, length }: { models: number; batch: number; length: number },
  name = "batch",
): HostBatch {
  return {
    tokens: randomIntegers(models * batch * length, vocabulary, `tokens of ${name}`),
    lengths: randomIntegers(models * batch, length, `lengths of ${name}`).map((value, i) =>
      i % batch === batch - 1 ? length : value + 1
    ),
  };
}

/** Cuts a batch into plain sequences without their padding, model after model. */
export function sequencesOf({ tokens, lengths }: HostBatch): number[][] {
  const length = tokens.length / lengths.length;
  return [...lengths].map((real, i) => [...tokens.subarray(i * length, i * length + real)]);
}

/** Takes the part of one model out of a batch for `models`. */
export function takeModelBatch(
  { tokens, lengths }: HostBatch,
  models: number,
  index: number,
): HostBatch {
  const [size, batch] = [tokens.length / models, lengths.length / models];
  return {
    tokens: tokens.slice(index * size, (index + 1) * size),
    lengths: lengths.slice(index * batch, (index + 1) * batch),
  };
}

/** Throws unless every tensor has the same bits. */
export function assertSameTensors(actual: Weights, expected: Weights, what = "model"): void {
  assertEquals([...actual.keys()], [...expected.keys()]);
  for (const [name, values] of expected) {
    assertSameBits(actual.get(name)!, values, `${name} of ${what}`);
  }
}

/**
 * Throws unless `‖a − b‖ <= tolerance ‖b‖` for every tensor; the tolerance may depend on its name.
 */
export function assertTensors(
  actual: Weights,
  expected: Weights,
  tolerance: number | ((name: string) => number),
  what = "model",
): void {
  assertEquals([...actual.keys()].sort(), [...expected.keys()].sort());
  for (const [name, values] of expected) {
    assertEquals(actual.get(name)!.length, values.length, name);
    const difference = Math.hypot(...values.map((value, i) => actual.get(name)![i] - value));
    const norm = Math.hypot(...values);
    const most = typeof tolerance === "number" ? tolerance : tolerance(name);
    assert(difference <= most * norm, `${name} of ${what} is off by ${difference / norm}`);
  }
}

/**
 * Throws unless gradients are those of a loss in f64. A random direction through each tensor sees
 * every element of it, and central differences in f64 are exact to about 1e-9.
 */
export function assertSlopes(
  loss: (weights: ReferenceWeights) => number,
  weights: Weights,
  gradients: Weights,
  what: string,
): void {
  for (const [name, values] of weights) {
    const gradient = gradients.get(name)!;
    const direction = random(values.length, `direction of ${name}`);
    const at = (h: number) => {
      const moved = Float64Array.from(values, (value, i) => value + h * direction[i]);
      return loss(new Map<string, ArrayLike<number>>([...weights, [name, moved]]));
    };
    const slope = (at(1e-5) - at(-1e-5)) / 2e-5;
    const tolerance = {
      atol: 2e-5 * Math.hypot(...gradient) * Math.hypot(...direction) + 1e-8,
      rtol: 0,
    };
    assertClose([dot(gradient, direction)], [slope], tolerance, `slope along ${name} of ${what}`);
  }
}

/**
 * A device that counts submits, and a signal that it gives with the first pass: the submit after
 * the one that lays out the weights.
 */
export function endingInFirstPass() {
  const ending = new AbortController();
  const counted = { submits: 0 };
  const submit: typeof gpu.submit = (dispatches) => {
    gpu.submit(dispatches);
    if (++counted.submits === 2) ending.abort(new Error("enough"));
  };
  return { device: { ...gpu, submit }, counted, signal: ending.signal };
}
