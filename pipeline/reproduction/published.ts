/**
 * Puts what studies came to into pipeline/SCIENCE.md: all claims in one table, what does not hold first, and the pictures of every
 * study. The page says what the files of a folder say, and a test compares them.
 *
 * @module
 */

import { join } from "node:path";
import { InputError, say, setting } from "../../kernels/errors.ts";
import type { Claim } from "../report/reproduction.ts";
import { exists, filesUnder, removeFiles, writeAtomic } from "../run/files.ts";
import { countVerdicts, failuresFirst, head, row } from "./claims.ts";
import { knownFiles, namesOfNotes, noteFile, readKnown, readNote } from "./notes.ts";
import { readStudies } from "./results.ts";
import { STUDIES } from "./studies.ts";
import { seedsAmong } from "./study.ts";

/** The page that says what came out, and the folder of what is kept; both in the project's folder, the folder also from the page. */
const [PAGE, FOLDER, FROM_PAGE] = [
  "pipeline/SCIENCE.md",
  "fixtures/reproduction",
  "../fixtures/reproduction",
];

/** Name of the folder in which the results of studies are kept, and the table of such a folder. */
const [STUDIES_FOLDER, TABLE] = ["studies", "reproduction.md"];

/** @ignore What one study came to. */
export interface Published {
  title: string; // what a table calls it
  study: string;
  mark: string; // of results of other text than the preset's, else ""
  claims: Claim[];
  table: string; // its path in the folder
  pictures: string[]; // their paths in the folder
}

/**
 * Reads what the folders of studies in a folder came to, by their `studies.json`. `from` is a folder of studies that stands for the
 * one that is kept there under the name `as`; "" for none.
 */
export async function readPublished(folder: string, from = "", as = STUDIES_FOLDER): Promise<Published[]> {
  const names = (await Array.fromAsync(Deno.readDir(folder))).filter(({ isDirectory }) => isDirectory)
    .map(({ name }) => name);
  const published: Published[] = [];
  for (const name of [...new Set([...names, ...from === "" ? [] : [as]])].sort()) {
    const place = name === as && from !== "" ? from : `${folder}/${name}`;
    if (!await exists(`${place}/studies.json`)) continue;
    const pictures = await picturesIn(place);
    const mark = name === STUDIES_FOLDER ? "" : ` (${name})`;
    for (const { name: study, claims } of (await readStudies(`${place}/studies.json`)).studies) {
      const isOwn = new RegExp(`^plots/study-${study}(-\\d+)?\\.svg$`);
      published.push({
        title: `${STUDIES.get(study)?.title ?? study}${mark}`,
        ...{ study, mark, claims, table: `${name}/${TABLE}` },
        pictures: pictures.filter((path) => isOwn.test(path)).map((path) => `${name}/${path}`),
      });
    }
  }
  const order = [...STUDIES.keys()];
  return published.sort((a, b) => order.indexOf(a.study) - order.indexOf(b.study));
}

/** Lists the pictures of a folder of studies. */
const picturesIn = async (folder: string): Promise<string[]> =>
  (await Array.fromAsync(filesUnder(folder, "plots"))).filter((path) => path.endsWith(".svg")).sort();

/** A claim, and all studies of the same text and settings that come to it. */
type Judged = { claim: Claim; from: Published[] };

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

/**
 * Writes what studies came to: how many claims do not hold, all claims in one table, those that do not hold first, studies that were not
 * run yet, and the pictures; `folder` is the way from the page to the results.
 */
export function resultsText(published: readonly Published[], folder: string): string {
  const judged = judgedOnce(published);
  const { paper, own } = countVerdicts(judged.map(({ claim }) => claim));
  const missing = [...STUDIES.keys()].filter((name) => !published.some(({ study }) => study === name));
  const parts = [
    `Does not hold here: ${paper.no} of ${paper.all} verdicts on claims of the paper, and ${own.no} of ` +
    `${own.all} on questions of our own. A claim has a verdict for every number of experts and seed.`,
    claimsTable(judged, folder).join("\n"),
    missing.length > 0 &&
    `Studies whose results are not here yet: ${missing.map((name) => `\`${name}\``).join(", ")}.`,
    ...published.flatMap(({ study, mark, pictures }) =>
      pictures.map((picture) => `![${study}${mark}](${join(folder, picture)})`)
    ),
  ];
  return parts.filter((part) => part !== false).join("\n\n");
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

/** Writes all claims, those that do not hold first: a row for what is said of several numbers of experts and seeds. */
function claimsTable(judged: readonly Judged[], folder: string): string[] {
  const joined = (texts: readonly string[]) => [...new Set(texts)].join("; ");
  const link = ({ study, mark, table }: Published) => `[${study}${mark}](${join(folder, table)})`;
  const alike = Map.groupBy(
    failuresFirst(judged, ({ claim }) => claim),
    ({ claim: { claim, here, holds }, from: [{ mark }] }) => {
      const [label, text] = ofAnyNumber(claim);
      return JSON.stringify([mark, text, holds, label === "" && here]);
    },
  );
  const rows = [...alike.values()].map((judged) => {
    const parts = judged.map(({ claim: { claim, here } }) => {
      const [label] = ofAnyNumber(claim), [figure, interval] = withInterval(here);
      return { figure: label ? `${label}: ${figure}` : figure, interval };
    });
    const [{ claim: { claim, holds } }] = judged;
    return row([
      ofAnyNumber(claim)[1].replace(/^[a-z]/, (letter) => letter.toUpperCase()),
      joined(judged.map(({ claim: { paper } }) => paper)),
      joined(parts.map(({ figure }) => figure)),
      parts.map(({ interval }) => interval).filter((interval) => interval !== "").join("; "),
      holds === null ? "" : holds ? "yes" : "**no**",
      joined(judged.flatMap(({ from }) => from.map(link))),
    ]);
  });
  return [...head(["claim", "paper", "ours", "95% interval", "holds", "study"]), ...rows];
}

/**
 * Puts text between the marks of a page, where no formatter touches it. Throws an `InputError` where the
 * page has no marks.
 */
export function withResults(page: string, text: string, where: string): string {
  const found = /^<!-- results: begin.*-->\n([^]*)^<!-- results: end -->$/m.exec(page);
  if (!found) {
    throw new InputError(
      `Cannot put results into "${where}" as it must say where they go: its marks are missing`,
      {
        where,
        remedy: 'put "<!-- results: begin -->" and "<!-- results: end -->" on lines of their own',
      },
    );
  }
  const at = found.index + found[0].indexOf("\n") + 1;
  const ignored = `<!-- deno-fmt-ignore-start -->\n${text}\n<!-- deno-fmt-ignore-end -->\n`;
  return page.slice(0, at) + ignored + page.slice(at + found[1].length);
}

/** @ignore What {@linkcode publishResults} takes. */
export interface PublishOptions {
  root: string; // the project's folder
  from?: string; // folder of studies whose results are taken in first; "" for none
  as?: string; // name under which they are kept, by default `studies`
}

/** @ignore What the page says. */
export interface PublishedPage {
  page: string; // its path in the project's folder
  written: boolean; // whether it was written; not where it said the same before
  published: Published[]; // what came of every study
}

/**
 * Writes the page anew from the results that are kept, after taking those of a folder of studies in: they
 * take the place of the results that are kept under that name. Notes of runs, learning rates and settings of
 * routers are put next to those that are there. Gives what it says. Throws an `InputError` where
 * there are no such results or they cannot be read, studies or seeds that are kept would be
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
    const must = say`${setting("as")} must be a name of small letters, digits and hyphens`;
    throw new InputError(say`Cannot keep results as ${must}: it is "${as}"`);
  }
  const kept = `${root}/${FOLDER}/${as}`;
  const taken = from === "" ? undefined : await readTaken(from, kept);
  const published = await readPublished(`${root}/${FOLDER}`, from, as);
  const before = await Deno.readTextFile(`${root}/${PAGE}`);
  const after = withResults(before, resultsText(published, FROM_PAGE), PAGE);
  if (taken) {
    for (const [file, content] of taken) await writeAtomic(`${kept}/${file}`, content);
    const files = await Array.fromAsync(filesUnder(kept, ""));
    await removeFiles(kept, files.filter((path) => path.endsWith(".svg") && !taken.has(path)));
  }
  const written = after !== before;
  if (written) await writeAtomic(`${root}/${PAGE}`, after);
  return { page: PAGE, written, published };
}

/** Reads the files of a folder of studies that are kept; `kept` is where. */
async function readTaken(from: string, kept: string): Promise<Map<string, Uint8Array | string>> {
  for (const file of ["studies.json", TABLE]) {
    if (await exists(`${from}/${file}`)) continue;
    const must = say`${setting("from")} must be a folder of studies: there is no ${file}`;
    throw new InputError(say`Cannot take results from "${from}" as ${must}`, { where: from });
  }
  if (await exists(`${kept}/studies.json`)) await checkLost(from, kept);
  const notes = await namesOfNotes(from);
  for (const run of notes) await readNote(from, run); // throws where it is damaged
  const taken = new Map<string, Uint8Array | string>(knownFiles(await readKnown(from, kept)));
  for (const file of ["studies.json", TABLE, ...await picturesIn(from), ...notes.map(noteFile)]) {
    taken.set(file, await Deno.readFile(`${from}/${file}`));
  }
  return taken;
}

/** Throws an `InputError` where studies that are kept, or seeds of theirs, would be lost. */
async function checkLost(from: string, kept: string): Promise<void> {
  const [own, before] = await Promise.all(
    [from, kept].map(async (folder) => (await readStudies(`${folder}/studies.json`)).studies),
  );
  const lost = before.flatMap(({ name, runs }) => {
    const study = own.find((study) => study.name === name);
    const [seeds, now] = [runs, study?.runs ?? []].map(seedsAmong);
    return !study ? [name] : now < seeds ? [`${seeds - now} of ${seeds} seeds of ${name}`] : [];
  });
  if (lost.length === 0) return;
  const must = `it must hold all studies and seeds that are kept in their place: ${lost.join(", ")}`;
  throw new InputError(say`Cannot take results from "${from}" as ${must} would be lost`, {
    where: from,
    remedy: say`keep them next to these, under another name, with ${setting("as")}`,
  });
}
