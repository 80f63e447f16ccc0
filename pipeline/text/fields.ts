/**
 * A document, how it is read, and what is told of the fields and columns that it is read from.
 *
 * @module
 */

import { type InputError, say, setting } from "../../kernels/errors.ts";
import { unreadable } from "../run/files.ts";
import type { Vouched } from "../run/vouched.ts";

/** A text and where it is from. */
export interface Document {
  /** The text. */
  text: string;
  /** Domain or file label, "" if none; never shown to a model. */
  source: string;
  /** Its ids, where they were read rather than its text, which is what they say; EOS at the end is left out. */
  tokens?: Uint32Array;
}

/** How to read documents. */
export interface ReadOptions {
  /** Format of every input: "txt", "jsonl", "ndjson", "parquet" or "arrow", the text formats also with ".gz" or ".zst". */
  format?: string;
  /** Field (JSON) or column (Parquet, Arrow) that holds the text; "text" by default. */
  textField?: string;
  /** Column (Parquet, Arrow) that holds the ids of a document, instead of its text. */
  tokenColumn?: string;
  /** Opens the tokenizer of these ids: how many there are, which one closes and pads documents, and what they say. */
  tokenizer?: () => Promise<
    { readonly vocabulary: number; readonly eos: number; decode(ids: ArrayLike<number>): Promise<string> }
  >;
  /** Field or column that holds the source; without it every source is `source`. */
  sourceField?: string;
  /** Source of documents that name none; "" by default. */
  source?: string;
  /** Pattern by which a file's path tells that source instead; "" for the name of its folder. */
  sourceFromPath?: string;
  /** Stop after so many documents. */
  maxDocuments?: number;
  /** What is known of the files, which they are checked by where they are read to their end. */
  vouched?: Vouched;
  /** Accepts inputs without any text: they are some of several. */
  mayBeEmpty?: boolean;
  /** Replaces standard input. */
  standardInput?: ReadableStream<Uint8Array>;
}

/** What ids are read with: the tokenizer that they are of. */
export type TokenReader = Awaited<ReturnType<NonNullable<ReadOptions["tokenizer"]>>>;

/** Says that a field or column is not among those that there are, and which setting names another. */
export function lacks(name: string, rule: string, what: string, names: string[], option: string): InputError {
  const list = names.map((name) => `"${name}"`).join(", ") || "none";
  return unreadable(name, rule, `${what} has ${list}`, { remedy: say`name it with ${setting(option)}` });
}

/** Gives a value as a label; `source` where there is none. */
export function labelOf(value: unknown, source: string): string {
  if (value === null || value === undefined) return source;
  return typeof value === "string"
    ? value
    : JSON.stringify(value, (_, v) => typeof v === "bigint" ? `${v}` : v);
}

/** Names the kind of a value. */
export function kindOf(value: unknown): string {
  if (value === null || value === undefined) return "null";
  if (Array.isArray(value)) return "an array";
  return typeof value === "object" ? "an object" : `a ${typeof value}`;
}
