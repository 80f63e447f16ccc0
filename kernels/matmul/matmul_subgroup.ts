/**
 * The variant of `C = A · B` for software adapters with subgroups of 8 lanes: which panels it has,
 * and the unrolled loops of its WGSL.
 */

import { laneArrays, LANES, numbers, pick, remembered } from "../device/subgroup.ts";
import { compose, replace } from "../device/wgsl.ts";
import code from "./matmul_subgroup.wgsl" with { type: "text" };
import tail from "./matmul_tail.wgsl" with { type: "text" };
import sigmoid from "../swiglu/sigmoid.wgsl" with { type: "text" };

/** Shape of a panel: terms by vec4s of columns. */
interface Panel {
  /** vec4s of columns per lane. */
  width: number;
  /** Terms of a sum per panel. */
  terms: number;
  /**
   * Terms that are added without asking whether there are that many. The last blocks of a panel are
   * skipped where there are not. Each question selects all sums of a lane, so wide panels ask less
   * often.
   */
  block: number;
}

/** Shape of the text. */
export interface PanelShape {
  /** What each lane keeps of B: one of `PANELS`. */
  panel: PanelName;
  /**
   * Whether partial sums wait in a binding `sums` of their own, f32 `[models, m, n4]`, where C
   * would round them.
   */
  apart?: boolean;
  /** Whether the left half of the columns gates the right half. */
  gated?: boolean;
}

/** Terms that one load of A fetches. */
const LOAD = 4 * LANES;
/** Terms of the longest panels: a product with more terms takes several passes. */
export const MOST_TERMS = 128;
/**
 * Terms between two stores into a spare element of every array, which is never read. The compiler
 * cannot move loads of the panel above such a store. Without them it would multiply everything
 * first, add later, and spill every product.
 */
const FENCE = 16;
/** Rows that one subgroup walks, at least: fewer would not pay for filling its panel. */
const FEWEST_ROWS = 64;
/** Workgroups to aim for, so that every core of a software adapter has some. */
const WORKGROUPS = 16;
/**
 * Panels with their speed against one another where no lane and no term idles: kernels/NOTES.md.
 * The short one is for products of few terms, in one pass: what it costs to fetch a row is shared
 * by more columns.
 */
const PANELS = {
  wide: { width: 2, terms: MOST_TERMS, block: 64, speed: 1.05 },
  narrow: { width: 1, terms: MOST_TERMS, block: 32, speed: 1 },
  short: { width: 4, terms: 32, block: 16, speed: 1.25 },
  // For gated products alone, where half of a wide panel's last block would idle.
  paired: { width: 2, terms: MOST_TERMS, block: 32, speed: 1 },
} as const satisfies Record<string, Panel & { speed: number }>;

/** Name of a panel. */
type PanelName = keyof typeof PANELS;

/** Panels of products, and of those whose left half gates the right: a lane has a vec4 of each. */
const PLAIN_PANELS = ["wide", "narrow", "short"] as const;
const GATED_PANELS = ["wide", "paired"] as const;

/** Returns which share of the work is of use where `count` is covered by whole units. */
export function used(count: number, unit: number): number {
  return count / (Math.ceil(count / unit) * unit);
}

/** Chooses the panel by size alone, and how many rows a workgroup walks. */
export function panelPlan(
  m: number,
  n4: number,
  k: number,
  models: number,
  { gated = false } = {},
): { panel: PanelName; rows: number; workgroups: number } {
  const estimateSpeed = (name: PanelName) => {
    const { width, terms, block, speed } = PANELS[name];
    return terms < MOST_TERMS && k > terms ? 0 : speed * used(k, block) * used(n4, LANES * width);
  };
  const names: readonly PanelName[] = gated ? GATED_PANELS : PLAIN_PANELS;
  const panel = names.reduce((best, name) =>
    estimateSpeed(name) > estimateSpeed(best) ? name : best
  );
  const across = Math.ceil(n4 / (LANES * PANELS[panel].width));
  const parts = Math.min(Math.ceil(m / FEWEST_ROWS), Math.ceil(WORKGROUPS / (across * models)));
  const rows = Math.ceil(m / Math.max(1, parts));
  return { panel, rows, workgroups: across * Math.ceil(m / rows) };
}

/**
 * The tail of a product with uniforms for its constants. Sums that are continued start from c, so
 * that nothing is added at the end.
 */
const TAIL = [
  ["sum: vec4f) {", "sum: vec4f, tail: u32) {"],
  [/^.*ACCUMULATE ==.*\n/m, ""],
  [/\bTAIL\b/, "tail"],
].reduce((text, [pattern, replacement]) => replace(text, pattern, replacement as string), tail);

/**
 * Writes the unrolled loop over the terms of a panel: one load of A for every 32 terms, and one
 * broadcast for each term.
 */
export function addTerms({ width, terms, block }: Panel): string {
  const columns = numbers(width);
  const panel = laneArrays("panel", width, terms + 1);
  return numbers(terms).flatMap((k) => {
    const loaded = `terms${Math.floor(k / LOAD)}`;
    const load = `load_a(a_row + (first_term + ${k}u) / 4u + lane)`;
    const loads = k % LOAD === 0
      ? [`let ${loaded} = select(vec4f(), ${load}, first_term + ${k}u + lane * 4u < params.k);`]
      : [];
    const begins = k % block === 0 ? [k === 0 ? "{" : `if (first_term + ${k}u < params.k) {`] : [];
    const scalar = `subgroupBroadcast(${loaded}.${"xyzw"[k % 4]}, ${Math.floor(k / 4) % LANES}u)`;
    const products = columns.map((j) => `sum${j} += factor * ${panel.vector(j, k)};`);
    const isLast = k % block === block - 1;
    return [
      // Blocks that share a load stand next to it.
      ...block < LOAD ? [...loads, ...begins] : [...begins, ...loads],
      `{ let factor = ${scalar}; ${products.join(" ")} }`,
      ...isLast
        ? ["}"]
        : k % FENCE === FENCE - 1
        ? columns.map((j) => panel.store(j, terms, `sum${j}`))
        : [],
    ];
  }).join("\n");
}

/** Returns the WGSL of a shape. */
export const matmulSubgroup: (shape: PanelShape) => string = remembered(
  ({ panel: name, apart = false, gated = false }: PanelShape) => {
    const { width, terms, block } = PANELS[name];
    const columns = numbers(width);
    const panel = laneArrays("panel", width, terms + 1);
    const sums = columns.map((j) => `sum${j}`);
    const isLast = `first_term + ${terms}u >= params.k`;
    const loadSum = apart
      ? "var before = load_c(c_row + next * j); if (first_term > 0u) { before = " +
        "sums[sums_row + next * j]; }"
      : `let before = load_c(c_row + next * j);`;
    // One store of C, not two, to compile.
    const store = apart
      ? `if (${isLast}) { finish(model, row, column + next * j, sum, params.tail); } ` +
        `else if (column + next * j < params.n4) { sums[sums_row + next * j] = sum; }`
      : `finish(model, row, column + next * j, sum, select(0u, params.tail, ${isLast}));`;
    const isInHalf = `column < params.n4 / 2u`;
    const extra = "params.extra_offset + model * params.extra_model + row * params.extra_stride";
    return compose(code, {
      matmul_tail: TAIL,
      sigmoid: gated ? sigmoid : "",
      sums_binding: apart
        ? "@group(0) @binding(6) var<storage, read_write> sums: array<vec4f>;"
        : "",
      panel_arrays: panel.declarations,
      fill_panel: [
        ...columns.map((j) =>
          `let b${j} = select(vec4f(), load_b(term + min(column + next * ${j}u, params.n4 - 1u)), ` +
          "first_term + k < params.k);"
        ),
        ...columns.map((j) => panel.store(j, "k", `b${j}`)),
      ].join("\n"),
      start_sums: (apart ? "let sums_row = (model * params.m + row) * params.n4 + column;\n" : "") +
        sums.map((sum) => `var ${sum} = vec4f();`).join(" "),
      resume_sum: `${loadSum} ${
        sums.map((sum, j) => `${sum} = select(${sum}, before, j == ${j}u);`).join(" ")
      }`,
      add_terms: addTerms(PANELS[name]),
      store_sum: `let sum = ${pick(sums)};\n${gated ? `if (${isInHalf}) { ${store} }` : store}`,
      store_gated: gated
        ? `if (${isLast} && ${isInHalf}) { ` +
          `store_extra(${extra} + column, sum0 * sigmoid(sum0) * sum1); }`
        : "",
    }, { SPAN: LANES * width, PANEL: terms, BLOCK: block, HALVES: gated ? 2 : 1 });
  },
);
