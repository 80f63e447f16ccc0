/**
 * Writes the findings of studies: as JSON for programs, as Markdown, and as a page with plots.
 *
 * @module
 */

import * as v from "valibot";
import type { Words } from "../../kernels/errors.ts";
import { htmlTable, markup, type Table } from "../report/html.ts";
import { page, type Section } from "../report/page.ts";
import { CLAIM, type Claim, NOT_REPORTED } from "../report/reproduction.ts";
import { claimsTable } from "../report/sections/paper.ts";
import { jsonText, removeIfThere, writeAtomic } from "../graph/files.ts";
import { readJson } from "../graph/schema.ts";
import { ROUTING_VERDICTS } from "./claims.ts";
import { type Findings, seedsAmong, type Study } from "./study.ts";

/**
 * A study, what it found, the adapters that its runs were evaluated on (results of another one
 * differ by roundings), and their names.
 *
 * @ignore
 */
export interface StudyResult {
  study: Study;
  findings: Findings;
  adapters: readonly string[];
  runs: readonly string[];
}

const CELL = v.nullable(v.union([v.string(), v.number()]));
const SETTINGS = v.record(
  v.string(),
  v.union([v.string(), v.number(), v.boolean(), v.array(v.unknown())]),
);
const RESULTS = v.object({
  format: v.literal(1),
  settings: SETTINGS,
  studies: v.array(v.object({
    name: v.string(),
    claims: v.array(CLAIM),
    table: v.object({ head: v.array(v.string()), rows: v.array(v.array(CELL)) }),
    adapters: v.array(v.string()),
    runs: v.array(v.string()),
  })),
});

/**
 * What `studies.json` holds: the settings that all runs share where they are no defaults, and the
 * studies. Of every study it holds the claims, the table, the adapters that evaluated, and the
 * runs.
 *
 * @ignore
 */
export type StudyResults = v.InferOutput<typeof RESULTS>;

/** Reads a `studies.json`. Throws an `InputError` where it is missing or damaged. */
export const readStudies = (path: string): Promise<StudyResults> =>
  readJson(path, RESULTS, "results of studies");

/** What a verdict takes. */
const VERDICTS = [
  "Intervals are those of 95%, of a bootstrap over documents: they do not cover what " +
  "another seed would change.",
  "A gain over another model, both on the same draws: yes where its interval lies " +
  "above zero, else no. Next to the larger dense model, which the paper has about " +
  "equal: no where it lies below zero, else yes.",
  "A gain that grows with E: yes where each number of experts gains more than the " +
  "one before, and the most gain more than the fewest and than nothing, beyond the " +
  "intervals; no where more experts gain less, beyond both intervals; else open.",
  "One mixture that is better than another: yes where its perplexity is lower beyond " +
  "both intervals, no where it is higher beyond both, else open. A claim that says " +
  "so itself asks for both intervals, and is else answered no; one of every seed " +
  "asks for a lower perplexity with each, without an interval.",
  "Random parts that gain nothing: yes where their perplexity is not below that of " +
  "the dense model, no where it is below beyond both intervals, else open.",
  "An expert that is ahead on its own text: yes for any lower perplexity, without an interval.",
  `What routing finds and costs: ${ROUTING_VERDICTS}; else no.`,
];
const TITLE = "The paper's comparison at a small size";
const VERDICTS_TITLE = "What a verdict takes";

/**
 * Writes `reproduction.md`, `report.html`, a picture per study and, once all that is there,
 * `studies.json` into a folder.
 */
export async function writeResults(
  root: string,
  results: readonly StudyResult[],
  { settings = {}, ...options }: {
    settings?: StudyResults["settings"];
    words?: Words;
    signal?: AbortSignal;
    onWarning?: (message: string) => void;
  },
): Promise<void> {
  const studies = results.map(({ study, findings: { claims, table }, adapters, runs }) => ({
    name: study.name,
    claims,
    table,
    adapters,
    runs,
  }));
  await removeIfThere(`${root}/studies.json`); // it stands for all the rest
  await writeAtomic(`${root}/reproduction.md`, studiesMarkdown(results, settings));
  const { paper, own } = countVerdicts(results.flatMap(({ findings }) => findings.claims));
  const about = "What the studies ask, what the paper says, and what came out here.";
  const frame = {
    title: TITLE,
    about: [about, ...settingsText(settings)].join(" "),
    task: "reproduce",
    from: "the runs of the studies",
    figures: [
      [`${paper.no} of ${paper.all}`, "claims of the paper do not hold"],
      [`${own.no} of ${own.all}`, "questions of our own are answered no"],
    ] as const,
  };
  const verdicts: Section = {
    id: "verdicts",
    title: VERDICTS_TITLE,
    parts: () => VERDICTS.map((rule) => markup`<p>${rule}</p>\n`),
  };
  const sections = [...results.map(studySection), verdicts];
  const { html } = await page(frame, sections, null, { plots: `${root}/plots`, ...options });
  await writeAtomic(`${root}/report.html`, html);
  await writeAtomic(`${root}/studies.json`, jsonText({ format: 1, settings, studies }));
}

/** Reports with which settings the runs were made; nothing where there are none to tell. */
function settingsText(settings: StudyResults["settings"] = {}): string[] {
  const reported = Object.entries(settings).map(([name, value]) => `${name} ${value}`);
  const title = "Settings that are no defaults, unless a study varies or searches them";
  return reported.length === 0 ? [] : [`${title}: ${reported.join(", ")}.`];
}

/**
 * Reports on which adapters the runs of a study were evaluated, and how many seeds there are of a
 * run.
 */
function evaluatedOn({ adapters, runs }: StudyResult): string {
  const seeds = seedsAmong(runs);
  const seedsText = seeds === 1 ? "One seed." : `Up to ${seeds} seeds of a run.`;
  return `Evaluated on: ${adapters.join("; ")}. ${seedsText}`;
}

const studySection = (result: StudyResult): Section => {
  const { study: { name, title, question, paper }, findings } = result;
  return {
    id: name,
    title,
    parts: () => [
      markup`<p>${question}</p>\n<p>The paper: ${paper}</p>\n<p>${evaluatedOn(result)}</p>\n`,
      ...[claimsTable(findings.claims), findings.plots, htmlTable(findings.table, title)],
      findings.note !== undefined && markup`<p>${findings.note}</p>\n`,
    ],
  };
};

/**
 * Writes all findings as Markdown: settings, every study's question, claims and table, and what a
 * verdict takes.
 */
function studiesMarkdown(
  results: readonly StudyResult[],
  settings: StudyResults["settings"],
): string {
  const parts = results.flatMap((result) => {
    const { study, findings: { claims, table, note, plots } } = result;
    return [
      ...[`## ${study.title}`, study.question, `The paper: ${study.paper}`, evaluatedOn(result)],
      ...[claimsMarkdown(claims), markdownTable(table), ...note === undefined ? [] : [note]],
      plots.map(({ id, title }) => `![${title}](plots/${id}.svg)`).join("\n"),
    ];
  });
  const rules = VERDICTS.map((rule) => `- ${rule}`).join("\n");
  const all = [`# ${TITLE}`, ...settingsText(settings), ...parts, `## ${VERDICTS_TITLE}`, rules];
  return all.join("\n\n") + "\n";
}

/** Writes a table in Markdown. */
export function markdownTable({ head, rows }: Pick<Table, "head" | "rows">): string {
  const line = (cells: readonly unknown[]) =>
    `| ${cells.map((cell) => String(cell ?? "").replaceAll("|", "\\|")).join(" | ")} |`;
  return [head, head.map(() => "---"), ...rows].map(line).join("\n");
}

/** Writes claims as a table in Markdown. */
export const claimsMarkdown = (claims: readonly Claim[]): string =>
  markdownTable({
    head: ["claim", "paper", "here", "holds"],
    rows: claims.map(({ claim, paper, here, holds }) => [
      ...[claim, paper, here, holds === null ? "" : holds ? "yes" : "no"],
    ]),
  });

/**
 * Counts verdicts, and those of them that say no: on claims of the paper, and on questions that it
 * does not report on.
 */
export function countVerdicts(
  claims: readonly Claim[],
): Record<"paper" | "own", { no: number; all: number }> {
  const count = (isOwn: boolean) => {
    const judged = claims.filter(({ paper, holds }) =>
      (paper === NOT_REPORTED) === isOwn && holds !== null
    );
    return { no: judged.filter(({ holds }) => !holds).length, all: judged.length };
  };
  return { paper: count(false), own: count(true) };
}

/** Sorts to the front what does not hold, and to the end what cannot. */
export function failuresFirst<Item>(
  items: readonly Item[],
  claimOf: (item: Item) => Claim,
): Item[] {
  const rank = ({ holds }: Claim) => holds === false ? 0 : holds ? 1 : 2;
  return items.toSorted((a, b) => rank(claimOf(a)) - rank(claimOf(b)));
}
