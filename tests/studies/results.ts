/**
 * Writes the results of studies into pipeline/SCIENCE.md: a table of all claims, those that do not
 * hold first, and links to the plots of every study. The results are kept in fixtures/reproduction;
 * a test compares the page with them.
 *
 *   deno task results [FOLDER [NAME]]      FOLDER of studies: its results are copied there first, under NAME (studies)
 */

import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { ensure, InputError } from "../../kernels/errors.ts";
import {
  exists,
  filesUnder,
  listEntries,
  removeFiles,
  writeAtomic,
} from "../../pipeline/graph/files.ts";
import {
  knownFiles,
  namesOfNotes,
  noteFile,
  readKnown,
  readNote,
} from "../../pipeline/reproduction/folder.ts";
import { STUDIES } from "../../pipeline/reproduction/grid.ts";
import {
  countVerdicts,
  failuresFirst,
  markdownTable,
  readStudies,
} from "../../pipeline/reproduction/results.ts";
import { type Claim, NOT_REPORTED } from "../../pipeline/report/reproduction.ts";

const PAGE = "pipeline/SCIENCE.md";
const FOLDER = "fixtures/reproduction";
const FOLDER_FROM_PAGE = "../fixtures/reproduction";
const STUDIES_FOLDER = "studies"; // the name of results that have no other
const TABLE = "reproduction.md"; // in each folder of results

/** The results of one study. */
interface KeptStudy {
  study: string;
  folder: string; // the name under which its results are kept
  claims: Claim[];
  pictures: string[]; // paths in the folder of all results
}

/** Reads the results of all folders of studies in a folder, by their `studies.json`. */
export async function readKept(folder: string): Promise<KeptStudy[]> {
  const kept: KeptStudy[] = [];
  for (const name of (await listEntries(folder)).map(({ name }) => name).sort()) {
    const place = `${folder}/${name}`;
    if (!await exists(`${place}/studies.json`)) continue;
    const pictures = await listPictures(place);
    for (const { name: study, claims } of (await readStudies(`${place}/studies.json`)).studies) {
      const plotOfStudy = new RegExp(`^plots/study-${study}(-\\d+)?\\.svg$`);
      kept.push({
        study,
        folder: name,
        claims,
        pictures: pictures.filter((path) => plotOfStudy.test(path)).map((path) =>
          `${name}/${path}`
        ),
      });
    }
  }
  const order = [...STUDIES.keys()];
  return kept.sort((a, b) => order.indexOf(a.study) - order.indexOf(b.study));
}

/** Lists the pictures of a folder of studies. */
const listPictures = async (folder: string): Promise<string[]> =>
  (await Array.fromAsync(filesUnder(folder, "plots"))).filter((path) => path.endsWith(".svg"))
    .sort();

/** A claim of a study. */
interface Judged {
  claim: Claim;
  study: KeptStudy;
  /** The number of experts and the seed that the claim begins with, or "". */
  label: string;
  /** The claim without them, for any number of experts. */
  text: string;
}

/**
 * Lists claims, those that do not hold first. A claim that several studies of a folder draw from
 * the same runs is listed once.
 */
function listJudged(studies: readonly KeptStudy[]): Judged[] {
  const judged = new Map<string, Judged>();
  for (const study of studies) {
    for (const claim of study.claims) {
      const [, experts, seed = "", sentence] =
        /^(\d+) experts(, seed \d+)?: (.*)$/.exec(claim.claim) ?? [];
      const [label, text] = experts
        ? [experts + seed, sentence.replaceAll(`${experts}×`, "E×")]
        : ["", claim.claim];
      const { paper, here, holds } = claim;
      const key = JSON.stringify([study.folder, claim.claim, paper, here, holds]);
      judged.getOrInsert(key, { claim, study, label, text });
    }
  }
  return failuresFirst([...judged.values()], ({ claim }) => claim);
}

/**
 * Writes how many claims do not hold, the table of all claims, the studies that were not run yet,
 * and links to the pictures. `folder` is the path from the page to the results.
 */
export function resultsText(studies: readonly KeptStudy[], folder: string): string {
  const judged = listJudged(studies);
  const { paper, own } = countVerdicts(judged.map(({ claim }) => claim));
  const missing = [...STUDIES.keys()].filter((name) =>
    !studies.some(({ study }) => study === name)
  );
  const pictures = studies.flatMap(({ pictures }) => pictures).map((picture) =>
    `[${picture.replace("plots/study-", "").replace(/\.svg$/, "")}](${join(folder, picture)})`
  );
  const rows = [...Map.groupBy(judged, ({ text }) => text)].map(([text, alike]) => [
    text.replace(/^[a-z]/, (letter) => letter.toUpperCase()),
    paperText(alike),
    figuresText(alike, folder),
    verdictText(alike),
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
  const lines = [...Map.groupBy(alike, ({ study }) => study.folder).values()].map((judged) => {
    const figures = judged.map(({ claim, label }) =>
      `${label && `${label}: `}${claim.here.replace(LIST, "")}`
    );
    return { link: studyLink(judged[0].study, folder), figures: figures.join("; ") };
  });
  return [...Map.groupBy(lines, ({ figures }) => figures)]
    .map(([figures, same]) => `${same.map(({ link }) => link).join(", ")} ${figures}`).join("<br>");
}

/** Links a folder's name to a study in its table; GitHub makes anchors of titles so. */
function studyLink({ study, folder: name }: KeptStudy, folder: string): string {
  const anchor = STUDIES.get(study)?.title.toLowerCase().replace(/[^a-z ]/g, "").replaceAll(
    " ",
    "-",
  );
  return `[${name}](${join(folder, name, TABLE)}#${anchor})`;
}

/**
 * Writes whether a claim holds; where that differs, for which numbers of experts and folders it
 * does not.
 */
function verdictText(alike: readonly Judged[]): string {
  const word = (holds: boolean | null) => holds === null ? "" : holds ? "yes" : "**no**";
  const verdicts = [...Map.groupBy(alike, ({ claim }) => claim.holds)];
  const [last] = verdicts.pop()!;
  if (verdicts.length === 0) return word(last);
  const named = verdicts.map(([holds, judged]) => {
    const names = judged.map(({ label, study: { folder } }) => `${label} (${folder})`.trim());
    return `${word(holds)} for ${names.join(", ")}`;
  });
  return `${named.join("; ")}; else ${word(last) || "undecided"}`;
}

/**
 * Puts text between the marks of a page, where no formatter touches it. Throws an `InputError`
 * where the page has no marks.
 */
export function withResults(page: string, text: string, where: string): string {
  const between = /(?<=^<!-- results: begin.*-->\n)[^]*(?=^<!-- results: end -->$)/m;
  const remedy = 'put "<!-- results: begin -->" and "<!-- results: end -->" on lines of their own';
  const what =
    `Cannot put results into "${where}" as it must say where they go: its marks are missing`;
  ensure(between.test(page), what, { where, remedy });
  return page.replace(
    between,
    () => `<!-- deno-fmt-ignore-start -->\n${text}\n<!-- deno-fmt-ignore-end -->\n`,
  );
}

/**
 * Writes the page from the results that are kept in the project's folder `root`. If `from` names a
 * folder of studies, its results are copied first, under the name `name`. Returns whether the page
 * has changed. Throws an `InputError` where results are missing or damaged, or the page has no
 * marks.
 */
export async function writeSciencePage(
  root: string,
  from?: string,
  name = STUDIES_FOLDER,
): Promise<boolean> {
  const must = "the name must have small letters, digits and hyphens";
  ensure(/^[a-z][a-z0-9-]*$/.test(name), `Cannot keep results as ${must}: it is "${name}"`);
  if (from !== undefined) await copyResults(from, `${root}/${FOLDER}/${name}`);
  const text = resultsText(await readKept(`${root}/${FOLDER}`), FOLDER_FROM_PAGE);
  const page = await Deno.readTextFile(`${root}/${PAGE}`);
  const written = withResults(page, text, PAGE);
  if (written !== page) await writeAtomic(`${root}/${PAGE}`, written);
  return written !== page;
}

/**
 * Copies the results of a folder of studies to `kept`, in place of those that are there. Outcomes of
 * runs, learning rates and settings of routers that are there stay, unless there are newer ones.
 * All is read before anything is written.
 */
async function copyResults(from: string, kept: string): Promise<void> {
  await readStudies(`${from}/studies.json`);
  const runs = await namesOfNotes(from);
  for (const run of runs) await readNote(from, run); // throws where it is damaged
  const copied = new Map<string, Uint8Array | string>(knownFiles(await readKnown(from, kept)));
  const files = ["studies.json", TABLE, ...await listPictures(from), ...runs.map(noteFile)];
  for (const file of files) copied.set(file, await Deno.readFile(`${from}/${file}`));
  for (const [file, content] of copied) await writeAtomic(`${kept}/${file}`, content);
  await removeFiles(kept, (await listPictures(kept)).filter((path) => !copied.has(path)));
}

if (import.meta.main) {
  const [from, name] = Deno.args;
  try {
    const isWritten = await writeSciencePage(
      fileURLToPath(new URL("../..", import.meta.url)),
      from,
      name,
    );
    console.log(isWritten ? `wrote ${PAGE}` : `${PAGE} is up to date`);
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    console.error(`error: ${error.message}`);
    Deno.exit(2);
  }
}
