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

/** Called with something that is wrong, and where; returns false to end the comparison. */
type OnDifference = (place: string, what: string) => boolean;

/**
 * Checks that every token row is in exactly one expert's shards, unchanged, in the expert that its scores give. Walks all
 * streams once, side by side, in the memory of a batch of each.
 *
 * @returns The rows found in each expert's shards, `[E]`.
 */
export async function compareRows(
  sources: RowSources,
  onDifference: OnDifference,
  onRows: (rows: number) => void = () => {},
): Promise<number[]> {
  const tokens = openCursor(sources.tokens);
  const parts = sources.parts.map(openCursor);
  const loads = parts.map(() => 0);
  const beside: Record<"scores" | "assignments", Cursor | undefined> = {
    scores: sources.assigned && openCursor(sources.assigned),
    assignments: sources.assignments && openCursor(sources.assignments),
  };
  let goOn = true;
  const differ: Differ = (at, what) => goOn = onDifference(placeOf(at), what) && goOn;

  /** The row of scores or assignments beside the current token row, as long as both are in step. */
  const rowBeside = async (name: keyof typeof beside, id: bigint): Promise<Cursor | undefined> => {
    const cursor = beside[name];
    if (cursor === undefined) return undefined;
    if (await fill(cursor) && cursor.columns.sequence[cursor.row] === id) return cursor;
    const found = rowsLeft(cursor) === 0 ? "its end" : `sequence ${cursor.columns.sequence[cursor.row]}`;
    differ(cursor, `${name} must follow the tokens: here they have sequence ${id}, it has ${found}`);
    await closeCursor(cursor);
    return beside[name] = undefined;
  };

  try {
    while (goOn && await fill(tokens)) {
      const id = tokens.columns.sequence[tokens.row];
      const scored = await rowBeside("scores", id);
      const recorded = await rowBeside("assignments", id);
      const said = scored ?? recorded;
      const expected = said?.columns.expert?.[said.row];
      const expert = await findPart(parts, id, expected, differ);
      if (expert === undefined) {
        differ(
          tokens,
          `sequence ${id} must be in one expert's shards, in the order of the tokens: it is not`,
        );
      } else {
        const part = parts[expert];
        loads[expert]++;
        checkSame(part, tokens, TOKEN_COLUMNS, differ);
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
    for (const cursor of [...parts, beside.scores, beside.assignments]) {
      if (!goOn || !cursor || !await fill(cursor)) continue;
      const place = placeOf(cursor);
      const what = `the tokens have no more rows, or not in this order: ${await drain(cursor)} follow here`;
      goOn = onDifference(place, what);
    }
  } finally {
    for (const cursor of [tokens, ...parts, beside.scores, beside.assignments]) {
      if (cursor) await closeCursor(cursor);
    }
  }
  return loads;
}

type Differ = (at: Cursor, what: string) => void;

const TOKEN_COLUMNS = ["document", "source", "length", "tokens"] as const;

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
  const at = async (expert: number) =>
    await fill(parts[expert]) && parts[expert].columns.sequence[parts[expert].row] === id;
  if (likely !== undefined && likely < parts.length && await at(likely)) return likely;
  for (let expert = 0; expert < parts.length; expert++) if (await at(expert)) return expert;
  for (const [expert, part] of parts.entries()) {
    const row = part.columns.sequence.indexOf(id, part.row);
    if (row < 0) continue;
    const rows = row - part.row;
    differ(part, `${rows} rows must not be here: they are of no token row, a second time, or out of order`);
    part.row = row;
    return expert;
  }
}

/**
 * Compares the columns of the current rows of two cursors. A column that only one of them has counts as
 * different.
 */
function checkSame(a: Cursor, b: Cursor, names: readonly (keyof Columns)[], differ: Differ) {
  for (const name of names) {
    if (sameValues(a, b, name)) continue;
    const id = a.columns.sequence[a.row];
    differ(a, `${name} of sequence ${id} must be that of ${placeOf(b)}: it differs`);
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

/** Counts the rows that are left in a stream, reading it to its end. */
async function drain(cursor: Cursor): Promise<number> {
  let rows = 0;
  while (await fill(cursor)) {
    rows += rowsLeft(cursor);
    cursor.row = cursor.columns.rows;
  }
  return rows;
}
