/**
 * A document, how documents are read, and how one is made of a record: of a line with fields, or a
 * row of a table with columns.
 *
 * @module
 */

import { InputError, say, setting } from "../../kernels/errors.ts";
import { oneLine, unreadable } from "../graph/files.ts";
import { listSome } from "../graph/printable.ts";
import type { Configuration } from "../settings/configuration.ts";

/** A text and where it is from. */
export interface Document {
  /** The text. */
  text: string;
  /** Domain or file label, "" if none; never shown to a model. */
  source: string;
  /**
   * Its token ids, where these were read: `text` is what they stand for. A last EOS is left out.
   */
  tokens?: Uint32Array;
  /** Its line in its file, from 1, or its row, from 0; absent where the file is the document. */
  place?: number;
  /**
   * Characters at its beginning that are a prompt: the rest alone counts in a loss, and the prompt
   * alone routes.
   */
  prompt?: number;
  /** The side of the split that it is on, where its text alone does not decide that. */
  side?: "train" | "test";
}

/**
 * How to read documents: settings of the text, as a configuration has them, and what a script may
 * add.
 */
export interface ReadOptions extends
  Partial<
    Pick<
      Configuration,
      "textField" | "textColumn" | "tokenColumn" | "sourceField" | "sourceFromPath" | "maxDocuments"
    >
  > {
  /** Whether lines say in a field `prompt` how many characters of the text are one. */
  prompts?: boolean;
  /** Format of every input; by its name unless given. */
  format?: string;
  /**
   * Opens the tokenizer of ids in `tokenColumn`. It tells how many ids there are, which one closes
   * and pads documents, and what text they stand for.
   */
  tokenizer?: () => Promise<
    {
      readonly vocabulary: number;
      readonly eos: number;
      decode(ids: ArrayLike<number>): Promise<string>;
    }
  >;
  /** Source of documents that name none; "" by default. */
  source?: string;
  /** Accepts inputs without any text, because there are other inputs as well. */
  mayBeEmpty?: boolean;
  /** Replaces standard input. */
  standardInput?: ReadableStream<Uint8Array>;
}

/** The tokenizer that ids are read with. */
type TokenReader = Awaited<ReturnType<NonNullable<ReadOptions["tokenizer"]>>>;

/** A field or column that is needed, and the setting that names it. */
export interface WantedField {
  name: string;
  option: string;
}

/** A record of a file. */
export interface Found {
  record: Record<string, unknown>; // its values by field or column
  where: string; // what messages call the file, or the batch
  at: number; // its line, from 1, or its row there, from 0
  place?: number; // its row in the file, where that is another one
}

/**
 * Throws an `InputError` where a field or column that is needed is not among `names`: it lists
 * these, and names the setting that names another.
 */
export function checkFields(
  where: string,
  [rule, subject]: readonly [rule: string, what: string],
  names: readonly string[],
  wanted: readonly WantedField[],
): void {
  const missing = wanted.find(({ name }) => !names.includes(name));
  if (!missing) return;
  const fact = `${subject} has ${
    listSome(names.map((name) => `"${shown(name)}"`), MOST_NAMES) || "none"
  }`;
  const remedy = say`name it with ${setting(missing.option)}`;
  throw unreadable(where, `${rule} "${missing.name}"`, fact, { remedy });
}

/**
 * Opens what makes documents of records, of lines or of rows of tables, and lists the fields or
 * columns that it needs: that of the text or of its ids, and that of its source. It throws an
 * `InputError` that names the line or row where a value is of another kind.
 */
export async function openMaker(name: string, options: ReadOptions, unit: "line" | "row") {
  const { textField = "text", textColumn, tokenColumn, sourceField, source = "", prompts } =
    options;
  const text = unit === "line"
    ? { name: textField, option: "textField" }
    : tokenColumn
    ? { name: tokenColumn, option: "tokenColumn" }
    : { name: textColumn || textField, option: "textColumn" };
  const wanted: WantedField[] = [
    text,
    ...sourceField ? [{ name: sourceField, option: "sourceField" }] : [],
  ];
  const reader = await tokenReader(name, options);
  const toDocument = async ({ record, where, at, place = at }: Found): Promise<Document> => {
    if (unit === "line") {
      checkFields(
        where,
        ["every line must have a field", `line ${at}`],
        Object.keys(record),
        wanted,
      );
    }
    const sourceValue = sourceField ? record[sourceField] : undefined;
    const value = record[text.name];
    const named = ArrayBuffer.isView(sourceValue)
      ? Array.from(sourceValue as Uint8Array)
      : sourceValue;
    const label = asLabel(named, source, `${where}, ${unit} ${at},`).toWellFormed();
    if (reader) {
      const tokens = readIds(where, at, text.name, value, reader);
      return { text: await reader.decode(tokens), source: label, tokens, place };
    }
    if (typeof value === "string") { // Parquet may hold JSON
      const prompt = prompts && typeof record.prompt === "number" ? { prompt: record.prompt } : {};
      return { text: value.toWellFormed(), source: label, place, ...prompt };
    }
    const [rule, on] = unit === "line"
      ? [`field "${text.name}" must be a string`, "on"]
      : [`column "${text.name}" must hold strings`, "in"];
    throw unreadable(where, rule, `${on} ${unit} ${at} it is ${describeKind(value)}`);
  };
  return { wanted, toDocument };
}

/** Opens the tokenizer of the ids, if ids are read. */
async function tokenReader(
  place: string,
  { tokenColumn, tokenizer }: ReadOptions,
): Promise<TokenReader | undefined> {
  if (!tokenColumn) return undefined;
  if (tokenizer) return await tokenizer();
  const rule = say`the tokenizer of the ids in ${setting("tokenColumn")} must be named`;
  throw new InputError(say`Cannot read ${place} as ${rule}: it is not`, {
    where: place,
    remedy: say`set ${setting("tokenizer")}`,
  });
}

/** Reads a list of ids. EOS at its end closes or pads it and is left out. */
function readIds(
  place: string,
  row: number,
  column: string,
  value: unknown,
  { vocabulary, eos }: TokenReader,
): Uint32Array {
  const list = Array.isArray(value) || ArrayBuffer.isView(value)
    ? value as ArrayLike<unknown>
    : undefined;
  if (list === undefined) {
    const fact = `in row ${row} it is ${describeKind(value)}`;
    throw unreadable(place, `column "${column}" must hold lists of ids`, fact);
  }
  const ids = new Uint32Array(list.length);
  for (let i = 0; i < ids.length; i++) {
    const id = Number(list[i] ?? NaN);
    if (!(Number.isInteger(id) && id >= 0 && id < vocabulary)) {
      const rule =
        `ids in column "${column}" must be whole numbers below the vocabulary, ${vocabulary}`;
      throw unreadable(place, rule, `in row ${row} one is ${list[i]}`);
    }
    ids[i] = id;
  }
  let end = ids.length;
  while (end > 0 && ids[end - 1] === eos) end--;
  return ids.subarray(0, end);
}

const MOST_NAMES = 20; // most names of fields or columns that a message lists
const LONGEST_NAME = 60; // longest name that a message tells whole

/** Writes a name that a file gave on one line, and not too long. */
function shown(name: string): string {
  const line = oneLine(name);
  return line.length <= LONGEST_NAME ? line : `${line.slice(0, LONGEST_NAME)}…`;
}

// Most characters of a label: every row that comes of a document holds it.
const LONGEST_LABEL = 65_536;

/**
 * Gives a value as a label; `source` where there is none. `place` is where it stands. Throws an
 * `InputError` for one that is too long, or nested too deeply to be written.
 */
export function asLabel(value: unknown, source: string, place: string): string {
  if (value === null || value === undefined || Number.isNaN(value)) return source;
  const label = typeof value === "string" || typeof value === "bigint"
    ? `${value}`
    : writeJson(value);
  if (label !== undefined && label.length <= LONGEST_LABEL) return label;
  const fact = label === undefined ? "it is nested too deeply" : `it has ${label.length}`;
  throw unreadable(place, `its source must have at most ${LONGEST_LABEL} characters`, fact, {
    remedy: say`name what holds it with ${setting("sourceField")}`,
  });
}

/** Writes a value as JSON; undefined where it is nested so deeply that this cannot be done. */
function writeJson(value: unknown): string | undefined {
  try {
    return JSON.stringify(value, (_, v) => typeof v === "bigint" ? `${v}` : v);
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}

/** Returns the first `length` UTF-16 units, or one less to keep a surrogate pair whole. */
export function head(text: string, length: number): string {
  const cut = text.slice(0, length);
  return cut.isWellFormed() ? cut : cut.slice(0, -1);
}

/** Names the kind of a value. */
export function describeKind(value: unknown): string {
  if (value === null || value === undefined) return "null";
  if (Array.isArray(value)) return "an array";
  return typeof value === "object" ? "an object" : `a ${typeof value}`;
}
