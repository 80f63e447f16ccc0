/**
 * Puts what studies came to into pipeline/SCIENCE.md: all claims in one table, what does not hold first, and the pictures of every
 * study. The page says what the files of a folder say, and a test compares them.
 *
 * @module
 */

import { join } from "node:path";
import { InputError, say, setting, type Text } from "../../kernels/errors.ts";
import type { Claim } from "../report/reproduction.ts";
import { exists, filesUnder, removeFiles, writeAtomic } from "../run/files.ts";
import { failuresFirst, head, row, verdictsOf } from "./claims.ts";
import { knownFiles, namesOfNotes, noteFile, readKnown, readNote } from "./notes.ts";
import { readStudies } from "./results.ts";
import { STUDIES } from "./studies.ts";
import { seedsAmong } from "./study.ts";

/** What one study came to. */
export interface Published {
  /** What a table calls it. */
  title: string;
  /** The study. */
  study: string;
  /** How results of other text than the preset's are marked; "" for the preset's. */
  mark: string;
  /** The claims. */
  claims: Claim[];
  /** Path of its table in the folder. */
  table: string;
  /** Paths of its pictures in the folder. */
  pictures: string[];
}

/** The page that says what came out, and the folder of what is kept; both in the project's folder, the folder also from the page. */
const [PAGE, FOLDER, FROM_PAGE] = [
  "pipeline/SCIENCE.md",
  "fixtures/reproduction",
  "../fixtures/reproduction",
];

/** The table of a folder of studies, which names its pictures. */
const TABLE = "reproduction.md";

/** Name of the folder in which the results of studies are kept. */
const STUDIES_FOLDER = "studies";

/**
 * Reads what the folders of studies in a folder came to, by their `studies.json`. `from` is a folder of studies that stands for the
 * one that is kept there under the name `as`; "" for none.
 */
export async function readPublished(folder: string, from = "", as = STUDIES_FOLDER): Promise<Published[]> {
  const names = (await Array.fromAsync(Deno.readDir(folder))).filter(({ isDirectory }) => isDirectory)
    .map(({ name }) => name);
  const all = [...new Set([...names, ...from === "" ? [] : [as]])].sort();
  const found: Published[] = [];
  for (const name of all) {
    const place = name === as && from !== "" ? from : `${folder}/${name}`;
    if (!await exists(`${place}/studies.json`)) continue;
    const pictures = await picturesIn(place);
    const mark = name === STUDIES_FOLDER ? "" : ` (${name})`;
    for (const { name: study, claims } of (await readStudies(`${place}/studies.json`)).studies) {
      const isOwn = new RegExp(`^plots/study-${study}(-\\d+)?\\.svg$`);
      const own = pictures.filter((path) => isOwn.test(path)).map((path) => `${name}/${path}`);
      const title = `${STUDIES.get(study)?.title ?? study}${mark}`;
      found.push({ title, study, mark, claims, table: `${name}/${TABLE}`, pictures: own });
    }
  }
  const order = [...STUDIES.keys()];
  return found.sort((a, b) => order.indexOf(a.study) - order.indexOf(b.study));
}

/** Lists the pictures of a folder of studies. */
const picturesIn = async (folder: string): Promise<string[]> =>
  (await Array.fromAsync(filesUnder(folder, "plots"))).filter((path) => path.endsWith(".svg")).sort();

/** A claim, and all studies of the same text and settings that come to it. */
interface Judged {
  claim: Claim;
  from: Published[];
}

/** Lists claims, each once where several studies come to it by the same runs. */
function judgedOnce(published: readonly Published[]): Judged[] {
  const found = new Map<string, Judged>();
  for (const from of published) {
    for (const claim of from.claims) {
      const key = JSON.stringify([from.mark, claim.claim, claim.paper, claim.here, claim.holds]);
      if (found.has(key)) found.get(key)!.from.push(from);
      else found.set(key, { claim, from: [from] });
    }
  }
  return [...found.values()];
}

/** Says how many claims do not hold, of the paper's and of those beyond it. */
function verdictsText(published: readonly Published[]): string {
  const { paper, own } = verdictsOf(judgedOnce(published).map(({ claim }) => claim));
  return `Does not hold here: ${paper.no} of ${paper.all} verdicts on claims of the paper, and ${own.no} of ` +
    `${own.all} on questions of our own. A claim has a verdict for every number of experts and seed.`;
}

/** Names the studies that were not run yet. */
function missingText(published: readonly Published[]): string[] {
  const missing = [...STUDIES.keys()].filter((name) => !published.some(({ study }) => study === name));
  if (missing.length === 0) return [];
  return ["", `Studies whose results are not here yet: ${missing.map((name) => `\`${name}\``).join(", ")}.`];
}

/**
 * Writes what studies came to: how many claims do not hold, all claims in one table, those that do not hold first, and the
 * pictures; `folder` is the way from the page to the results.
 */
export function resultsText(published: readonly Published[], folder: string): string {
  return [
    verdictsText(published),
    "",
    ...claimsTable(published, folder),
    ...missingText(published),
    ...published.flatMap(({ study, mark, pictures }) =>
      pictures.flatMap((picture) => ["", `![${study}${mark}](${join(folder, picture)})`])
    ),
  ].join("\n");
}

/** Parts the interval that a figure ends with from it. */
function withInterval(here: string): [figure: string, interval: string] {
  const found = /^([^[\]]*) \[([^[\]]*)\]$/.exec(here);
  return found ? [found[1], found[2].replace(", ", " to ")] : [here, ""];
}

/** Parts the experts and the seed that a claim begins with from what it says of any number of experts. */
function ofAnyNumber(claim: string): [label: string, claim: string] {
  const found = /^(\d+) experts(, seed \d+)?: (.*)$/.exec(claim);
  return found ? [`${found[1]}${found[2] ?? ""}`, found[3].replaceAll(`${found[1]}×`, "E×")] : ["", claim];
}

/** Joins texts, each once. */
const joined = (texts: readonly string[]): string => [...new Set(texts)].join("; ");

/** Writes all claims, those that do not hold first: a row for what is said of several numbers of experts and seeds. */
function claimsTable(published: readonly Published[], folder: string): string[] {
  const verdict = (holds: boolean | null) => holds === null ? "" : holds ? "yes" : "**no**";
  const link = ({ study, mark, table }: Published) => `[${study}${mark}](${join(folder, table)})`;
  const alike = Map.groupBy(
    failuresFirst(judgedOnce(published), ({ claim }) => claim),
    ({ claim: { claim, here, holds }, from: [{ mark }] }) => {
      const [label, text] = ofAnyNumber(claim);
      return JSON.stringify([mark, text, holds, label === "" && here]);
    },
  );
  const rows = [...alike.values()].map((judged) => {
    const parts = judged.map(({ claim: { claim, here } }) => {
      const [label] = ofAnyNumber(claim);
      const [figure, interval] = withInterval(here);
      return { figure: label ? `${label}: ${figure}` : figure, interval };
    });
    return row([
      ofAnyNumber(judged[0].claim.claim)[1].replace(/^[a-z]/, (letter) => letter.toUpperCase()),
      joined(judged.map(({ claim: { paper } }) => paper)),
      joined(parts.map(({ figure }) => figure)),
      parts.map(({ interval }) => interval).filter((interval) => interval !== "").join("; "),
      verdict(judged[0].claim.holds),
      joined(judged.flatMap(({ from }) => from.map(link))),
    ]);
  });
  return [...head(["claim", "paper", "ours", "95% interval", "holds", "study"]), ...rows];
}

const BEGIN = /^<!-- results: begin.*-->$/m;
const END = /^<!-- results: end -->$/m;

/**
 * Puts text between the marks of a page, where no formatter touches it. Throws an `InputError` where the
 * page has no marks.
 */
export function withResults(page: string, text: string, where: string): string {
  const [begin, end] = [BEGIN.exec(page), END.exec(page)];
  if (!begin || !end || end.index < begin.index) {
    throw new InputError(
      `Cannot put results into "${where}" as it must say where they go: its marks are missing`,
      {
        where,
        remedy: 'put "<!-- results: begin -->" and "<!-- results: end -->" on lines of their own',
      },
    );
  }
  const ignored = `<!-- deno-fmt-ignore-start -->\n${text}\n<!-- deno-fmt-ignore-end -->`;
  return `${page.slice(0, begin.index + begin[0].length)}\n${ignored}\n${page.slice(end.index)}`;
}

/** What {@linkcode publishResults} takes. */
export interface PublishOptions {
  /** The project's folder. */
  root: string;
  /** Folder of studies whose results are taken in first; "" for none. */
  from?: string;
  /** Name under which they are kept, for studies of the same text. Default: `studies`. */
  as?: string;
}

/** What the page says. */
export interface PublishedPage {
  /** Its path in the project's folder. */
  page: string;
  /** Whether it was written; not where it said the same before. */
  written: boolean;
  /** What came of every study. */
  published: Published[];
}

/**
 * Writes the page anew from the results that are kept, after taking those of a folder of studies in: they
 * take the place of the results that are kept under that name. Notes of runs, learning rates and settings of
 * routers are put beside those that are there. Gives what it says. Throws an `InputError` where
 * there are no such results, they are those that are kept or cannot be read, studies or seeds that are kept would be
 * lost, or the page has no place for results. All is read before anything is written.
 */
export async function publishResults(
  { root, from = "", as: name }: PublishOptions,
): Promise<PublishedPage> {
  if (name !== undefined && from === "") {
    throw new InputError(
      say`Cannot keep results as "${name}" as ${setting("from")} must say whose: it is not given`,
    );
  }
  const as = name ?? STUDIES_FOLDER;
  if (!/^[a-z][a-z0-9-]*$/.test(as)) {
    throw new InputError(
      say`Cannot keep results as ${
        setting("as")
      } must be a name of small letters, digits and hyphens: it is "${as}"`,
    );
  }
  const kept = `${root}/${FOLDER}/${as}`;
  const taken = from === "" ? undefined : await readTaken(from, kept);
  const published = await readPublished(`${root}/${FOLDER}`, from, as);
  const before = await Deno.readTextFile(`${root}/${PAGE}`);
  const after = withResults(before, resultsText(published, FROM_PAGE), PAGE);
  if (taken) {
    for (const [file, content] of taken) await writeAtomic(`${kept}/${file}`, content);
    await removeFiles(kept, "", (path) => path.endsWith(".svg") && !taken.has(path));
  }
  const written = after !== before;
  if (written) await writeAtomic(`${root}/${PAGE}`, after);
  return { page: PAGE, written, published };
}

/** Throws an `InputError` where studies that are kept, or seeds of theirs, would be lost. */
async function checkLost(from: string, kept: string | undefined): Promise<void> {
  const studiesIn = async (folder: string) => (await readStudies(`${folder}/studies.json`)).studies;
  const own = await studiesIn(from);
  const lost = (kept === undefined ? [] : await studiesIn(kept)).flatMap(({ name, runs }) => {
    const study = own.find((study) => study.name === name);
    if (!study) return [name];
    const [before, now] = [runs, study.runs].map(seedsAmong);
    return now < before ? [`${before - now} of ${before} seeds of ${name}`] : [];
  });
  if (lost.length === 0) return;
  throw new InputError(
    say`Cannot take results from "${from}" as it must hold all studies and seeds that are kept in their place: ${
      lost.join(", ")
    } would be lost`,
    { where: from, remedy: say`keep them beside these, under another name, with ${setting("as")}` },
  );
}

/** Reads the files of a folder of studies that are kept; `kept` is where. */
async function readTaken(from: string, kept: string): Promise<Map<string, Uint8Array | string>> {
  const refuse = (fact: string, remedy?: Text) =>
    new InputError(
      say`Cannot take results from "${from}" as ${setting("from")} must be a folder of studies${fact}`,
      { where: from, remedy },
    );
  if (!await exists(`${from}/studies.json`)) throw refuse(": there is no studies.json");
  if (await Deno.realPath(from) === await Deno.realPath(kept).catch(() => null)) {
    throw refuse(" beside those that are kept: it is the folder of these");
  }
  await checkLost(from, await exists(`${kept}/studies.json`) ? kept : undefined);
  const [notes, pictures] = [await namesOfNotes(from), await picturesIn(from)];
  for (const run of notes) await readNote(from, run); // throws where it is damaged
  // What a process that was killed had not written yet would be missing in the place of what is kept.
  const table = await exists(`${from}/${TABLE}`) ? await Deno.readTextFile(`${from}/${TABLE}`) : undefined;
  const shown = [...(table ?? "").matchAll(/\]\((plots\/[^)]+\.svg)\)$/gm)].map(([, picture]) => picture);
  const missing = table === undefined ? TABLE : shown.find((picture) => !pictures.includes(picture));
  if (missing !== undefined) {
    throw refuse(` that was written to its end: there is no ${missing}`, "run its studies again");
  }
  const taken = new Map<string, Uint8Array | string>(knownFiles(await readKnown(from, kept)));
  for (const file of ["studies.json", TABLE, ...pictures, ...notes.map(noteFile)]) {
    taken.set(file, await Deno.readFile(`${from}/${file}`));
  }
  return taken;
}
