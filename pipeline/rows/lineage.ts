/**
 * Where rows come from: the metadata that a stage writes into a batch's schema, and the check that
 * two sources of rows fit together.
 *
 * @module
 */

import type { RecordBatch } from "apache-arrow/Arrow.dom";
import { InputError } from "../../kernels/errors.ts";
import { shortHash, unreadable } from "../graph/files.ts";
import { findOrigin } from "./ipc/read.ts";

/** Where rows come from, stored in the schema metadata under `smalltalk.<name>`. */
export interface Lineage {
  /** Version of this layout, 1. */
  format: number;
  /** Stage that wrote the rows. */
  stage: string;
  /** S, tokens per sequence. */
  sequenceLength?: number;
  /** V, number of token ids. */
  vocabulary?: number;
  /** Id of the token that ends a document and pads. */
  eos?: number;
  /** SHA-256 of tokenizer.json, hexadecimal. */
  tokenizer?: string;
  /** M, tokens that routers score. */
  prefix?: number;
  /** SHA-256 of the set of routers, hexadecimal. */
  routers?: string;
  /** E, number of experts. */
  experts?: number;
  /** Seed of the run. */
  seed?: number;
  /** How rows were assigned. */
  method?: string;
  /** What a cost is, where it is not a sum over the predicted tokens of the prefix. */
  costs?: string;
}

/** Version of the file layout that this code writes, and the newest that it reads. */
export const FORMAT = 1;

const TEXTS = ["stage", "tokenizer", "routers", "method", "costs"] as const;
const NUMBERS = [
  "format",
  "sequenceLength",
  "vocabulary",
  "eos",
  "prefix",
  "experts",
  "seed",
] as const;
/** The fields of a lineage, in the order in which manifests list them. */
export const LINEAGE_NAMES = [...TEXTS, ...NUMBERS];

/**
 * Returns the lineage of a batch, or null where another tool wrote it. Throws an InputError where
 * it is damaged.
 */
export function readLineage(batch: RecordBatch): Lineage | null {
  const { metadata } = batch.schema;
  const where = findOrigin(batch);
  if (!metadata.has("smalltalk.format")) return null;
  const lineage: Lineage = { stage: "", format: FORMAT };
  for (const name of TEXTS) {
    const text = metadata.get(`smalltalk.${name}`);
    if (text !== undefined) lineage[name] = text;
  }
  for (const name of NUMBERS) {
    const text = metadata.get(`smalltalk.${name}`);
    if (text === undefined) continue;
    if (!/^\d{1,16}$/.test(text)) {
      throw unreadable(where, `smalltalk.${name} must be an integer`, `it is "${text}"`);
    }
    lineage[name] = Number(text);
  }
  if (lineage.format <= FORMAT) return lineage;
  const fact = `it is ${lineage.format}, of a newer version`;
  throw unreadable(where, `its format must be at most ${FORMAT}`, fact);
}

/**
 * Throws an `InputError` that gives both values where the lineage of `batch` contradicts
 * `expected`. Names that one of them leaves out are not compared. A batch that another tool wrote
 * has no lineage and contradicts nothing.
 */
export function checkLineage(batch: RecordBatch, expected: Partial<Lineage>, owner: string): void {
  const actual = readLineage(batch);
  if (actual === null) return;
  for (const [name, wanted] of Object.entries(expected)) {
    const value = actual[name as keyof Lineage];
    if (wanted === undefined || value === undefined || value === wanted) continue;
    const [former, latter] = [value, wanted].map((text) => shortHash(String(text)));
    throw new InputError(
      `Cannot use ${findOrigin(batch)} with ${owner} as both must have the same ${name}: ` +
        `${name} is ${former} in the former, ${latter} in the latter`,
      {
        remedy: name === "tokenizer"
          ? "make the former with the tokenizer.json of the latter"
          : undefined,
      },
    );
  }
}

/** Picks the fields that must be equal in rows that are used together. */
export function pickIdentity(lineage: Lineage | null): Partial<Lineage> {
  const { sequenceLength, vocabulary, eos, tokenizer, prefix, experts, routers } = lineage ?? {};
  return { sequenceLength, vocabulary, eos, tokenizer, prefix, experts, routers };
}
