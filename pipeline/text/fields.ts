/**
 * A document, how documents are read, and the messages about the fields and columns that they are read from.
 *
 * @module
 */

import { type InputError, say, setting } from "../../kernels/errors.ts";
import { oneLine, unreadable } from "../run/files.ts";
import type { Configuration } from "../settings/configuration.ts";

/** A text and where it is from. */
export interface Document {
  /** The text. */
  text: string;
  /** Domain or file label, "" if none; never shown to a model. */
  source: string;
  /**
   * Its token ids, where these were read; `text` is then the text that they stand for. A last EOS is left
   * out.
   */
  tokens?: Uint32Array;
  /** Its line in its file, from 1, or its row, from 0; absent where the file is the document. */
  place?: number;
  /** Characters at its beginning that are a prompt: the rest alone counts in a loss, and the prompt alone routes. */
  prompt?: number;
  /** The side of the split that it is on, where its text alone does not decide that. */
  side?: "train" | "test";
}

/** How to read documents: settings of the text, as a configuration has them, and what a script may add. */
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
   * Opens the tokenizer of ids in `tokenColumn`. It tells how many ids there are, which one closes and pads documents,
   * and what text they stand for.
   */
  tokenizer?: () => Promise<
    { readonly vocabulary: number; readonly eos: number; decode(ids: ArrayLike<number>): Promise<string> }
  >;
  /** Source of documents that name none; "" by default. */
  source?: string;
  /** Accepts inputs without any text, because there are other inputs as well. */
  mayBeEmpty?: boolean;
  /** Replaces standard input. */
  standardInput?: ReadableStream<Uint8Array>;
}

/** The tokenizer that ids are read with. */
export type TokenReader = Awaited<ReturnType<NonNullable<ReadOptions["tokenizer"]>>>;

/**
 * Makes the error of a field or column that is not there: it lists those that are, and names the setting that
 * names another.
 */
export function lacks(name: string, rule: string, what: string, names: string[], option: string): InputError {
  const more = names.length - MOST_NAMES;
  const list = names.slice(0, MOST_NAMES).map((name) => `"${shown(name)}"`).join(", ") || "none";
  return unreadable(name, rule, `${what} has ${list}${more > 0 ? ` and ${more} more` : ""}`, {
    remedy: say`name it with ${setting(option)}`,
  });
}

/** Most names of fields or columns that a message lists. */
const MOST_NAMES = 20;
/** Longest name that a message tells whole. */
const LONGEST_NAME = 60;

/** Writes a name that a file gave on one line, and not too long. */
function shown(name: string): string {
  const line = oneLine(name);
  return line.length <= LONGEST_NAME ? line : `${line.slice(0, LONGEST_NAME)}…`;
}

/** Most characters of a label: every row that comes of a document holds it. */
const LONGEST_LABEL = 65_536;

/**
 * Gives a value as a label; `source` where there is none. `place` is where it stands. Throws an `InputError` for
 * one that is too long, or nested too deeply to be written.
 */
export function asLabel(value: unknown, source: string, place: string): string {
  if (value === null || value === undefined || Number.isNaN(value)) return source;
  const label = typeof value === "string" || typeof value === "bigint" ? `${value}` : writeJson(value);
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

/** Gives the first `length` UTF-16 units, or one less where that would split a surrogate pair. */
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
