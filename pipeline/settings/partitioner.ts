/**
 * The settings of the partitioner and of the assignment: how text is split, and how sequences are
 * scored and given to experts.
 *
 * @module
 */

import { InputError, say, setting } from "../../kernels/errors.ts";
import { choice, flag, integer, integers, number, path, section, text } from "./field.ts";

/** Settings of the partitioner and its routers. Symbols in brackets are those of the paper. */
export const ROUTERS = section("Routers", {
  partitioner: text(
    { default: "em", value: "em|ctbm|random|source" },
    "how text is split: em by routers trained by expectation maximisation, ctbm by " +
      "clusters of TF-IDF, random by a hash, source by labels",
  ),
  partitionerSample: integer({ default: 50_000, min: 1 }, "sequences that clusters are learned on"),
  routers: path({ default: "", value: "FOLDER" }, "routers to use; without it they are trained"),
  experts: integer(
    { default: 4, min: 1, max: 65_535, value: "E|AxB" },
    "experts, and as many routers [E]; 16x16: a tree of routers, 16 that split the " +
      "text and 16 in each part",
  ),
  levels: integers(
    { default: [], value: "A,B", min: 2, max: 65_535 },
    "widths of the levels of a tree of routers; their product is the number of experts",
  ),
  prefix: integer({ default: 64, min: 2, max: 65_536 }, "tokens of the routing prefix [M]"),
  prefixLengths: integers(
    { default: [], value: "M,M,…", min: 2, max: 65_536 },
    "train routers on a seeded mix of these prefix lengths",
  ),
  routerHidden: integer(
    { default: 32, min: 2, max: 65_536 },
    "width [H], an even multiple of heads",
  ),
  routerLayers: integer({ default: 2, min: 1, max: 1024 }, "layers of a router [L]"),
  routerHeads: integer({ default: 2, min: 1, max: 1024 }, "attention heads of a router"),
  routerArchitecture: choice(
    ["gpt-neox", "llama"],
    { default: "gpt-neox", isLater: true },
    "shape of routers: the paper's, or RMSNorm, SwiGLU and no biases",
  ),
  routerKvHeads: integer(
    { default: 0, min: 0, max: 1024, isLater: true },
    "heads of keys and values (llama); 0 takes all attention heads",
  ),
  routerHeadSize: integer(
    { default: 0, min: 0, max: 65_536, isLater: true },
    "columns of an attention head (llama); 0 takes the width over the heads",
  ),
  routerIntermediate: integer(
    { default: 0, min: 0, max: 1_048_576, isLater: true },
    "columns inside the MLP (llama); 0 takes 8/3 of the width, rounded up to 32",
  ),
  routerRopeTheta: number(
    { default: 10_000, min: 1, isLater: true },
    "base of the rotary angles (llama)",
  ),
  routerUntied: flag("gives routers an output head that is not the embedding", { isLater: true }),
  start: choice(
    ["random", "ctbm"],
    { default: "random" },
    "first parts: random, or clusters of TF-IDF",
  ),
  fixed: flag(say`keep the parts of ${setting("start")}: routers only learn to recognise them`),
  rounds: integer({ default: 12, min: 1 }, "EM rounds [T]"),
  roundSequences: integer({ default: 256, min: 1 }, "sequences per router and round [N / E]"),
  routerBatch: integer(
    { default: 16, min: 1, max: 65_536 },
    "sequences in a router's training batch",
  ),
  routerRate: number(
    { default: 4e-3, min: 0, max: 1 },
    "learning rate of the routers after warm-up",
  ),
  routerWarmup: integer({ default: 50, min: 0 }, "steps over which the rate rises to its value"),
});

/** Settings of the routers' shape beyond sizes that all shapes have. */
export const ROUTER_SHAPE = [
  "routerArchitecture",
  "routerKvHeads",
  "routerHeadSize",
  "routerIntermediate",
  "routerRopeTheta",
  "routerUntied",
] as const;

/** Settings of scoring and assignment. */
export const ASSIGNMENT = section("Assignment", {
  scoreBatch: integer({ default: 0, min: 0, max: 65_536 }, "sequences scored at a time; 0 chooses"),
  method: text(
    { default: "balanced", value: "balanced|optimal|argmax" },
    "balanced: equal loads, chunk by chunk; optimal: equal loads at the least cost " +
      "of all, with a proof; argmax: every sequence to its best expert, the default of " +
      "the partitioners random and source",
  ),
  prices: path(
    { default: "", value: "RUN" },
    "run, or file, whose prices assign each block of text alone, so that new text " +
      "changes no earlier assignment",
  ),
  chunk: integer(
    { default: 0, min: 0 },
    "sequences assigned together [N], a multiple of the experts; 0 is about 65,536",
  ),
});

const TREE = /^\d+(x\d+)+$/;

/**
 * Counts the tokens of a sequence that routers read in a round. The `first` round reads all where
 * it begins with clusters.
 */
export function routedTokens(
  { prefix, prefixLengths, start, sequenceLength }: Record<"prefix" | "sequenceLength", number> & {
    prefixLengths: readonly number[];
    start: string;
  },
  first: boolean,
): number {
  return first && start === "ctbm" ? sequenceLength : Math.max(prefix, ...prefixLengths);
}

/** Counts the tokens of a router's training sequences: the longest mixed prefix, or else M. */
export const trainedTokens = (
  { prefix, prefixLengths }: { prefix: number; prefixLengths: readonly number[] },
): number => prefixLengths.length > 0 ? Math.max(...prefixLengths) : prefix;

/** Counts the experts of a tree. */
export const countExperts = (levels: readonly number[]): number =>
  levels.reduce((product, wide) => product * wide, 1);

/**
 * Reads experts written as levels, such as `16x16`: sets their number and the widths of the levels.
 * A plain number, or one level of that width, means no levels.
 */
export function withLevels<Value extends Record<string, unknown>>(values: Value): Value {
  const { experts, levels = [] } = values;
  if (typeof experts === "string" && TREE.test(experts)) {
    const widths = experts.split("x").map(Number);
    if (String(levels) !== "" && String(levels) !== String(widths)) {
      const must = say`${setting("levels")} must be theirs: they are ${String(levels)}`;
      throw new InputError(say`Cannot make ${experts} experts as ${must}`);
    }
    return { ...values, experts: countExperts(widths), levels: widths };
  }
  if (experts === undefined && values.levels === undefined) return values;
  if (!Array.isArray(levels)) return values; // its field refuses what is no list
  if (levels.length === 0) return { ...values, levels };
  const number = experts ?? countExperts(levels);
  return {
    ...values,
    experts: number,
    levels: levels.length === 1 && levels[0] === number ? [] : levels,
  };
}
