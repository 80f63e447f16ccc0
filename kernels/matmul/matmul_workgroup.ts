/**
 * The variants of `C = A · B` and `C = Aᵀ · B` for GPUs: the unrolled loops of their WGSL, and the
 * choice of tiles. kernels/NOTES.md says what is known of their speed.
 */

import { numbers, remembered, unroll, XYZW } from "../device/subgroup.ts";
import { compose } from "../device/wgsl.ts";
import tail from "./matmul_tail.wgsl" with { type: "text" };
import code from "./matmul_workgroup.wgsl" with { type: "text" };
import segmentsCode from "./matmul_segments.wgsl" with { type: "text" };
import halfCode from "./matmul_workgroup_f16.wgsl" with { type: "text" };
import transposedBindings from "./matmul_transposed_bindings.wgsl" with { type: "text" };
import transposedCode from "./matmul_transposed_workgroup.wgsl" with { type: "text" };

/** A tile of C that a workgroup computes. */
export interface Tile {
  /** Rows of C. */
  rows: number;
  /** Columns of C. */
  columns: number;
  /** Rows that an invocation holds, a multiple of 4. */
  ownRows: number;
  /** Vec4s of columns that it holds. */
  ownVec4s: number;
  /** Terms of a slice, a multiple of 4. */
  terms: number;
  /**
   * How near products with this tile come to the peak, by estimate; 1 for the largest tile. A
   * smaller tile reads more for each multiplication.
   */
  efficiency: number;
}

/**
 * All tiles, the largest first. Each takes at most 16 KiB of workgroup memory and 256 invocations.
 */
export const TILES: readonly Tile[] = [
  { rows: 128, columns: 128, ownRows: 8, ownVec4s: 2, terms: 8, efficiency: 1 },
  { rows: 128, columns: 64, ownRows: 8, ownVec4s: 2, terms: 8, efficiency: 0.9 },
  { rows: 64, columns: 64, ownRows: 8, ownVec4s: 2, terms: 8, efficiency: 0.8 },
  { rows: 32, columns: 32, ownRows: 4, ownVec4s: 1, terms: 8, efficiency: 0.4 },
];

/**
 * Multiprocessors of a large GPU. A product should have at least as many workgroups, so that each
 * of them has work.
 */
export const MULTIPROCESSORS = 132;

/** Counts the invocations of a tile. */
export function countInvocations({ rows, columns, ownRows, ownVec4s }: Tile): number {
  return (rows / ownRows) * (columns / 4 / ownVec4s);
}

/** Counts the workgroups of a product per model. */
export function countWorkgroups({ rows, columns }: Tile, m: number, n4: number): number {
  return Math.ceil(m / rows) * Math.ceil((4 * n4) / columns);
}

/**
 * Chooses the tile with which a product C `[models, m, 4 · n4]` should be done soonest. By this
 * estimate the multiprocessors work in turns, and a turn takes as long as the elements of a tile
 * divided by its efficiency. The choice changes no bit of C.
 */
export function chooseTile(m: number, n4: number, models: number): Tile {
  const time = (tile: Tile) => estimateTime(tile, m, n4, models);
  return TILES.reduce((best, tile) => time(tile) < time(best) ? tile : best);
}

/** Estimates the time of a product with a tile, per term. */
function estimateTime(tile: Tile, m: number, n4: number, models: number): number {
  const turns = Math.ceil(countWorkgroups(tile, m, n4) * models / MULTIPROCESSORS);
  return turns * tile.rows * tile.columns / tile.efficiency;
}

/** Tiles that hold f32. */
const SINGLE = `alias Element = vec4f;
fn element(x: vec4f) -> Element { return x; }`;

/** What is included where every element is one sum. */
const SHORT_SUMS = {
  segments: "",
  choose_segments: "let tile = index;",
  each_segment: "{\nlet begin = 0u;\nlet end = params.k;",
};
/** What is included where long sums are taken segment by segment. */
const LONG_SUMS = {
  segments: segmentsCode,
  choose_segments: `let segments = max(1u, (params.k + SEGMENT - 1u) / SEGMENT);
  let first_segment = select(0u, index % segments, SPLIT == 1u);
  let last_segment = select(segments, first_segment + 1u, SPLIT == 1u);
  let tile = select(index, index / segments, SPLIT == 1u);`,
  each_segment: `for (var segment = first_segment; segment < last_segment; segment++) {
    let begin = segment * SEGMENT;
    let end = min(begin + SEGMENT, params.k);`,
};

/** The constants of the WGSL of a tile. */
function tileConstants({ rows, columns, ownRows, ownVec4s, terms }: Tile): Record<string, number> {
  const steps = { ROW_STEP: rows / ownRows, COLUMN_STEP: columns / 4 / ownVec4s };
  return { ROWS: rows, SPAN: columns / 4, TERMS: terms, ...steps };
}

/**
 * Stores all sums of an invocation, sum `i` as `store` says. Its loop is the only one here: a
 * driver unrolls it where that is good, and sixteen copies of the tail would take long to compile.
 * A switch picks the sum, as an array would leave the registers.
 */
function finishAll(sums: string[], store: (sum: string) => string): string {
  return lines([
    `for (var i = 0u; i < ${sums.length}u; i++) {`,
    "var sum = vec4f();",
    `switch i { ${sums.map((sum, i) => `case ${i}u: { sum = ${sum}; }`).join(" ")} default: {} }`,
    store("sum"),
    "}",
  ]);
}

const lines = (all: (string | string[])[]): string => all.flat().join("\n");

/**
 * Writes how the products of a slice of both tiles are added to sums, which `sum` names by row and
 * vec4.
 */
function productLines(
  { ownRows, ownVec4s, terms }: Tile,
  slice: number,
  sum: (r: number, v: number) => string,
): string {
  const add = (part: string) => (r: number, v: number) =>
    `${sum(r, v)} = fma(Element(x${r}.${part}), y${v}, ${sum(r, v)});`;
  return lines(
    numbers(terms / 4).map((quad) => [
      "{",
      unroll(ownRows, (r) => `let x${r} = a_tile[${slice}][row${r}][${quad}];`),
      ...XYZW.map((part, t) =>
        lines([
          "{",
          unroll(ownVec4s, (v) => `let y${v} = b_tile[${slice}][${4 * quad + t}][column${v}];`),
          numbers(ownRows).flatMap((r) => numbers(ownVec4s).map((v) => add(part)(r, v))),
          "}",
        ])
      ),
      "}",
    ]),
  );
}

/**
 * Writes the places of a lane: its rows and columns of the product, and what it fetches of either
 * matrix.
 */
const placeLines = (
  { ownRows, ownVec4s }: Tile,
  fetchesA: number[],
  fetchesB: number[],
  quads: number,
  lanes: number,
) =>
  lines([
    unroll(ownRows, (r) => `let row${r} = row + ${r}u * ROW_STEP;`),
    unroll(ownVec4s, (v) => `let column${v} = column + ${v}u * COLUMN_STEP;`),
    fetchesA.map((i) =>
      `let a_row${i} = (lane + ${i * lanes}u) / ${quads}u; let a_term${i} = ((lane + ${
        i * lanes
      }u) % ${quads}u) * 4u; ` +
      `let a_from${i} = a_start + (first_row + a_row${i}) * params.a_stride;`
    ),
    fetchesB.map((i) =>
      `let b_term${i} = (lane + ${i * lanes}u) / SPAN; let b_column${i} = (lane + ${
        i * lanes
      }u) % SPAN; ` +
      `let b_from${i} = b_start + first_column + b_column${i};`
    ),
  ]);

/**
 * Writes WGSL of `A · B`. Where tiles hold f16, products are of f16 too, and so are sums over the
 * terms of a slice: these are added in f32. That is for values of order 1, and not for gradients.
 */
export const matmulWorkgroup: (
  shape: { tile: Tile; holds: "f32" | "f16"; segmented?: boolean },
) => string = remembered(
  ({ tile, holds, segmented = false }) => {
    const { rows, columns, ownRows, ownVec4s, terms } = tile;
    const lanes = countInvocations(tile);
    const [quads, span] = [terms / 4, columns / 4];
    const cells = numbers(ownRows).flatMap((r) => numbers(ownVec4s).map((v) => [r, v] as const));
    const fetchesA = numbers(rows * quads / lanes);
    const fetchesB = numbers(terms * span / lanes);
    const fetch = (from: string) =>
      lines([
        fetchesA.map((i) =>
          `next_a${i} = fetch_a(a_from${i}, first_row + a_row${i}, ${from} + a_term${i});`
        ),
        fetchesB.map((i) =>
          `next_b${i} = fetch_b(b_from${i}, first_column + b_column${i}, ${from} + b_term${i});`
        ),
        count(from),
      ]);
    const store = (slice: number) =>
      lines([
        fetchesA.map((i) => `a_tile[${slice}][a_row${i}][a_term${i} / 4u] = element(next_a${i});`),
        fetchesB.map((i) => `b_tile[${slice}][b_term${i}][b_column${i}] = element(next_b${i});`),
      ]);
    const half = holds === "f16";
    /** What the products of a slice are added to: in f16 a sum of its own, `h0_0` for `c0_0`. */
    const sum = (r: number, v: number) => `${half ? "h" : "c"}${r}_${v}`;
    const products = (slice: number) => productLines(tile, slice, sum);
    const multiply = (slice: number) =>
      !half ? products(slice) : lines([
        "{",
        cells.map(([r, v]) => `var h${r}_${v} = Element();`).join(" "),
        products(slice),
        cells.map(([r, v]) => `c${r}_${v} += vec4f(h${r}_${v});`),
        "}",
      ]);
    /**
     * In f16, counts what is fetched beyond its range, by the first tiles of either matrix alone:
     * once.
     */
    const count = (from: string) =>
      !half ? [] : [
        `if (first_column == 0u) { ${
          fetchesA.map((i) => `beyond += beyond_of(next_a${i}, ${from} + a_term${i}, params.k);`)
            .join(
              " ",
            )
        } }`,
        `if (first_row == 0u) { ${
          fetchesB.map((i) => `beyond += beyond_of(next_b${i}, 0u, 4u);`).join(" ")
        } }`,
      ];
    const composed = compose(code, {
      matmul_tail: tail,
      element: half ? halfCode : SINGLE,
      ...segmented ? LONG_SUMS : SHORT_SUMS,
      places: placeLines(tile, fetchesA, fetchesB, quads, lanes),
      sums: cells.map(([r, v]) => `var c${r}_${v} = vec4f();`).join(" "),
      fetch_first: lines([
        half ? "var beyond = 0u;" : [],
        fetchesA.map((i) => `var next_a${i} = vec4f();`),
        fetchesB.map((i) => `var next_b${i} = vec4f();`),
        fetch("begin"),
      ]),
      store_first: store(0),
      slice_0: lines([fetch("k"), multiply(0), store(1)]),
      slice_1: lines([fetch("k + TERMS"), multiply(1), store(0)]),
      finish_all: lines([
        half ? "if (beyond > 0u) { atomicAdd(&saturated, beyond); }" : [],
        finishAll(cells.map(([r, v]) => `c${r}_${v}`), (sum) => {
          const place = `first_row + row + (i / ${ownVec4s}u) * ROW_STEP, first_column + column ` +
            `+ (i % ${ownVec4s}u) * COLUMN_STEP`;
          if (segmented) return `finish_segment(model, segment, ${place}, ${sum});`;
          return `finish(model, ${place}, ${half ? `checked(model, ${place}, ${sum})` : sum});`;
        }),
      ]),
    }, { ...tileConstants(tile), SEGMENT: LONG_SEGMENT });
    return half ? "enable f16;\n" + composed : composed;
  },
);

/**
 * A product `A · B` without a tail sums this many terms apart where it has more: a multiple of two
 * slices.
 */
export const LONG_SEGMENT = 4096;

/**
 * Estimates how `A · B` without a tail is done soonest: with which tile, and in how many segments
 * of the terms, each of which has workgroups of its own. With 0 segments a workgroup takes all
 * terms of its tile. The choice changes no bit.
 */
export function planLong(
  { m, n4, k, models }: { m: number; n4: number; k: number; models: number },
): { tile: Tile; segments: number } {
  const segments = Math.ceil(k / LONG_SEGMENT);
  const whole = chooseTile(m, n4, models);
  const split = chooseTile(m, n4, models * segments);
  const time = (tile: Tile, parts: number) => estimateTime(tile, m, n4, models * parts) / parts;
  const pays = segments > 1 && time(split, segments) < 0.9 * time(whole, 1) &&
    4 * partsSize(m, n4, segments, models) <= MOST_PARTS;
  return pays ? { tile: split, segments } : { tile: whole, segments: 0 };
}

/**
 * Terms of a segment of a sum in `Aᵀ · B`, a multiple of two slices: segments are summed one by one
 * and then added.
 */
export const SEGMENT = 512;
/**
 * Most bytes that the segments of a product may take. A product that would need more has tiles
 * enough without them.
 */
const MOST_PARTS = 64 * 2 ** 20;

/**
 * Counts the segments of `Aᵀ · B` that have a workgroup each: all of them where the product has too
 * few tiles for all multiprocessors; none (0) where it has enough, or where there is one segment.
 * This changes no bit of C.
 */
export function countSplits(
  m: number,
  n4: number,
  k: number,
  models: number,
  tile = chooseTile(m, n4, models),
): number {
  const segments = Math.ceil(k / SEGMENT);
  const isFew = countWorkgroups(tile, m, n4) * models < MULTIPROCESSORS;
  return segments > 1 && isFew && 4 * partsSize(m, n4, segments, models) <= MOST_PARTS
    ? segments
    : 0;
}

/** Counts the f32 values of all segments, before they are added. */
export function partsSize(m: number, n4: number, segments: number, models: number): number {
  return 4 * models * segments * (m * n4 + Math.ceil(m / 4));
}

/** Writes how the products of a slice of both tiles of `Aᵀ · B` are added to their sums. */
function transposedProductLines({ ownRows, ownVec4s, terms }: Tile, slice: number): string {
  const ownRow4s = ownRows / 4;
  const add = (r: number, v: number) =>
    XYZW.map((part) => `c${r}${part}_${v} = fma(vec4f(x${r}.${part}), y${v}, c${r}${part}_${v});`)
      .join(" ");
  return lines(
    numbers(terms).map((term) => [
      "{",
      unroll(ownRow4s, (r) => `let x${r} = a_tile[${slice}][${term}][row${r}];`),
      unroll(ownVec4s, (v) => `let y${v} = b_tile[${slice}][${term}][column${v}];`),
      unroll(ownRow4s, (r) => unroll(ownVec4s, (v) => add(r, v))),
      unroll(ownRow4s, (r) => `if (sums_columns) { sum${r} += x${r}; }`),
      "}",
    ]),
  );
}

/** Writes WGSL of `Aᵀ · B`. */
export const matmulTransposedWorkgroup: (tile: Tile) => string = remembered((tile: Tile) => {
  const { rows, columns, ownRows, ownVec4s, terms } = tile;
  const lanes = countInvocations(tile);
  const [down, span] = [rows / 4, columns / 4];
  const ownRow4s = ownRows / 4;
  const cells = numbers(ownRow4s).flatMap((r) => numbers(ownVec4s).map((v) => [r, v] as const));
  const fetchesA = numbers(terms * down / lanes);
  const fetchesB = numbers(terms * span / lanes);
  const fetch = (from: string) =>
    lines([
      fetchesA.map((i) =>
        `next_a${i} = fetch_a(a_start + a_row${i}, first_row4 + a_row${i}, ${from} + a_term${i});`
      ),
      fetchesB.map((i) =>
        `next_b${i} = fetch_b(b_start + b_column${i}, first_column + b_column${i}, ` +
        `${from} + b_term${i});`
      ),
    ]);
  const store = (slice: number) =>
    lines([
      fetchesA.map((i) => `a_tile[${slice}][a_term${i}][a_row${i}] = next_a${i};`),
      fetchesB.map((i) => `b_tile[${slice}][b_term${i}][b_column${i}] = next_b${i};`),
    ]);
  const multiply = (slice: number) => transposedProductLines(tile, slice);
  return compose(transposedCode, {
    matmul_transposed_bindings: transposedBindings,
    places: lines([
      unroll(ownRow4s, (r) => `let row${r} = row + ${r}u * ROW_STEP;`),
      unroll(ownVec4s, (v) => `let column${v} = column + ${v}u * COLUMN_STEP;`),
      fetchesA.map((i) =>
        `let a_term${i} = (lane + ${i * lanes}u) / DOWN; let a_row${i} = (lane + ${
          i * lanes
        }u) % DOWN;`
      ),
      fetchesB.map((i) =>
        `let b_term${i} = (lane + ${i * lanes}u) / SPAN; let b_column${i} = (lane + ${
          i * lanes
        }u) % SPAN;`
      ),
    ]),
    sums: lines([
      unroll(ownRow4s, (r) => `var sum${r} = vec4f();`),
      cells.map(([r, v]) => XYZW.map((part) => `var c${r}${part}_${v} = vec4f();`).join(" ")),
    ]),
    fetch_first: lines([
      fetchesA.map((i) => `var next_a${i} = vec4f();`),
      fetchesB.map((i) => `var next_b${i} = vec4f();`),
      fetch("begin"),
    ]),
    store_first: store(0),
    slice_0: lines([fetch("k"), multiply(0), store(1)]),
    slice_1: lines([fetch("k + TERMS"), multiply(1), store(0)]),
    store_sums: unroll(
      ownRow4s,
      (r) => `if (sums_columns) { finish_sum(model, segment, first_row4 + row${r}, sum${r}); }`,
    ),
    finish_all: finishAll(
      cells.flatMap(([r, v]) => XYZW.map((part) => `c${r}${part}_${v}`)),
      (sum) =>
        `finish(model, segment, (first_row4 + row + (i / ${
          4 * ownVec4s
        }u) * ROW_STEP) * 4u + i % 4u, ` +
        `first_column + column + (i / 4u % ${ownVec4s}u) * COLUMN_STEP, ${sum});`,
    ),
  }, { ...tileConstants(tile), SEGMENT });
});
