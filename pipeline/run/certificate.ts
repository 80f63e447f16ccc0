/**
 * The certificate of what a run has forgotten, and its check: that no row of the run is of a
 * document which is gone, that no text holds a passage of one, and that every folder is made of
 * what is there now.
 *
 *     forgotten/   forget.json
 *
 * @module
 */

import * as v from "valibot";
import { ExplainedError, InputError, say, setting, task, type Text } from "../../kernels/errors.ts";
import { writePages } from "../graph/folder.ts";
import { hashFiles, nodesIn, partNode, readManifest } from "../graph/node.ts";
import { changedInput } from "../graph/walk.ts";
import { columnNames, needColumn, readArrow } from "../rows/arrow.ts";
import { readIntegers, readStrings } from "../rows/column_values.ts";
import { jsonText } from "../graph/files.ts";
import { canonical, count, finite, MANIFEST, readJsonIfThere } from "../graph/schema.ts";
import {
  type Derivation,
  type Forgotten,
  FORGOTTEN_DOCUMENT,
  learnedSince,
  listForgotten,
  readDerivation,
} from "../stages/derivation.ts";
import { PART_INDEX } from "../stages/documents.ts";
import { needConfiguration } from "../stages/parts.ts";
import { readRunText } from "../stages/stored_text.ts";
import { DOCUMENTS, selectDocumentRows } from "../stages/token_rows.ts";
import { expertTarget } from "../stages/targets.ts";
import { type CopyRule, passageFinder } from "../text/near_copies.ts";
import { adoptedExperts } from "../training/adoption.ts";
import type { Copy, FoundCopy } from "./copies.ts";
import { type Descendant, describeDescendant } from "./descendants.ts";
import { nodeFolders } from "./settings.ts";
import type { Problem } from "./partition.ts";

const FOLDER = "forgotten";
const FILE = "forget.json";

const COPY = v.object({
  document: v.string(),
  path: v.string(),
  place: count,
  side: v.picklist(["train", "test"]),
  expert: v.string(),
  kind: v.picklist(["exact", "near", "passage"]),
  share: finite,
  of: v.object({ path: v.string(), place: count }),
});

const CERTIFICATE = v.object({
  format: v.literal(2),
  from: v.string(),
  version: v.string(),
  documents: v.array(FORGOTTEN_DOCUMENT),
  copies: v.object({
    near: finite,
    passage: count,
    searched: count,
    forgotten: count,
    stay: v.array(COPY),
  }),
  experts: v.array(v.object({
    expert: count,
    part: v.object({ before: v.nullable(v.string()), now: v.string() }),
    trainedAgain: v.boolean(),
    key: v.object({ before: v.nullable(v.string()), now: v.nullable(v.string()) }),
  })),
  routersSawText: v.boolean(),
  descends: v.array(v.string()),
  below: v.array(v.string()),
});

/**
 * A certificate of what a run has forgotten, as it is written.
 *
 * @ignore Its type is inferred.
 */
export type ForgettingCertificate = v.InferOutput<typeof CERTIFICATE>;

/** What a certificate needs to know of a change. */
interface Witnessed {
  /** What counts as a copy. */
  rule: CopyRule;
  /** Documents of the other run that were searched for copies. */
  searched: number;
  /** How many copies were forgotten. */
  asCopies: number;
  /** Copies that were found. */
  copies: readonly FoundCopy[];
  /** What may have seen forgotten text and stays. */
  descends: readonly string[];
  /** Runs that were made from those above. */
  below: readonly Descendant[];
}

/**
 * Writes the certificate of a run whose partition is made: what left, what became of every expert,
 * and what has seen the text and stays.
 */
export async function writeCertificate(
  run: string,
  derivation: Derivation,
  { rule, searched, asCopies, copies, descends, below }: Witnessed,
): Promise<void> {
  const { from, version } = derivation;
  const documents = listForgotten(derivation);
  const above = await readCertificate(from);
  const inherited = above?.copies ?? { searched: 0, forgotten: 0, stay: [] };
  const text: ForgettingCertificate = {
    format: 2,
    from,
    version,
    documents,
    copies: {
      ...rule,
      searched: derivation.change.forgotten.length > 0 ? searched : inherited.searched,
      forgotten: inherited.forgotten + asCopies,
      stay: await findCopiesHere(run, [...inherited.stay, ...copies], documents),
    },
    experts: await describeExperts(run, derivation),
    routersSawText: !await learnedSince(derivation),
    descends: [...descends],
    below: below.map(describeDescendant),
  };
  await writePages(run, FOLDER, { [FILE]: jsonText(v.parse(CERTIFICATE, text)) });
}

/**
 * Gives the copies that are in a run, with their ids and experts there: these are others than
 * before where everything was learned again.
 */
async function findCopiesHere(
  run: string,
  copies: readonly Copy[],
  forgotten: readonly Forgotten[],
): Promise<Copy[]> {
  if (copies.length === 0) return [];
  const placeOf = ({ path, place }: Pick<Copy, "path" | "place">) => `${place} ${path}`;
  const gone = new Set(forgotten.map(placeOf));
  const staying = new Map(
    copies.filter((copy) => !gone.has(placeOf(copy))).map((copy) => [placeOf(copy), copy]),
  );
  const copiesHere: Copy[] = [];
  const places = new Set(copies.map(({ place }) => place));
  const columns = ["document", "path", "place", "side", "expert", "shares"] as const;
  const rows = selectDocumentRows(`${run}/${PART_INDEX}/${DOCUMENTS}`, columns, (read) => {
    const placesOfRows = read("place");
    return (row) => places.has(placesOfRows[row]);
  });
  for await (const row of rows) {
    const copy = staying.get(placeOf(row));
    if (!copy) continue;
    const { path, place, side } = row;
    const document = String(row.document);
    const expert = row.expert === "mixed" ? row.shares : row.expert;
    copiesHere.push({ ...copy, document, path, place, side, expert });
  }
  return copiesHere;
}

async function describeExperts(
  run: string,
  { kept, experts }: Derivation,
): Promise<ForgettingCertificate["experts"]> {
  const { length } = experts;
  return await Promise.all(experts.map(async ({ trained }, expert) => {
    const part = hashFiles((await readManifest(`${run}/${partNode(expert, length)}`))!, "train-");
    const manifest = await readManifest(`${run}/${expertTarget(expert, { experts: length }).node}`);
    const keyBefore = trained && kept[trained.node];
    const origins = ["kept", "adopted", "before"]; // of weights that were there, or go on from such
    const isNew = manifest !== null &&
      origins.every((name) => manifest.settings[name] === undefined);
    return {
      expert,
      part: { before: trained?.part ?? null, now: part },
      trainedAgain: keyBefore !== null && isNew,
      key: { before: keyBefore, now: manifest?.key ?? null },
    };
  }));
}

/**
 * Reads the certificate of a run; undefined where there is none. Throws an `InputError` where it is
 * damaged.
 */
export const readCertificate = async (run: string): Promise<ForgettingCertificate | undefined> =>
  await readJsonIfThere(
    `${run}/${FOLDER}/${FILE}`,
    CERTIFICATE,
    "the certificate of what is forgotten",
  ) ?? undefined;

/** What {@linkcode checkForgotten} found. */
export interface ForgottenReport {
  /** What is wrong; nothing if the list is empty. */
  problems: Problem[];
  /** The certificate; undefined where it is missing. */
  certificate?: ForgettingCertificate;
  /** Documents of the run that were read. */
  documents: number;
  /** Tables and shards that were searched for rows of forgotten documents. */
  files: number;
  /** Rows of these files. */
  rows: number;
}

/**
 * Checks what a run has forgotten: that no table or shard has a row of such a document, and that
 * its text stands in no other one. Also that every folder was made of what is there now, so that
 * none of before was put back. Throws an `InputError` where nothing was forgotten.
 */
export async function checkForgotten(run: string): Promise<ForgottenReport> {
  const derivation = await readDerivation(run);
  const forgotten = listForgotten(derivation);
  if (!derivation || forgotten.length === 0) {
    const rule = say`it must derive with ${setting("forget")}: it does not`;
    throw new InputError(say`Cannot check what "${run}" has forgotten as ${rule}`, { where: run });
  }
  const report: ForgottenReport = { problems: [], documents: 0, files: 0, rows: 0 };
  await checkCertificate(run, derivation, report);
  const { problems } = report;
  const remedy = say`remove it, or ${
    task("derive", { run, from: derivation.from })
  } into another folder`;
  const gone = {
    ids: new Set(forgotten.map(({ document }) => BigInt(document))),
    texts: new Set(forgotten.map(({ sha256 }) => sha256)),
    stay: new Set(report.certificate?.copies.stay.map(({ document }) => document)),
  };
  for (const folder of nodeFolders()) {
    for await (const name of nodesIn(run, folder)) {
      const manifest = (await readManifest(`${run}/${name}`))!;
      const changed = await changedInput(run, manifest.inputs);
      const violation = `it must be made of what is there now: "${changed}" is another`;
      if (changed !== undefined) {
        problems.push({ file: `${name}/${MANIFEST}`, what: violation, remedy });
      }
      for (const file of Object.keys(manifest.files)) {
        if (!file.endsWith(".arrow")) continue;
        report.files++;
        const row = await findRow(`${run}/${name}/${file}`, gone, report);
        if (row) {
          problems.push({ file: `${name}/${file}`, what: row.what, remedy: row.remedy ?? remedy });
        }
      }
    }
  }
  await checkTexts(run, derivation, gone.stay, report, remedy);
  return report;
}

/**
 * Checks that no document holds a passage of a forgotten text, but for copies that the certificate
 * names.
 */
async function checkTexts(
  run: string,
  { passages }: Derivation,
  stay: ReadonlySet<string>,
  report: ForgottenReport,
  remedy: Text,
): Promise<void> {
  const find = passageFinder(passages);
  for await (const { document, text } of readRunText(run, await needConfiguration(run))) {
    report.documents++;
    if (stay.has(String(document)) || find(text) < 0) continue;
    report.problems.push({
      file: `${PART_INDEX}/${DOCUMENTS}`,
      what: `no document may hold a passage of a forgotten one: document ${document} does`,
      remedy,
    });
  }
}

/** Compares the certificate with what the run derives from, and with the models that are there. */
async function checkCertificate(
  run: string,
  derivation: Derivation,
  report: ForgottenReport,
): Promise<void> {
  const file = `${FOLDER}/${FILE}`;
  const deriveAgain = "derive it once more, by the same command, which writes it again";
  const note = (violation: Text, remedy: Text = deriveAgain) =>
    void report.problems.push({ file, what: violation, remedy });
  const certificate = await readCertificate(run).catch((error) => {
    if (error instanceof ExplainedError) return error;
    throw error;
  });
  if (certificate instanceof ExplainedError) return note(certificate.what);
  if (!certificate) return note("the certificate must be there: it is not");
  report.certificate = certificate;
  if (certificate.from !== derivation.from) {
    note(`it must be of a run from "${derivation.from}": it is of one from "${certificate.from}"`);
  }
  if (canonical(certificate.documents) !== canonical(listForgotten(derivation))) {
    note("it must list the documents that the run has forgotten: it lists others");
  }
  const replaced = new Set(derivation.change.replaced.map(({ expert }) => expert));
  const adopted = new Map((await adoptedExperts(run)).map(({ expert, from }) => [expert, from]));
  for (const { expert, key: { now: certifiedKey } } of certificate.experts) {
    const { node } = expertTarget(expert, { experts: certificate.experts.length });
    const presentKey = (await readManifest(`${run}/${node}`))?.key;
    const from = replaced.has(expert) ? undefined : adopted.get(expert);
    if (from !== undefined && presentKey !== certifiedKey) {
      note(
        `expert ${expert} must be one that the certificate names: it was adopted from "${from}"`,
        "train it on its part, or adopt one that never saw the text",
      );
    } else if (presentKey && certifiedKey && presentKey !== certifiedKey) {
      note(`it must name the expert ${expert} that is there: it names another one`);
    }
  }
}

/** Documents that are gone, by id and by the hash of their text; and copies that stay, by id. */
interface Gone {
  ids: ReadonlySet<bigint>;
  texts: ReadonlySet<string>;
  stay: ReadonlySet<string>;
}

/**
 * Finds a row of a document that is gone, or of one with its text that no certificate names;
 * undefined where there is none. A text that was kept elsewhere has a remedy.
 */
async function findRow(
  path: string,
  { ids, texts, stay }: Gone,
  counts: Pick<ForgottenReport, "rows">,
): Promise<{ what: string; remedy?: Text } | undefined> {
  for await (const batch of readArrow(path)) {
    counts.rows += batch.numRows;
    const names = columnNames(batch);
    const documents = names.includes("document")
      ? readIntegers(needColumn(batch, "document"), BigUint64Array)
      : [];
    const hashes = names.includes("sha256") ? readStrings(needColumn(batch, "sha256")) : [];
    for (const id of documents) {
      if (ids.has(id)) return { what: `it must have no row of document ${id}: it has one` };
    }
    const copy = hashes.findIndex((hash, row) =>
      texts.has(hash) && !stay.has(String(documents[row]))
    );
    if (copy >= 0) {
      const violation = `it must not hold the text of a forgotten document: document ${
        documents[copy]
      } has it`;
      return {
        what: violation,
        remedy: say`forget that as well: ${setting("forgetIds")} ${documents[copy]}`,
      };
    }
  }
}

/** Documents and copies that are listed one by one; the certificate itself lists all. */
const LISTED = 20;

/** Words a certificate, and what its check counted, for readers who know nothing of models. */
export function certificateText(
  run: string,
  { certificate, documents, files, rows }: ForgottenReport & { certificate: ForgettingCertificate },
): string {
  const { from, copies, experts, routersSawText, descends, below } = certificate;
  const listOf = (lines: readonly string[]) => [
    ...lines.slice(0, LISTED).map((line) => `   - ${line}`),
    ...lines.length > LISTED
      ? [`   - and ${lines.length - LISTED} more, in ${FOLDER}/${FILE}`]
      : [],
  ];
  const placed = ({ path, place }: Pick<Copy, "path" | "place">) => `${path}, number ${place}`;
  const numbered = (state: boolean) =>
    experts.filter(({ trainedAgain }) => trainedAgain === state).map(({ expert }) => expert);
  const [retrained, untouched] = [numbered(true), numbered(false)];
  const { near, passage, searched, forgotten, stay } = copies;
  const but = stay.length > 0 ? ", but with the copies of point 2" : "";
  const without = `without the forgotten text${but}`;
  const percent = `${Math.round(100 * near)}%`;
  return [
    `Certificate: what the run ${run} has forgotten. It was made from the run ${from}.`,
    "A run is a folder of text, of models that learned from it, and of records of how.",
    "",
    `1. Forgotten: ${
      countOf(certificate.documents.length, "document")
    }, of which ${forgotten} as copies of others. Of each: its file, its number`,
    "   there (from 0), its id, and whether models learned from it or were tested on it.",
    ...listOf(
      certificate.documents.map((document) =>
        `${placed(document)} (document ${document.document}, ${
          document.side === "train" ? "for training" : "for tests"
        })`
      ),
    ),
    `   This run holds ${countOf(files, "table")} with ${
      countOf(rows, "row")
    }: none is of these documents. It holds`,
    `   ${
      countOf(documents, "document")
    }: none has a passage of these, but for the copies that point 2 names.`,
    `2. Copies were looked for in all ${
      countOf(searched, "document")
    } of the run that this one was made from: equal`,
    `   texts; texts that share at least ${percent} of their runs of three words; texts with ` +
    `${passage} words`,
    "   in a row of a forgotten one. Case, spaces and punctuation make no difference.",
    `   Copies that stay in this run: ${stay.length}.`,
    ...listOf(
      stay.map((copy) =>
        `${placed(copy)} (document ${copy.document}, ${
          copy.side === "train" ? `expert ${copy.expert}` : "for tests"
        }): ${KINDS[copy.kind]} ${placed(copy.of)}`
      ),
    ),
    "3. Experts are the models that write text, each of a part of all text. Trained again from new",
    `   weights, ${without}: ${listed(retrained)}.`,
    "   Not trained again, as their text did not change or they are not trained: " +
    `${listed(untouched)}.`,
    ...routersText(routersSawText, without),
    "5. What may have seen the text and still exists, here or elsewhere:",
    ...listOf(descends),
    "   Other runs that were made from these runs, as far as they note it" +
    (below.length === 0 ? ": none." : ":"),
    ...listOf(below),
    "6. Not covered: a paraphrase, a summary, a translation or any text in other words; and copies",
    "   outside the run that was searched. No search here finds them.",
    "   The run keeps hashes of the text, to know it again. They do not give the text, but " +
    "confirm it",
    "   to someone who guesses it.",
  ].join("\n");
}

/** Reports what the tokenizer and the routers have to do with the forgotten text. */
function routersText(sawText: boolean, without: string): string[] {
  const subject = "4. The tokenizer, which cuts text into pieces of words, and the routers, " +
    "which choose the expert";
  if (!sawText) return [subject, `   of a text, were made again ${without}.`];
  return [
    subject,
    "   of a text, saw the forgotten text and were kept. They keep no copy of it, but the " +
    "pieces and",
    "   the weights are fitted to it.",
  ];
}

const KINDS = {
  exact: "equal to",
  near: "nearly the same as",
  passage: "has a passage of",
};

const listed = (numbers: readonly number[]) => numbers.length === 0 ? "none" : numbers.join(", ");
const countOf = (number: number, noun: string) =>
  `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
