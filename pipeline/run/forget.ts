/**
 * Which documents a derived run forgets, which others hold text of theirs, and what else has seen
 * it and stays.
 *
 * @module
 */

import { InputError, say } from "../../kernels/errors.ts";
import { exists } from "../graph/files.ts";
import type { Configuration } from "../settings/configuration.ts";
import {
  type Derivation,
  type Forgotten,
  learnedSince,
  listForgotten,
  readLineageSteps,
} from "../stages/derivation.ts";
import { PART_COLUMNS, PART_INDEX } from "../stages/documents.ts";
import { type DocumentRow, DOCUMENTS, readDocumentRows } from "../stages/token_rows.ts";
import { isGlob, matchesPath } from "../text/glob.ts";
import { COPY_RULE, type CopyRule, type Passages } from "../text/near_copies.ts";
import { adoptedExperts } from "../training/adoption.ts";
import { findCopies, type FoundCopy } from "./copies.ts";
import { MODEL_FOLDERS } from "./settings.ts";

/** A document in the index of a run's parts. */
type IndexedDocument = Pick<DocumentRow, typeof PART_COLUMNS[number]>;

/** What is forgotten, and what holds text of it. */
interface Forgetting {
  /** Documents of the run; none where none was ever forgotten. */
  rows: IndexedDocument[];
  /** Those that are forgotten now, copies among them where these are to go. */
  forgotten: IndexedDocument[];
  /** How many of them are copies. */
  asCopies: number;
  /** Documents that hold text of those that were named. */
  copies: FoundCopy[];
  /** What counts as a copy. */
  rule: CopyRule;
  /** Documents that were forgotten before, on the way to the run. */
  forgottenBefore: Forgotten[];
  /** Passages of all texts that are forgotten, then or now. */
  passages: Passages;
}

/** What names documents that are forgotten. */
interface ForgetOptions {
  forget?: { paths?: readonly string[]; sources?: readonly string[]; ids?: readonly string[] };
  copies?: Partial<CopyRule> & { forget?: boolean };
}

/** Finds the documents that are forgotten, and their copies. */
export async function findForgotten(
  run: string,
  configuration: Configuration,
  { forgottenBefore, passages }: Pick<Forgetting, "forgottenBefore" | "passages">,
  { forget = {}, copies: { forget: withCopies = false, ...numbers } = {} }: ForgetOptions,
): Promise<Forgetting> {
  const rule = {
    near: numbers.near ?? COPY_RULE.near,
    passage: numbers.passage ?? COPY_RULE.passage,
  };
  const isForgetting = Object.values(forget).flat().length > 0;
  const needsRows = isForgetting || forgottenBefore.length > 0;
  const rows = needsRows ? await listDocuments(run) : [];
  const nothing = { rows, forgotten: [], asCopies: 0, copies: [], rule, forgottenBefore, passages };
  if (!isForgetting) return nothing;
  const named = chooseDocuments(run, rows, forget);
  const found = await findCopies(run, configuration, rows, named, rule, passages);
  const gone = new Set(named.map(({ document }) => document));
  if (withCopies) { for (const { document } of found.copies) gone.add(BigInt(document)); }
  checkSomeStay(run, rows.length, gone.size);
  return {
    ...nothing,
    ...found,
    forgotten: rows.filter(({ document }) => gone.has(document)),
    asCopies: gone.size - named.length,
  };
}

const refuse = (run: string, fact: string, remedy?: string) =>
  new InputError(say`Cannot derive from "${run}" as ${fact}`, { where: run, remedy });

function checkSomeStay(run: string, documents: number, forgotten: number): void {
  if (forgotten < documents) return;
  throw refuse(run, "some documents must stay: all would be forgotten");
}

const listDocuments = (run: string) =>
  Array.fromAsync(readDocumentRows(`${run}/${PART_INDEX}/${DOCUMENTS}`, PART_COLUMNS));

/**
 * Chooses the documents that are named. Throws an `InputError` for a pattern, a source or an id
 * that names none.
 */
function chooseDocuments(
  run: string,
  rows: readonly IndexedDocument[],
  { paths = [], sources = [], ids = [] }: NonNullable<ForgetOptions["forget"]>,
): IndexedDocument[] {
  const byId = Map.groupBy(ids.length > 0 ? rows : [], ({ document }) => String(document));
  const isAt = (named: string) => ({ path }: IndexedDocument) =>
    path === named || path.endsWith(`/${named}`) || isGlob(named) && matchesPath(path, named);
  const found = [
    ...paths.map((path) =>
      [`path "${path}"`, rows.filter(isAt(path.replace(/^\.\//, "")))] as const
    ),
    ...sources.map((name) =>
      [`source "${name}"`, rows.filter(({ source }) => source === name)] as const
    ),
    ...ids.map((id) => [`id ${id}`, byId.get(id) ?? []] as const),
  ];
  const missing = found.find(([, rows]) => rows.length === 0)?.[0];
  if (missing) {
    const rule = `what is forgotten must be there: no document has the ${missing}`;
    throw refuse(run, rule, `"${run}/partition/${DOCUMENTS}" lists paths, sources and ids`);
  }
  const chosen = new Set(found.flatMap(([, rows]) => rows));
  checkSomeStay(run, rows.length, chosen.size);
  return rows.filter((row) => chosen.has(row));
}

/** Lists the hashes of forgotten texts that no document of the run has which stays. */
export function textsAway(
  rows: readonly IndexedDocument[],
  forgotten: readonly Forgotten[],
): string[] {
  const ids = new Set(forgotten.map(({ document }) => document));
  const texts = new Set(forgotten.map(({ sha256 }) => sha256));
  for (const { sha256, document } of rows) if (!ids.has(String(document))) texts.delete(sha256);
  return [...texts];
}

/**
 * Lists the files of a run that stay, where everything is learned again. Throws an `InputError`
 * where one is not there, or if a file of a document that is forgotten, now or before, holds others
 * as well.
 */
export async function listFilesLeft(
  { input, tokenizer, routers, prices }: Configuration,
  rows: readonly IndexedDocument[],
  derivation: Derivation,
): Promise<string[]> {
  const { from, change: { forgotten } } = derivation;
  const all = listForgotten(derivation);
  const gone = new Set(all.map(({ path }) => path));
  const ids = new Set(all.map(({ document }) => document));
  const left = [...new Set(rows.map(({ path }) => path))].filter((path) => !gone.has(path));
  const named = tokenizer !== "" || routers !== "" || prices !== "";
  const partly = rows.find(({ path, document }) => gone.has(path) && !ids.has(String(document)))
    ?.path;
  const there = await Promise.all(left.map(exists));
  const missing = left.find((_, i) => !there[i]);
  const fact = forgotten.length === 0
    ? "documents must be forgotten"
    : input.length === 0
    ? "its text must be files: it is not"
    : named
    ? "they must be its own: its settings name others"
    : partly
    ? `whole files must be forgotten: "${partly}" holds other documents`
    : missing && `its files must be there: there is no "${missing}"`;
  if (fact) throw refuse(from, `nothing can be learned again: ${fact}`);
  return left;
}

/** Names the experts of a document, by its row in the index. */
export const expertsOf = ({ expert, shares }: IndexedDocument): number[] =>
  expert === "mixed" ? shares.split(", ").map((share) => parseInt(share)) : [Number(expert)];

/**
 * Names what may have seen forgotten text and stays: here, in the runs above as far as they are
 * there, and elsewhere.
 */
export async function listWitnesses(
  from: string,
  derivation: Derivation,
  { init }: Configuration,
): Promise<string[]> {
  const { relearned, replaced } = derivation.change;
  const above = [from, ...(await readLineageSteps(from)).map(({ from }) => from)];
  const places = await Promise.all(above.map((run) => Deno.realPath(run).catch(() => "")));
  const runs = above.filter((_, i) => places[i] !== "" && places.indexOf(places[i]) === i);
  const found = await learnedSince(derivation)
    ? []
    : ["the tokenizer, the routers and any prices, which are kept"];
  if (init !== "") found.push(`${init}, where experts begin`);
  for (const { expert, from } of replaced) {
    found.push(`${from}, which takes the place of expert ${expert}`);
  }
  for (const run of runs) {
    for (const { expert, from } of relearned ? [] : await adoptedExperts(run)) {
      found.push(`${from}, which expert ${expert} of ${run} was adopted from`);
    }
    for (
      const name of [...MODEL_FOLDERS, "evaluation", "zero-shot", "report", "export", "overlap"]
    ) {
      if (name !== "experts" && await exists(`${run}/${name}`)) found.push(`${run}/${name}`);
    }
  }
  const all = listForgotten(derivation);
  const which = all.length === 1 ? "the document" : "the documents";
  return [...found, `${runs.join(", ")}, and the files of ${which}`];
}

/** Throws an `InputError` where numbers that find copies are given and nothing is forgotten. */
export function checkCopyRule(
  run: string,
  { forget = {}, copies = {} }: ForgetOptions,
): void {
  const isGiven = Object.values(copies).some((value) => value !== undefined && value !== false);
  if (!isGiven || Object.values(forget).flat().length > 0) return;
  throw refuse(run, "copies are looked for of documents that are forgotten: none is named");
}
