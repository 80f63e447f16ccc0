/**
 * Puts what studies came to into pipeline/SCIENCE.md: all claims in one table, what does not hold
 * first, and links to the plots of every study. The page says what the files of a folder say, and a
 * test compares them.
 *
 * @module
 */

import { join } from "node:path";
import { ensure, say, setting } from "../../kernels/errors.ts";
import { type Claim, NOT_REPORTED } from "../report/reproduction.ts";
import { exists, filesUnder, listEntries, removeFiles, writeAtomic } from "../graph/files.ts";
import { STUDIES } from "./grid.ts";
import { knownFiles, namesOfNotes, noteFile, readKnown, readNote } from "./folder.ts";
import { countVerdicts, failuresFirst, markdownTable, readStudies } from "./results.ts";

/**
 * The page that says what came out, and the folder of what is kept; both in the project's folder,
 * the folder also from the page.
 */
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
  folder: string; // the name under which its results are kept
  mark: string; // that name in brackets, unless it is `studies`: then ""
  claims: Claim[];
  table: string; // its path in the folder
  pictures: string[]; // their paths in the folder
}

/** Reads what the folders of studies in a folder came to, by their `studies.json`. */
export async function readPublished(folder: string): Promise<Published[]> {
  const published: Published[] = [];
  for (const name of (await listEntries(folder)).map(({ name }) => name).sort()) {
    const place = `${folder}/${name}`;
    if (!await exists(`${place}/studies.json`)) continue;
    const pictures = await picturesIn(place);
    const mark = name === STUDIES_FOLDER ? "" : ` (${name})`;
    for (const { name: study, claims } of (await readStudies(`${place}/studies.json`)).studies) {
      const isOwn = new RegExp(`^plots/study-${study}(-\\d+)?\\.svg$`);
      published.push({
        title: `${STUDIES.get(study)?.title ?? study}${mark}`,
        study,
        folder: name,
        mark,
        claims,
        table: `${name}/${TABLE}`,
        pictures: pictures.filter((path) => isOwn.test(path)).map((path) => `${name}/${path}`),
      });
    }
  }
  const order = [...STUDIES.keys()];
  return published.sort((a, b) => order.indexOf(a.study) - order.indexOf(b.study));
}

/** Lists the pictures of a folder of studies. */
const picturesIn = async (folder: string): Promise<string[]> =>
  (await Array.fromAsync(filesUnder(folder, "plots"))).filter((path) => path.endsWith(".svg"))
    .sort();

/**
 * A claim of a study: the experts and seed that it begins with, or "", and what it says of any
 * number of experts.
 */
interface Judged {
  claim: Claim;
  from: Published;
  label: string;
  text: string;
}

/**
 * Lists claims, those that do not hold first, each once where several studies of a folder come to
 * it by the same runs.
 */
function listJudged(published: readonly Published[]): Judged[] {
  const found = new Map<string, Judged>();
  for (const from of published) {
    for (const claim of from.claims) {
      const [, experts, seed = "", rest] = /^(\d+) experts(, seed \d+)?: (.*)$/.exec(claim.claim) ??
        [];
      const [label, text] = experts
        ? [experts + seed, rest.replaceAll(`${experts}×`, "E×")]
        : ["", claim.claim];
      const key = JSON.stringify([from.folder, claim.claim, claim.paper, claim.here, claim.holds]);
      found.getOrInsert(key, { claim, from, label, text });
    }
  }
  return failuresFirst([...found.values()], ({ claim }) => claim);
}

/**
 * Writes what studies came to: how many claims do not hold, and all claims in one table, those that
 * do not hold first. Then come studies that were not run yet, and the pictures. `folder` is the way
 * from the page to the results.
 */
export function resultsText(published: readonly Published[], folder: string): string {
  const judged = listJudged(published);
  const { paper, own } = countVerdicts(judged.map(({ claim }) => claim));
  const missing = [...STUDIES.keys()].filter((name) =>
    !published.some(({ study }) => study === name)
  );
  const pictures = published.flatMap(({ pictures }) => pictures).map((picture) =>
    `[${picture.replace("plots/study-", "").replace(/\.svg$/, "")}](${join(folder, picture)})`
  );
  const rows = [...Map.groupBy(judged, ({ text }) => text)].map(([text, alike]) => [
    text.replace(/^[a-z]/, (letter) => letter.toUpperCase()),
    ...[paperText(alike), figuresText(alike, folder), verdictText(alike)],
  ]);
  const parts = [
    `Does not hold here: ${paper.no} of ${paper.all} verdicts on claims of the ` +
    `paper, and ${own.no} of ` +
    `${own.all} on questions of our own. A claim has a verdict for every number of ` +
    "experts, seed and text.",
    markdownTable({ head: ["claim", "paper", "ours [95% interval]", "holds"], rows }),
    missing.length > 0 &&
    `Studies whose results are not here yet: ${missing.map((name) => `\`${name}\``).join(", ")}.`,
    `Plots: ${pictures.join(", ")}.`,
  ];
  return parts.filter((part) => part !== false).join("\n\n");
}

/**
 * Writes what the paper reports of a claim; where that is several figures, each has its number of
 * experts before it.
 */
function paperText(alike: readonly Judged[]): string {
  const papers = Map.groupBy(alike, ({ claim: { paper } }) => paper);
  if (papers.size > 1) papers.delete(NOT_REPORTED);
  const texts = [...papers].map(([paper, [{ label }]]) =>
    papers.size > 1 && label ? `${label}: ${paper}` : paper
  );
  return texts.join("; ");
}

/** A list of perplexities by length of prefix, with which a figure ends. */
const LIST = /: \d+: [\d.]+(, \d+: [\d.]+)*$/;

/**
 * Writes the figures of a claim: a line for each folder of studies. A list stays in the study's own
 * table.
 */
function figuresText(alike: readonly Judged[], folder: string): string {
  const lines = [...Map.groupBy(alike, ({ from }) => from.folder).values()].map((judged) => {
    const figures = judged.map(({ claim, label }) =>
      `${label && `${label}: `}${claim.here.replace(LIST, "")}`
    );
    return { link: studyLink(judged[0].from, folder), figures: figures.join("; ") };
  });
  return [...Map.groupBy(lines, ({ figures }) => figures)]
    .map(([figures, from]) => `${from.map(({ link }) => link).join(", ")} ${figures}`).join("<br>");
}

/** Links a folder's name to what a study came to there; GitHub makes anchors of titles so. */
function studyLink({ study, folder: name, table }: Published, folder: string): string {
  const anchor = STUDIES.get(study)?.title.toLowerCase().replace(/[^a-z ]/g, "").replaceAll(
    " ",
    "-",
  );
  return `[${name}](${join(folder, table)}#${anchor})`;
}

/**
 * Writes whether a claim holds; where that differs, for which numbers of experts and folders it
 * does not.
 */
function verdictText(alike: readonly Judged[]): string {
  const word = (holds: boolean | null) => holds === null ? "" : holds ? "yes" : "**no**";
  const verdicts = [...Map.groupBy(alike, ({ claim }) => claim.holds)];
  const [rest] = verdicts.pop()!;
  if (verdicts.length === 0) return word(rest);
  const named = verdicts.map(([holds, judged]) => {
    const names = judged.map(({ label, from: { folder } }) => `${label} (${folder})`.trim());
    return `${word(holds)} for ${names.join(", ")}`;
  });
  return `${named.join("; ")}; else ${word(rest) || "undecided"}`;
}

/**
 * Puts text between the marks of a page, where no formatter touches it. Throws an `InputError`
 * where the page has no marks.
 */
export function withResults(page: string, text: string, where: string): string {
  const found = /(?<=^<!-- results: begin.*-->\n)[^]*(?=^<!-- results: end -->$)/m;
  const remedy = 'put "<!-- results: begin -->" and "<!-- results: end -->" on lines of their own';
  const what =
    `Cannot put results into "${where}" as it must say where they go: its marks are missing`;
  ensure(found.test(page), what, { where, remedy });
  return page.replace(
    found,
    () => `<!-- deno-fmt-ignore-start -->\n${text}\n<!-- deno-fmt-ignore-end -->\n`,
  );
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
 * Writes the page anew from the results that are kept, after taking those of a folder of studies
 * in. They take the place of the results that are kept under that name; what was there is in Git.
 * Notes of runs, learning rates and settings of routers are put next to those that are there. Gives
 * what it says. Throws an `InputError` where there are no such results or they cannot be read, or
 * the page has no place.
 */
export async function publishResults(
  { root, from = "", as = STUDIES_FOLDER }: PublishOptions,
): Promise<PublishedPage> {
  const whose = say`${setting("from")} must say whose: it is not given`;
  ensure(from !== "" || as === STUDIES_FOLDER, say`Cannot keep results as "${as}" as ${whose}`);
  const must = say`${setting("as")} must be a name of small letters, digits and hyphens`;
  ensure(/^[a-z][a-z0-9-]*$/.test(as), say`Cannot keep results as ${must}: it is "${as}"`);
  if (from !== "") await takeResults(from, `${root}/${FOLDER}/${as}`);
  const published = await readPublished(`${root}/${FOLDER}`);
  const before = await Deno.readTextFile(`${root}/${PAGE}`);
  const after = withResults(before, resultsText(published, FROM_PAGE), PAGE);
  const written = after !== before;
  if (written) await writeAtomic(`${root}/${PAGE}`, after);
  return { page: PAGE, written, published };
}

/** Copies what is kept of a folder of studies to `kept`; all is read before anything is written. */
async function takeResults(from: string, kept: string): Promise<void> {
  await readStudies(`${from}/studies.json`);
  const notes = await namesOfNotes(from);
  for (const run of notes) await readNote(from, run); // throws where it is damaged
  const taken = new Map<string, Uint8Array | string>(knownFiles(await readKnown(from, kept)));
  for (const file of ["studies.json", TABLE, ...await picturesIn(from), ...notes.map(noteFile)]) {
    taken.set(file, await Deno.readFile(`${from}/${file}`));
  }
  for (const [file, content] of taken) await writeAtomic(`${kept}/${file}`, content);
  await removeFiles(kept, (await picturesIn(kept)).filter((path) => !taken.has(path)));
}
