/**
 * The form of attention for GPUs. This file writes the unrolled loops of its WGSL, and decides how much of q
 * stays in workgroup memory.
 */

import type { Gpu } from "../device/gpu.ts";
import { numbers, unroll } from "../device/subgroup.ts";

/** Adds the products of up to 8 vec4s of terms in `left` with those in `right` to 4 rows, in ascending order. */
function multiplyText(left: (row: string) => string): string {
  return numbers(8).map((quad) =>
    [
      `if (terms4 > ${quad}u) {`,
      unroll(4, (term) => `let y${term} = right[${4 * quad + term}][column];`),
      unroll(4, (i) =>
        `rows[${i}] = add_terms(rows[${i}], ${left(`row + ${8 * i}u`)}[${quad}], y0, y1, y2, y3);`),
      "}",
    ].join("\n")
  ).join("\n");
}

/** The loops that the texts include. */
export const MULTIPLY_LEFT = { multiply_left: multiplyText((row) => `left[${row}]`) };
/** The loop that only the text of the forward pass includes. */
export const MULTIPLY_KEPT = { multiply_kept: multiplyText((row) => `kept[part][${row}]`) };

/** Bytes of a part of 32 columns of q, and of all other workgroup memory of the forward pass. */
const [PART_BYTES, OTHER_BYTES] = [32 * 9 * 16, (32 * 9 + 32 * 8 + 64) * 16];

/**
 * Says how many parts of a head stay in workgroup memory: all of them if they have room there, otherwise one.
 * The text for large heads uses none.
 */
export function keptParts(
  { capabilities: { limits } }: Pick<Gpu, "capabilities">,
  head4: number,
): number {
  const parts = Math.ceil(head4 / 8);
  return parts * PART_BYTES + OTHER_BYTES <= limits.maxComputeWorkgroupStorageSize ? parts : 1;
}
