/**
 * The variant of the loss of a linear layer for software adapters with subgroups of 8 lanes: its
 * panels, and the unrolled loops of its WGSL.
 */

import { laneArrays, LANES, numbers, overLanes, remembered } from "../device/subgroup.ts";
import { compose } from "../device/wgsl.ts";
import { addTerms } from "../matmul/matmul_subgroup.ts";
import code from "./linear_nll_subgroup.wgsl" with { type: "text" };

/**
 * vec4s of columns per lane. kernels/NOTES.md tells what this and the number of terms are measured
 * against.
 */
const WIDTH = 3;
/**
 * Terms of the shorter panels, which take products of so few terms in one pass, and of the longer
 * ones.
 */
const [SHORT, LONG] = [96, 128];
/**
 * Rows that a workgroup walks at most, and at least: fewer would not pay for filling its panels.
 */
const [MOST_ROWS, FEWEST_ROWS] = [256, 64];
/** Workgroups to aim for, so that every core has some. */
const WORKGROUPS = 8;

/** Returns how many rows a workgroup walks. The number changes no bit. */
export function groupRows(rows: number, models: number): number {
  const parts = Math.min(Math.ceil(rows / FEWEST_ROWS), Math.ceil(WORKGROUPS / models));
  return Math.ceil(rows / Math.max(1, parts, Math.ceil(rows / MOST_ROWS)));
}

/** Returns the WGSL for products of `k` terms, with the fragments that all variants share. */
export function linearNllSubgroup(
  k: number,
  fragments: Record<string, string>,
  details: boolean,
): string {
  return makeText({ terms: k <= SHORT ? SHORT : LONG, fragments, details });
}

const makeText = remembered(
  (
    { terms, fragments, details }: {
      terms: number;
      fragments: Record<string, string>;
      details: boolean;
    },
  ) => {
    const columns = numbers(WIDTH);
    const panel = laneArrays("panel", WIDTH, terms + 1);
    const part = laneArrays("part", WIDTH, MOST_ROWS);
    const takesPasses = terms === LONG;
    const each = (line: (j: number) => string) => columns.map(line).join("\n");
    const merged = (value: (j: number) => string, merge: (a: string, b: string) => string) =>
      columns.map(value).reduce(merge);
    return compose(code, {
      ...fragments,
      private_arrays: panel.declarations + (takesPasses ? part.declarations : ""),
      ids: each((j) =>
        `let ids${j} = ids(column + ${LANES * j}u); let real${j} = ids${j} < vec4u(params.vocab);`
      ),
      fill_panel: [
        each((j) => `let b${j} = load_b(term + min(column + ${LANES * j}u, n4 - 1u));`),
        each((j) => panel.store(j, "k", `select(vec4f(), b${j}, first_term + k < params.k)`)),
      ].join("\n"),
      start_sums: each((j) => {
        const resume = takesPasses
          ? ` if (first_term > 0u) { sum${j} = ${part.vector(j, "row")}; }`
          : "";
        return `var sum${j} = vec4f();${resume}`;
      }),
      add_terms: addTerms({ width: WIDTH, terms, block: 32 }),
      keep_sums: takesPasses
        ? `if (first_term + PANEL < params.k) { ${
          each((j) => part.store(j, "row", `sum${j}`))
        } continue; }`
        : "",
      mask_sums: [
        each((j) => `let x${j} = select(vec4f(LOWEST), sum${j}, real${j});`),
        `let high = ${merged((j) => `x${j}`, (a, b) => `max(${a}, ${b})`)};`,
        "let highest = max(max(high.x, high.y), max(high.z, high.w));",
      ].join("\n"),
      exponentials: `let exponentials = ${
        merged((j) => `select(vec4f(), exp(x${j} - peak), real${j})`, (a, b) => `${a} + ${b}`)
      };`,
      take_best: details
        ? `if (peak > before) { best[row] = ${
          merged((j) => `first_of(x${j}, peak, ids${j})`, (a, b) => `min(${a}, ${b})`)
        }; }`
        : "",
      take_score: each((j) =>
        `scores[row] += dot(select(vec4f(), x${j}, ids${j} == vec4u(label)), vec4f(1.0));`
      ),
      join_lanes: [
        `let peak = ${overLanes("peaks[row]", (a, b) => `max(${a}, ${b})`)};`,
        "let own = totals[row] * exp(peaks[row] - peak);",
        `let total = ${overLanes("own", (a, b) => `${a} + ${b}`)};`,
        `let score = ${overLanes("scores[row]", (a, b) => `${a} + ${b}`)};`,
        "let found = select(NONE, best[row], peaks[row] == peak);",
        `let id = ${overLanes("found", (a, b) => `min(${a}, ${b})`)};`,
      ].join("\n"),
    }, { SPAN: LANES * WIDTH, PANEL: terms, BLOCK: 32, MOST_ROWS });
  },
);
