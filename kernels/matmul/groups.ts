/**
 * Products over groups of rows. The rows of all models of a bank lie in one matrix, group after
 * group; a buffer says where the group of each model begins and how many rows it has. The WGSL is
 * that of a bank whose models have equally many rows, except that these two numbers are read from
 * the buffer.
 */

import type { GpuBuffer } from "../device/gpu.ts";
import { replace } from "../device/wgsl.ts";

/** Where the rows of each model of a bank lie. Matrices `[rows, …]` then have `model` 0. */
export interface Groups {
  /** u32 `[first + models, 2]`: first row and number of rows of each model. */
  buffer: GpuBuffer;
  /** Entry of model 0. Default: 0. */
  first?: number;
}

/** Which parts of a WGSL text are replaced by what the groups say. */
interface GroupedText {
  /**
   * The name of the size that is the number of rows of a group: rows of the product, or terms of
   * its sums.
   */
  rows: "m" | "k";
  /** Names of the matrices whose rows lie in groups. */
  matrices: readonly string[];
  /** Binding of the groups. */
  binding: number;
}

/**
 * Turns the text of a product over a bank into one over groups; its params begin with the entry of
 * model 0. Numbers are read in `main` from a uniform place, so that barriers stay legal; helper
 * functions take them from private variables.
 */
export function groupedText(text: string, { rows, matrices, binding }: GroupedText): string {
  const [head, main] = replace(text, "@compute", "\0@compute").split("\0");
  const among = (part: string, start: string, count: string) => {
    const sized = part.replaceAll(new RegExp(`\\bparams\\.${rows}\\b`, "g"), count);
    return matrices.reduce((text, name) =>
      text.replaceAll(
        new RegExp(`\\bparams\\.${name}_offset\\b`, "g"),
        `(params.${name}_offset + ${start} * params.${name}_stride)`,
      ), sized);
  };
  const declarations = `@group(0) @binding(${binding}) var<storage, read> groups: ` +
    "array<u32>;\nvar<private> own_start: u32;\n" +
    "var<private> own_rows: u32;\n\n";
  const entry = `  let group_start = groups[2u * (params.group_first + group.z)];
  let group_rows = groups[2u * (params.group_first + group.z) + 1u];
  own_start = group_start;
  own_rows = group_rows;
`;
  return replace(
    among(head, "own_start", "own_rows"),
    "struct Params {",
    "struct Params {\n  group_first: u32,",
  ) +
    declarations +
    replace(
      among(main, "group_start", "group_rows"),
      /(fn main\([^{]*\{\n)/,
      (_, start) => start + entry,
    );
}
