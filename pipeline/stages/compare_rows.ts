/** Compares, row by row, what the stages of a partition say of the same sequences. */

import type { Columns, RecordBatch } from "../rows/arrow.ts";
import { closeCursor, type Cursor, fill, openCursor, placeOf, rowsLeft } from "../rows/cursor.ts";

/** The rows of one kind, training or held-out, as each stage has them. */
interface RowSources {
  /** The token rows: all sequences, in their order. */
  tokens: ReadableStream<RecordBatch>;
  /** The scores of these rows, with the experts that assigning them again gives. */
  assigned?: ReadableStream<RecordBatch>;
  /** The assignments on disk. */
  assignments?: ReadableStream<RecordBatch>;
  /** The shards of each expert, which keep the order of the tokens. */
  parts: ReadableStream<RecordBatch>[];
}

/** Takes something that is wrong, and where; returns false to end the comparison. */
type OnDifference = (place: string, what: string) => boolean;
type Differ = (at: Cursor, what: string) => void;

/**
 * Checks that every token row is in exactly one expert's shards, unchanged, in the expert that its scores give. Walks all
 * streams once, side by side, in the memory of a batch of each.
 *
 * @returns The rows found in each expert's shards, `[E]`.
 */
export async function compareRows(
  { assigned, assignments, ...sources }: RowSources,
  onDifference: OnDifference,
  onRows: (rows: number) => void = () => {},
): Promise<number[]> {
  const tokens = openCursor(sources.tokens), parts = sources.parts.map(openCursor);
  const loads = parts.map(() => 0);
  const beside = new Map<string, Cursor>();
  if (assigned) beside.set("scores", openCursor(assigned));
  if (assignments) beside.set("assignments", openCursor(assignments));
  let goOn = true;
  const differ: Differ = (at, what) => goOn = onDifference(placeOf(at), what) && goOn;

  /** The row of scores or assignments beside the current token row, as long as both are in step. */
  const rowBeside = async (name: string, id: bigint): Promise<Cursor | undefined> => {
    const cursor = beside.get(name);
    if (cursor === undefined || await isAt(cursor, id)) return cursor;
    const found = rowsLeft(cursor) === 0 ? "its end" : `sequence ${idOf(cursor)}`;
    differ(cursor, `${name} must follow the tokens: here they have sequence ${id}, it has ${found}`);
    await closeCursor(cursor);
    beside.delete(name);
  };

  try {
    while (goOn && await fill(tokens)) {
      const id = idOf(tokens);
      const scored = await rowBeside("scores", id), recorded = await rowBeside("assignments", id);
      const said = scored ?? recorded;
      const expected = said?.columns.expert?.[said.row];
      const expert = await findPart(parts, id, expected, differ);
      if (expert === undefined) {
        const what = `sequence ${id} must be in one expert's shards, in the order of the tokens: it is not`;
        differ(tokens, what);
      } else {
        const part = parts[expert];
        loads[expert]++;
        checkSame(part, tokens, ["document", "source", "length", "tokens"], differ);
        if (scored) checkSame(part, scored, ["nll"], differ);
        if (expected !== undefined && expected !== expert) {
          differ(part, `sequence ${id} must be with the expert of its scores: that is ${expected}`);
        }
        part.row++;
      }
      if (scored && recorded) checkSame(recorded, scored, ["nll", "expert"], differ);
      for (const cursor of [tokens, scored, recorded]) if (cursor) cursor.row++;
      if (rowsLeft(tokens) === 0) onRows(tokens.before + tokens.row);
    }
    for (const cursor of [...parts, ...beside.values()]) {
      if (!goOn || !await fill(cursor)) continue;
      const place = placeOf(cursor);
      let rows = 0;
      for (; await fill(cursor); cursor.row = cursor.columns.rows) rows += rowsLeft(cursor);
      goOn = onDifference(place, `the tokens have no more rows, or not in this order: ${rows} follow here`);
    }
  } finally {
    for (const cursor of [tokens, ...parts, ...beside.values()]) await closeCursor(cursor);
  }
  return loads;
}

/** Gives the sequence at which a cursor is. */
const idOf = ({ columns, row }: Cursor): bigint => columns.sequence[row];

const isAt = async (cursor: Cursor, id: bigint): Promise<boolean> =>
  await fill(cursor) && idOf(cursor) === id;

/**
 * Finds the expert whose next row is sequence `id`; looks at `likely` first. If there is none, rows that
 * stand before the sequence in a batch are out of place, and are skipped.
 */
async function findPart(
  parts: Cursor[],
  id: bigint,
  likely: number | undefined,
  differ: Differ,
): Promise<number | undefined> {
  if (likely !== undefined && likely < parts.length && await isAt(parts[likely], id)) return likely;
  for (const [expert, part] of parts.entries()) if (await isAt(part, id)) return expert;
  for (const [expert, part] of parts.entries()) {
    const row = part.columns.sequence.indexOf(id, part.row);
    if (row < 0) continue;
    const rows = row - part.row;
    differ(part, `${rows} rows must not be here: they are of no token row, a second time, or out of order`);
    part.row = row;
    return expert;
  }
}

/** Compares columns of the current rows of two cursors. A column that only one of them has counts as different. */
function checkSame(a: Cursor, b: Cursor, names: readonly (keyof Columns)[], differ: Differ) {
  for (const name of names) {
    if (sameValues(a, b, name)) continue;
    differ(a, `${name} of sequence ${idOf(a)} must be that of ${placeOf(b)}: it differs`);
  }
}

function sameValues(a: Cursor, b: Cursor, name: keyof Columns): boolean {
  const [x, y] = [a.columns[name], b.columns[name]] as (Float32Array | undefined)[];
  if (x === undefined || y === undefined) return x === y;
  const width = x.length / a.columns.rows;
  if (width !== y.length / b.columns.rows) return false;
  for (let i = 0; i < width; i++) if (x[a.row * width + i] !== y[b.row * width + i]) return false;
  return true;
}
