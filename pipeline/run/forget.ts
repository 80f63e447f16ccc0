/**
 * Which documents a derived run forgets, which others hold text of theirs, and what else has seen
 * it and stays.
 *
 * @module
 */

import { InputError, say, task, type Text } from "../../kernels/errors.ts";
import { askAll, exists } from "../graph/files.ts";
import type { Configuration } from "../settings/configuration.ts";
import {
  type Derivation,
  type Forgotten,
  learnedSince,
  listForgotten,
  readLineageSteps,
} from "../stages/derivation.ts";
import { PART_COLUMNS, PART_INDEX, selectDocuments } from "../stages/documents.ts";
import {
  type DocumentRow,
  DOCUMENTS,
  readDocumentRows,
  selectDocumentRows,
} from "../stages/token_rows.ts";
import { isNamed } from "../text/glob.ts";
import { COPY_RULE, type CopyRule, type Passages } from "../text/near_copies.ts";
import { adoptedExperts } from "../training/adoption.ts";
import { findCopies, type FoundCopy } from "./copies.ts";
import { MODEL_FOLDERS } from "./settings.ts";

/** A document in the index of a run's parts. */
type IndexedDocument = Pick<DocumentRow, typeof PART_COLUMNS[number]>;

/** What is forgotten, and what holds text of it. */
interface Forgetting {
  /** How many documents of the run were searched for copies. */
  searched: number;
  /** Those that are forgotten now: those that were named, then their copies if these are to go. */
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
  /** Hashes of those texts that no document has which stays. */
  away: string[];
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
  const nothing: Forgetting = {
    searched: 0,
    forgotten: [],
    asCopies: 0,
    copies: [],
    rule,
    forgottenBefore,
    passages,
    away: [],
  };
  if (!isForgetting) {
    return {
      ...nothing,
      away: listAway(forgottenBefore, await readWithText(run, forgottenBefore)),
    };
  }
  const index = indexFile(run);
  const { named, count } = await chooseDocuments(run, forget);
  const withText = await readWithText(run, [...forgottenBefore, ...named]);
  const chosen = { forgotten: named, withText };
  const found = await findCopies(run, configuration, index, chosen, rule, passages);
  const asCopy = withCopies ? found.copies.map(({ document }) => BigInt(document)) : [];
  checkSomeStay(run, count, named.length + asCopy.length);
  const copies = await Array.fromAsync(selectDocuments(index, new Set(asCopy)));
  const forgotten = [...named, ...copies];
  return {
    ...nothing,
    ...found,
    searched: count,
    forgotten,
    asCopies: copies.length,
    // Equal texts are copies of the same documents, so that none of a copy that goes stays.
    away: listAway([...forgottenBefore, ...forgotten], withText),
  };
}

const refuse = (run: string, fact: string, remedy?: Text) =>
  new InputError(say`Cannot derive from "${run}" as ${fact}`, { where: run, remedy });

function checkSomeStay(run: string, documents: number, forgotten: number): void {
  if (forgotten < documents) return;
  throw refuse(run, "some documents must stay: all would be forgotten");
}

/** Names the index of a run, whose rows may be too many for memory. */
const indexFile = (run: string) => `${run}/${PART_INDEX}/${DOCUMENTS}`;

/**
 * Chooses the documents that are named, and counts all. Throws an `InputError` for a pattern, a
 * source or an id that names none.
 */
async function chooseDocuments(
  run: string,
  { paths = [], sources = [], ids = [] }: NonNullable<ForgetOptions["forget"]>,
): Promise<{ named: IndexedDocument[]; count: number }> {
  const wantedIds = new Set(ids.filter((id) => /^\d+$/.test(id)).map(BigInt));
  const wantedSources = new Set(sources);
  const found = new Set<string>(); // what names a document
  let count = 0;
  let file = ""; // of the last row
  let patterns: string[] = []; // that name it
  const patternsOf = (path: string) => {
    if (path !== file) patterns = paths.filter((pattern) => isNamed(path, pattern));
    file = path;
    return patterns;
  };
  const named = await Array.fromAsync(selectDocumentRows(indexFile(run), PART_COLUMNS, (read) => {
    const documents = read("document");
    const pathsOfRows = paths.length > 0 ? read("path") : [];
    const sourcesOfRows = sources.length > 0 ? read("source") : [];
    count += documents.length;
    return (row) => {
      const ofPath = paths.length > 0 ? patternsOf(pathsOfRows[row]) : [];
      const isOfSource = sources.length > 0 && wantedSources.has(sourcesOfRows[row]);
      const hasId = ids.length > 0 && wantedIds.has(documents[row]);
      if (isOfSource) found.add(`source "${sourcesOfRows[row]}"`);
      if (hasId) found.add(`id ${documents[row]}`);
      for (const pattern of ofPath) found.add(`path "${pattern}"`);
      return isOfSource || hasId || ofPath.length > 0;
    };
  }));
  const wanted = [
    ...paths.map((path) => `path "${path}"`),
    ...sources.map((source) => `source "${source}"`),
    ...ids.map((id) => `id ${id}`),
  ];
  const missing = wanted.find((name) => !found.has(name));
  if (missing) {
    const rule = `what is forgotten must be there: no document has the ${missing}`;
    const table = `${run}/partition/${DOCUMENTS}`;
    throw refuse(run, rule, say`${task("show")} "${table}" lists paths, sources and ids`);
  }
  checkSomeStay(run, count, named.length);
  return { named, count };
}

/** Reads what is known of the documents of a run that have the texts of these. */
async function readWithText(
  run: string,
  forgotten: readonly Pick<Forgotten, "sha256">[],
): Promise<IndexedDocument[]> {
  const texts = new Set(forgotten.map(({ sha256 }) => sha256));
  if (texts.size === 0) return [];
  return await Array.fromAsync(selectDocumentRows(indexFile(run), PART_COLUMNS, (read) => {
    const hashes = read("sha256");
    return (row) => texts.has(hashes[row]);
  }));
}

/** Lists the hashes of forgotten texts that no document has which stays, of those with a text. */
function listAway(
  forgotten: readonly { document: bigint | string; sha256: string }[],
  withText: readonly IndexedDocument[],
): string[] {
  const ids = new Set(forgotten.map(({ document }) => String(document)));
  const texts = new Set(forgotten.map(({ sha256 }) => sha256));
  for (const { sha256, document } of withText) if (!ids.has(String(document))) texts.delete(sha256);
  return [...texts];
}

/**
 * Lists the files of a run that stay, where everything is learned again. Throws an `InputError`
 * where one is not there, or if a file of a document that is forgotten, now or before, holds others
 * as well.
 */
export async function listFilesLeft(
  { input, tokenizer, routers, prices }: Configuration,
  derivation: Derivation,
): Promise<string[]> {
  const { from, change: { forgotten } } = derivation;
  const all = listForgotten(derivation);
  const gone = new Set(all.map(({ path }) => path));
  const ids = new Set(all.map(({ document }) => document));
  const left = new Set<string>();
  let partly: string | undefined; // a file of which only some documents are forgotten
  if (all.length > 0) {
    for await (
      const { path, document } of readDocumentRows(indexFile(from), ["path", "document"])
    ) {
      if (!gone.has(path)) left.add(path);
      else if (!ids.has(String(document))) partly ??= path;
    }
  }
  const named = tokenizer !== "" || routers !== "" || prices !== "";
  const paths = [...left];
  const there = await askAll(paths, exists);
  const missing = paths.find((_, i) => !there[i]);
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
  return paths;
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
    : ["the tokenizer, the routers and any prices by which text is assigned, which are kept"];
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
