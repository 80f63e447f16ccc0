/**
 * Reads what a derived run is made of in the other run: its nodes, as they were when that was planned, and their rows.
 *
 * @module
 */

import { InputError } from "../../kernels/errors.ts";
import { type Manifest, readManifest } from "../graph/manifest.ts";
import type { Making } from "../graph/node.ts";
import { toBatch, toTable } from "../rows/arrow.ts";
import type { Columns } from "../rows/columns.ts";
import type { Numeric, Rows } from "../rows/random_access.ts";
import type { Block } from "../text/blocks.ts";
import type { Derivation } from "./derivation.ts";
import { openNeeded, writeRows } from "./token_rows.ts";
import { ROWS, tokensOf } from "./tokenize.ts";

/** Gives the folder of the other run that a node of a derived one is made of, and its manifest, which must be the one that was planned. */
export async function nodeBefore(
  { from, kept }: Derivation,
  name: string,
): Promise<{ path: string; manifest: Manifest }> {
  const path = name.startsWith("/") ? name : `${from}/${name}`;
  const manifest = await readManifest(path);
  if (manifest?.key === kept[name]) return { path, manifest };
  const fact = manifest ? "it was made anew meanwhile" : "it is not there";
  throw new InputError(
    `Cannot derive from "${from}" as it must be as it was when that was planned: ${fact}`,
    {
      where: path,
      remedy: "derive again, into another folder",
    },
  );
}

/** Numbers the rows of a block's side that stay: those of documents that are not forgotten. */
export async function rowsLeft(
  derivation: Derivation,
  block: Pick<Block, "name">,
  side: string,
  ids: ReadonlySet<bigint>,
): Promise<Float64Array> {
  using tokens = await openBefore(derivation, tokensOf(block), side);
  const all = Float64Array.from({ length: tokens.count }, (_, row) => row);
  const { document } = tokens.read(all, ["document"]);
  return all.filter((row) => !ids.has(document[row]));
}

/** Opens the rows of a file of a node of the other run. */
export async function openBefore(derivation: Derivation, need: string, file: string): Promise<Rows> {
  const { path, manifest } = await nodeBefore(derivation, need);
  return await openNeeded({ path: () => path, manifest: () => manifest }, [{ need, file }]);
}

/** Writes the rows of a file of the other run that stay, and counts them. */
export async function keepRows(
  making: Making,
  derivation: Derivation,
  need: string,
  file: string,
  names: readonly (Numeric | "source")[],
  { block, ids }: { block: Block; ids: ReadonlySet<bigint> },
): Promise<number> {
  const left = await rowsLeft(derivation, block, file, ids);
  using rows = await openBefore(derivation, need, file);
  return await writeRows(
    making,
    file,
    batchesOf(rows, left, names),
    batchOf(rows, left.subarray(0, 0), names),
  );
}

/** Reads these rows in batches. */
export function* batchesOf(rows: Rows, numbers: Float64Array, names: readonly (Numeric | "source")[]) {
  for (let at = 0; at < numbers.length; at += ROWS) {
    yield batchOf(rows, numbers.subarray(at, at + ROWS), names);
  }
}

/** Makes a batch of these rows. */
export function batchOf(rows: Rows, numbers: Float64Array, names: readonly (Numeric | "source")[]) {
  const { rows: count, ...columns } = rows.read(numbers, names);
  return names.includes("length")
    ? toBatch({ rows: count, ...columns } as unknown as Columns, rows.lineage!)
    : toTable(columns as unknown as Record<string, Float32Array>, rows.lineage!);
}
