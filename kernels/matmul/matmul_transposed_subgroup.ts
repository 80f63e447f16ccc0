/**
 * The variant of `C = Aᵀ · B` for software adapters with subgroups of 8 lanes: how large its tiles
 * are, and the unrolled loops of its WGSL.
 */

import { laneArrays, LANES, numbers, pick, remembered, XYZW } from "../device/subgroup.ts";
import { compose, replace } from "../device/wgsl.ts";
import { used } from "./matmul_subgroup.ts";
import bindings from "./matmul_transposed_bindings.wgsl" with { type: "text" };
import code from "./matmul_transposed_subgroup.wgsl" with { type: "text" };
import tail from "./matmul_transposed_tail.wgsl" with { type: "text" };

/**
 * Shape of the WGSL. Its length grows with `width · terms`; it is slow where it does not fit the
 * instruction cache.
 */
export interface TileShape {
  /** vec4s of columns per lane. */
  width: number;
  /** Terms that are added between a load and a store of C. */
  terms: number;
}

/** Rows of C per workgroup: one load of A. */
const ROWS = 4 * LANES;
/** Shapes of tiles with their speed against one another where no lane idles: kernels/NOTES.md. */
const SHAPES = [
  { width: 2, terms: 2, speed: 1 },
  // Rated higher than measured, so that the products of a model share a text.
  { width: 3, terms: 1, speed: 1.05 },
  { width: 1, terms: 4, speed: 0.8 },
];

/** Chooses the tiles by size alone. */
export function tilePlan(m: number, n4: number): { shape: TileShape; workgroups: number } {
  const estimateSpeed = ({ width, speed }: typeof SHAPES[number]) =>
    speed * used(n4, LANES * width);
  const shape = SHAPES.reduce((best, candidate) =>
    estimateSpeed(candidate) > estimateSpeed(best) ? candidate : best
  );
  return { shape, workgroups: Math.ceil(n4 / (LANES * shape.width)) * Math.ceil(m / ROWS) };
}

const TAIL = replace(tail, "ACCUMULATE", "params.accumulate");

/** Returns the WGSL of a shape. */
export const matmulTransposedSubgroup: (shape: TileShape) => string = remembered(
  ({ width, terms }: TileShape) => {
    const columns = numbers(width);
    const c = laneArrays("c", width, ROWS);
    const addTerms = numbers(ROWS).map((row) => {
      const factors = numbers(terms).map((t) =>
        `let factor${t} = subgroupBroadcast(a${t}.${XYZW[row % 4]}, ${Math.floor(row / 4)}u);`
      );
      const sums = columns.map((j) => {
        const products = numbers(terms).map((t) => `sum += factor${t} * b${t}_${j};`).join(" ");
        return `{ var sum = ${c.vector(j, row)}; ${products} ${c.store(j, row, "sum")} }`;
      });
      return `{ ${[...factors, ...sums].join(" ")} }`;
    });
    /** Loads term `k + t`: zero where the sum has fewer terms. Term `k` itself is always there. */
    const fetch = (t: number, load: string, base: string, stride: string) =>
      t === 0
        ? `${load}(${base} + k * ${stride})`
        : `select(vec4f(), ${load}(${base} + term${t} * ${stride}), inside${t})`;
    const loadTerms = numbers(terms).flatMap((t) => [
      t === 0
        ? ""
        : `let inside${t} = k + ${t}u < params.k; let term${t} = min(k + ${t}u, params.k - 1u);`,
      `let a${t} = ${fetch(t, "load_a", "a_base", "params.a_stride")};`,
      `column_sum += a${t};`,
      ...columns.map((j) =>
        `let b${t}_${j} = ${fetch(t, "load_b", `b_base${j}`, "params.b_stride")};`
      ),
    ]);
    return compose(code, {
      matmul_transposed_bindings: bindings,
      matmul_transposed_tail: TAIL,
      column_bases: columns.map((j) =>
        `let b_base${j} = params.b_offset + model * params.b_model + min(column + ${
          LANES * j
        }u, params.n4 - 1u);`
      ).join("\n"),
      tile_arrays: c.declarations,
      load_terms: loadTerms.join("\n"),
      add_terms: addTerms.join("\n"),
      pick_sum: `let sum = ${pick(columns.map((j) => c.vector(j, "row - first")))};`,
    }, { SPAN: LANES * width, ROWS, TERMS: terms });
  },
);
