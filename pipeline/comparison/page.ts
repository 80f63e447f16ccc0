/**
 * Writes runs side by side as one HTML page that needs nothing else.
 *
 * @module
 */

import { setting, wordText } from "../../kernels/errors.ts";
import { gainText } from "../evaluation/evaluation.ts";
import { drawPlots } from "../report/drawn.ts";
import { type Html, htmlTable, markup, number, percent, type Table, unbroken } from "../report/html.ts";
import { lackCells } from "../report/sections/out_of_date.ts";
import { page } from "../report/page.ts";
import { labelled } from "../report/plots.ts";
import type { Section } from "../report/section.ts";
import { writeAtomic } from "../run/files.ts";
import type { ComparedRun, CompareOptions, Comparison } from "./comparison.ts";
import { evaluationNotes, sourceNote, untoldText } from "./notes.ts";
import { evaluationPlots, MOST_RUNS, roundPlots } from "./plots.ts";

/** Writes the page; the same comparison gives the same bytes. */
export async function writePage(
  comparison: Comparison,
  { output, words, ...draw }: Pick<CompareOptions, "words" | "signal" | "onWarning"> & { output: string },
): Promise<void> {
  const { runs } = comparison;
  const sections = [
    runsSection(comparison, words),
    partitionSection(runs),
    evaluationSection(comparison, words),
    ...lackSection(runs, words),
  ];
  const { drawn } = await drawPlots(sections, draw);
  const frame = {
    title: `${runs.length} SmallTalk runs side by side`,
    about: runs.map(({ name }) => name).join(" · "),
    task: "compare",
    from: "the files of the runs",
  };
  await writeAtomic(output, page(frame, { figures: figuresOf(runs), sections }, drawn, words));
}

/** The best perplexity, and who has it. */
function figuresOf(runs: readonly ComparedRun[]): [string, string][] {
  const evaluated = runs.flatMap(({ name, evaluation }) => {
    const perplexity = evaluation?.scores.mixture?.perplexity;
    return perplexity === undefined ? [] : [{ name, perplexity }];
  });
  const ordered = evaluated.sort((a, b) => a.perplexity - b.perplexity);
  return ordered.slice(0, 4).map((
    { name, perplexity },
    i,
  ) => [perplexity.toFixed(2), i === 0 ? `lowest perplexity of a mixture: ${name}` : name]);
}

function runsSection({ runs, settings }: Comparison, words: CompareOptions["words"]): Section {
  const overview: Table = {
    head: ["run", "folder", "partitioner", "experts", "tokens its experts trained on"],
    rows: runs.map(({ name, run, partitioner, experts, expertTokens }) => [
      ...[name, run, partitioner ?? "taken from elsewhere", experts, expertTokens],
    ]),
  };
  const rows = settings.map(({ setting: name, values }) => [
    unbroken(wordText([setting(name)], words)),
    ...values.map(valueText),
  ]);
  const adapters = runs.map(({ adapter }) => adapter ?? "none");
  if (new Set(adapters).size > 1) rows.push(["adapter", ...adapters]);
  const differing: Table = { head: ["setting", ...runs.map(({ name }) => name)], rows };
  return {
    id: "runs",
    title: "What differs",
    lead: [
      htmlTable(overview, "Runs"),
      rows.length === 0
        ? markup`<p>All settings are alike.</p>`
        : markup`<p>Settings that not all runs have alike:</p>${
          htmlTable(differing, "Settings that differ")
        }`,
    ],
  };
}

/** Writes the value of a setting. */
export function valueText(value: unknown): string {
  return value === undefined ? "–" : [value].flat().join(", ") || "none";
}

const rounded = (value: number | null, digits: number): number | null =>
  value === null ? null : Number(value.toFixed(digits));

function partitionSection(runs: readonly ComparedRun[]): Section {
  const units = new Set(runs.flatMap(({ partition }) => partition ? [partition.costs] : []));
  const table: Table = {
    head: ["run", "sequences", "NMI", "cost", "regret", "token imbalance", "largest share without balance"],
    rows: runs.map(({ name, partition }) =>
      partition === null ? [name, null, null, null, null, null, null] : [
        ...[name, partition.sequences, rounded(partition.nmi, 3)],
        ...[rounded(partition.nllPerToken, 3), rounded(partition.regret, 4)],
        ...[percent(partition.tokenImbalance), percent(Math.max(...partition.shares))],
      ]
    ),
  };
  return {
    id: "partition",
    title: "Partition",
    lead: [
      markup`<p>NMI is the normalised mutual information of expert and source, regret what balance costs. ${
        units.size > 1
          ? "Costs are nats per predicted prefix token with routers and a sequence's own with others: those of unlike partitioners are not comparable."
          : units.has(undefined)
          ? "Costs are nats per predicted prefix token."
          : "Costs are of whole sequences."
      }</p>`,
      htmlTable(table, "Partitions"),
    ],
    plots: roundPlots(runs),
  };
}

function evaluationSection(comparison: Comparison, words: CompareOptions["words"]): Section {
  const { runs, sources, heldOut, reference } = comparison;
  const section = { id: "evaluation", title: "Held-out text" };
  const notes = evaluationNotes(comparison).map((note) => markup`<p>${unbroken(wordText(note, words))}.</p>`);
  const evaluated = runs.filter(({ evaluation }) => evaluation !== null);
  if (evaluated.length === 0) {
    const none = `No run is evaluated${notes.length === 0 ? "" : " on all its held-out text"} yet.`;
    return { ...section, lead: [markup`<p class="missing">${none}</p>`, ...notes] };
  }
  const wins: Table = {
    head: [
      ...["run", "perplexity", "95% interval"],
      ...reference === null ? [] : [`beside ${reference}`],
      "best of sources",
    ],
    rows: evaluated.map(({ name, evaluation, wins, beside }) => {
      const { perplexity, low, high } = evaluation!.scores.mixture!;
      const own = wins === null ? null : `${wins} of ${sources.length}`;
      return [
        ...[name, perplexity.toFixed(2), `${low.toFixed(2)} to ${high.toFixed(2)}`],
        ...reference === null ? [] : [beside && gainText(beside)],
        own,
      ];
    }),
  };
  const bySource: Table = {
    head: ["source", "tokens", ...evaluated.map(({ name }) => name)],
    rows: sources.map(({ source, tokens, perplexity, best }) => [
      ...[labelled(source), tokens],
      ...perplexity.flatMap((value, i): (Html | null)[] => {
        if (runs[i].evaluation === null) return []; // it has no column
        const text = value?.toFixed(2);
        return [best.includes(i) ? markup`<strong>${text}</strong>` : markup`${text}`];
      }),
    ]),
  };
  const { sha256, sequences, untold } = heldOut!; // a run that is evaluated tells
  const note = sourceNote(comparison);
  const few = runs.length > MOST_RUNS
    ? ` Of more than ${MOST_RUNS} runs there are no plots by prefix and by source.`
    : "";
  return {
    ...section,
    lead: [
      markup`<p>All runs${
        untold.length === 0 ? null : " that tell"
      } hold out the same tokens (SHA-256 <code>${sha256.slice(0, 12)}</code>${
        sequences === null ? null : `, ${number(sequences)} sequences`
      })${untoldText(heldOut!)}.${few}</p>`,
      ...notes,
      htmlTable(wins, "Mixtures"),
    ],
    plots: evaluationPlots(comparison),
    after: [
      ...note === null ? [] : [markup`<p>${note}.</p>`],
      ...sources.length === 0 ? [] : [
        markup`<p>The lowest perplexity of every source is set in bold:</p>`,
        htmlTable(bySource, "Perplexity by source and run"),
      ],
    ],
  };
}

function lackSection(runs: readonly ComparedRun[], words: CompareOptions["words"]): Section[] {
  const rows = runs.flatMap(({ name, lacks }) => lacks.map((lack) => [name, ...lackCells(lack, words)]));
  if (rows.length === 0) return [];
  const table = { head: ["run", "stage", "it is", "made by"], rows };
  return [{
    id: "lacks",
    title: "What is not up to date",
    lead: [htmlTable(table, "Stages that runs lack")],
  }];
}
