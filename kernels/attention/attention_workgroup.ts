/**
 * The variant of attention for GPUs: writes WGSL of its three passes. What an invocation does row
 * by row, and part by part of a head, is unrolled here, so that its private values stay in
 * registers: `sums1[3]` is row 3 of the sums of part 1.
 */

import type { Gpu } from "../device/gpu.ts";
import { numbers, remembered, unroll, XYZW } from "../device/subgroup.ts";
import { compose } from "../device/wgsl.ts";
import loadCode from "./attention_backward_load.wgsl" with { type: "text" };
import keyCode from "./attention_backward_key_workgroup.wgsl" with { type: "text" };
import mergedCode from "./attention_backward_merged.wgsl" with { type: "text" };
import queryCode from "./attention_backward_query_workgroup.wgsl" with { type: "text" };
import splitCode from "./attention_backward_split.wgsl" with { type: "text" };
import forwardCode from "./attention_forward_workgroup.wgsl" with { type: "text" };
import keepCode from "./attention_keep_query.wgsl" with { type: "text" };
import productsReadCode from "./attention_products_read.wgsl" with { type: "text" };
import productsTakenCode from "./attention_products_taken.wgsl" with { type: "text" };
import readCode from "./attention_read_query.wgsl" with { type: "text" };
import tilesCode from "./attention_tiles.wgsl" with { type: "text" };

/** Sizes that the texts depend on. */
export interface BlockShape {
  /** Vec4s of a head. */
  head4: number;
  /** Queries or keys that a workgroup holds: 32 or 64. */
  rows: number;
  /** Heads of queries that share a head of keys and values. */
  share: number;
}

/** The passes. */
export type BlockPass = "forward" | "query" | "key";

/**
 * Most vec4s of a head with which a workgroup holds 64 rows in each pass: beyond it its sums leave
 * the registers.
 */
const MOST_OF_64: Record<BlockPass, number> = { forward: 16, query: 16, key: 8 };

/** Returns how many queries or keys a workgroup holds. The number changes no bit. */
export function rowsOfBlock(
  pass: BlockPass,
  { head4, length }: { head4: number; length: number },
): number {
  return length > 32 && head4 <= MOST_OF_64[pass] ? 64 : 32;
}

const countParts = (head4: number) => Math.ceil(head4 / 8);
const bytesOfTile = (rows: number) => rows * 9 * 16;

/**
 * Returns whether a block's q stays in workgroup memory. It does where there is room for it next to
 * what the forward pass needs in any case.
 */
export function keepsQuery(
  { capabilities: { limits } }: Pick<Gpu, "capabilities">,
  { head4, rows }: Pick<BlockShape, "head4" | "rows">,
): boolean {
  const sharedBytes = bytesOfTile(rows) + 32 * 8 * 16 + (rows / 32) * 64 * 16;
  return countParts(head4) * bytesOfTile(rows) + sharedBytes <=
    limits.maxComputeWorkgroupStorageSize;
}

/**
 * Adds the products of up to 8 vec4s of terms in `left` with those in `right` to an invocation's
 * rows, in ascending order.
 */
function multiplyText(laneRows: number, left: (row: string) => string): string {
  return numbers(8).map((quad) =>
    [
      `if (terms4 > ${quad}u) {`,
      unroll(4, (term) => `let y${term} = right[${4 * quad + term}][column];`),
      unroll(
        laneRows,
        (i) =>
          `rows[${i}] = add_terms(rows[${i}], ${
            left(`row + ${8 * i}u`)
          }[${quad}], y0, y1, y2, y3);`,
      ),
      "}",
    ].join("\n")
  ).join("\n");
}

/** Lines that the passes share. */
function sharedLines({ head4, rows, share }: BlockShape) {
  const [laneRows, parts] = [rows / 8, countParts(head4)];
  return {
    laneRows,
    parts,
    constants: { HEAD4: head4, ROWS: rows, SHARE: share },
    tiles: compose(tilesCode, { multiply_left: multiplyText(laneRows, (row) => `left[${row}]`) }),
    /** Sums of all parts of the invocation's rows. */
    sums: (name: string) => unroll(parts, (part) => `var ${name}${part} = Rows();`),
    /** Puts one value of each row into `left`. */
    fillLeft: (value: (i: number) => string) =>
      unroll(laneRows, (i) => `left[row + ${8 * i}u][lane % 8u] = ${value(i)};`),
    /**
     * Adds `left` times the rows of a tensor, from `firstRow` on, to the sums of each part. Each
     * part begins with the lines of `prologue`.
     */
    addProducts: (
      sums: string,
      tensor: string,
      firstRow: string,
      prologue: (part: number) => string = () => "",
    ) =>
      unroll(parts, (part) =>
        [
          `fill_right(lane, ${tensor}, base, ${firstRow}, ${part}u);`,
          "workgroupBarrier();",
          prologue(part),
          `${sums}${part} = multiply(lane, ${sums}${part}, 8u);`,
          "workgroupBarrier();",
        ].filter(Boolean).join("\n")),
    /** Stores the invocation's rows of `[…, length, HEAD4]` tensors, by the sums that they take. */
    storeRows: (tensors: Record<string, string>) =>
      unroll(laneRows, (i) =>
        `{ let at = first + row + ${8 * i}u; if (at < params.length) { ` +
        unroll(parts, (part) => {
          const stores = Object.entries(tensors).map(([tensor, sums]) =>
            `${tensor}[(base + at) * HEAD4 + ${8 * part}u + lane % 8u] = ${sums}${part}[${i}];`
          ).join(" ");
          return `if (lane % 8u < ${head4 - 8 * part}u) { ${stores} }`;
        }, " ") +
        " } }"),
  };
}

/** Returns the WGSL of the forward pass. */
export const attentionForwardWorkgroup: (shape: BlockShape & { keep: boolean }) => string =
  remembered(
    ({ keep, ...shape }) => {
      const { laneRows, parts, constants, tiles, ...lines } = sharedLines(shape);
      const fours = numbers(laneRows / 4);
      /** Names the component that belongs to row `i`: a vec4 holds those of four rows. */
      const component = (name: string, i: number) => `${name}${i >> 2}.${XYZW[i & 3]}`;
      const multiplyKept = multiplyText(laneRows, (row) => `kept[part][${row}]`);
      return compose(forwardCode, {
        attention_tiles: tiles,
        scores: keep ? compose(keepCode, { multiply_kept: multiplyKept }) : readCode,
        store_parts: unroll(
          parts,
          (part) => `store_part(row, head, ${32 * part}u + lane % 8u * 4u, values[${part}]);`,
        ),
        sums: [
          lines.sums("sums"),
          ...fours.map((four) => `var peak${four} = vec4f(LOWEST); var total${four} = vec4f();`),
        ].join("\n"),
        mask_scores: [
          unroll(
            laneRows,
            (i) =>
              `scores[${i}] = select(vec4f(LOWEST), scores[${i}], key <= vec4u(first + row + ${
                8 * i
              }u));`,
          ),
          ...fours.map((four) =>
            `shared_rows[${four}][lane] = vec4f(${
              unroll(4, (i) => `peak_of(scores[${4 * four + i}])`, ", ")
            });`
          ),
        ].join("\n"),
        weigh_keys: [
          ...fours.map((four) =>
            `let higher${four} = highest_of(${four}u, lane, peak${four}); ` +
            `let shrink${four} = exp(peak${four} - higher${four}); ` +
            `peak${four} = higher${four};`
          ),
          unroll(laneRows, (i) =>
            `scores[${i}] = exp(scores[${i}] - ${component("peak", i)}); ` +
            `${component("total", i)} = fma(${component("total", i)}, ${component("shrink", i)}, ` +
            `sum_of(scores[${i}]));`),
          lines.fillLeft((i) => `scores[${i}]`),
        ].join("\n"),
        add_values: lines.addProducts(
          "sums",
          "V",
          "keys",
          (part) => unroll(laneRows, (i) => `sums${part}[${i}] *= ${component("shrink", i)};`, " "),
        ),
        share_totals: unroll(fours.length, (four) => `shared_rows[${four}][lane] = total${four};`),
        store_rows: [
          ...fours.map((four) => `total${four} = total_of(${four}u, lane);`),
          unroll(laneRows, (i) => {
            const values = unroll(
              parts,
              (part) => `sums${part}[${i}] / ${component("total", i)}`,
              ", ",
            );
            return `store_row(lane, base, place, first + row + ${
              8 * i
            }u, array<vec4f, PARTS>(${values}), ` +
              `${component("peak", i)} + log(${component("total", i)}));`;
          }),
        ].join("\n"),
      }, constants);
    },
  );

/**
 * Returns the WGSL of the queries' gradient. Where heads are whole vec4s (`merged`) it reads d_out
 * and out instead of d_heads and product, and writes the latter.
 */
export const attentionBackwardQueryWorkgroup: (shape: BlockShape & { merged: boolean }) => string =
  remembered(
    ({ merged, ...shape }) => {
      const { laneRows, constants, tiles, ...lines } = sharedLines(shape);
      return compose(queryCode, {
        gradient: merged ? mergedCode : splitCode,
        products: merged ? productsTakenCode : productsReadCode,
        attention_backward_load: loadCode,
        attention_tiles: tiles,
        rows: [
          lines.sums("sums"),
          unroll(
            laneRows,
            (i) =>
              `let shift${i} = lse[base + min(first + row + ${8 * i}u, params.length - 1u)]; ` +
              `let mean${i} = product_of(base, first, row + ${8 * i}u);`,
          ),
        ].join("\n"),
        weigh_keys: lines.fillLeft((i) =>
          `select(vec4f(), exp(scores[${i}] - shift${i}) * (gains[${i}] - mean${i}), ` +
          `key <= vec4u(first + row + ${8 * i}u))`
        ),
        add_keys: lines.addProducts("sums", "K", "keys"),
        store_rows: lines.storeRows({ d_q: "sums" }),
      }, constants);
    },
  );

/**
 * Returns the WGSL of the keys' and values' gradients; `merged` as in
 * {@link attentionBackwardQueryWorkgroup}.
 */
export const attentionBackwardKeyWorkgroup: (shape: BlockShape & { merged: boolean }) => string =
  remembered(
    ({ merged, ...shape }) => {
      const { laneRows, constants, tiles, ...lines } = sharedLines(shape);
      return compose(keyCode, {
        gradient: merged ? mergedCode : splitCode,
        attention_backward_load: loadCode,
        attention_tiles: tiles,
        sums: `${lines.sums("key_sums")}\n${lines.sums("value_sums")}`,
        weigh_queries: [
          unroll(laneRows, (i) =>
            `scores[${i}] = select(vec4f(), exp(scores[${i}] - shift), ` +
            `(query >= vec4u(first + row + ${8 * i}u)) & (query < vec4u(params.length))); ` +
            `gains[${i}] = scores[${i}] * (gains[${i}] - mean);`),
          lines.fillLeft((i) => `scores[${i}]`),
        ].join("\n"),
        add_values: lines.addProducts("value_sums", "D_HEADS", "queries"),
        add_keys: `${lines.fillLeft((i) => `gains[${i}]`)}\n${
          lines.addProducts("key_sums", "Q", "queries")
        }`,
        store_rows: lines.storeRows({ d_k: "key_sums", d_v: "value_sums" }),
      }, constants);
    },
  );
