// The page of runs side by side.

import { type Words, wordText } from "../../kernels/errors.ts";
import { SHOWN_WAYS } from "../evaluation/evaluation.ts";
import { dots, MOST_LEGEND, PERPLEXITY, type Plot, type Plots } from "../report/charts.ts";
import { htmlTable, markup, unbroken } from "../report/html.ts";
import { page, type Section } from "../report/page.ts";
import { lowerPlot, sourcePlot } from "../report/sections/evaluation.ts";
import { byPrefix } from "../report/sections/prefixes.ts";
import { roundPlots } from "../report/sections/routers.ts";
import { colour, expertLine, type Line, wayLine } from "../report/theme.ts";
import { writeAtomic } from "../run/files.ts";
import { checkOutput } from "../stages/output.ts";
import { compare, type ComparedRun, type CompareOptions, type Comparison } from "./compare.ts";
import { type ComparisonTable, comparisonTables, heldOutText } from "./tables.ts";

type Data = Comparison & { words?: Words; tables: ReturnType<typeof comparisonTables> };

/** Most runs that colours and dashes tell apart in a plot. */
const MOST_RUNS = MOST_LEGEND;
/** A random expert would squeeze all others into a corner. */
const WAYS = SHOWN_WAYS.filter((way) => way !== "random");

/** Gives every run a line; the colours are those of experts, which no plot here shows. */
const runLines = (runs: readonly ComparedRun[]): (Line & { own: ComparedRun })[] =>
  runs.map((own, i) => ({ ...expertLine(i), name: own.name, width: 2, own }));

const html = ({ notes, label, ...table }: ComparisonTable, words?: Words) => {
  const rows = table.rows.map((row) => row.map((cell) => cell && unbroken(cell)));
  return [
    rows.length > 0 && htmlTable({ ...table, rows }, label),
    notes.map((note) => markup`<p>${unbroken(wordText(note, words))}.</p>`),
  ];
};

function perplexityPlot(runs: readonly ComparedRun[]): Plot {
  const ways = WAYS.filter((way) => runs.some(({ evaluation }) => evaluation?.scores[way]));
  return {
    id: "perplexity",
    title: "Perplexity of held-out text",
    about:
      "The mixture of every run, with its 95% bootstrap interval over documents, and next to it the run's baselines and its best expert in hindsight. Lower is better; intervals of two runs may overlap although one is better on the same documents.",
    ...dots({
      title: "run",
      x: PERPLEXITY,
      lines: ways.map((way) => wayLine(way, "E")),
      values: runs.flatMap(({ name, evaluation }) =>
        ways.map((way) => {
          const { perplexity: y = null, low, high } = evaluation?.scores[way] ?? {};
          return { x: name, y, line: wayLine(way, "E").name, ...way === "mixture" && { low, high } };
        })
      ),
    }),
  };
}

function evaluationPlots({ runs, sources, reference }: Comparison): Plots {
  const lines = runLines(runs).filter(({ own }) => own.evaluation !== null);
  if (lines.length === 0) return null;
  const routed = lines.filter(({ own }) => own.routes);
  const paired = runs.flatMap(({ name, beside }) =>
    beside ? [{ name, colour: colour("mixture"), gain: beside }] : []
  );
  const few = runs.length <= MOST_RUNS;
  return [
    perplexityPlot(lines.map(({ own }) => own)),
    reference !== null && lowerPlot(paired, {
      id: "against-first",
      title: `Against ${reference}`,
      about:
        `How much lower the perplexity of a run's mixture is than that of ${reference}, with its 95% interval on the same draws of documents. To the right of zero a run is better; where the interval holds zero, these documents cannot tell.`,
    }),
    few && routed.some(({ own }) => own.experts > 1) && {
      id: "prefix-perplexity",
      title: "Perplexity by routing prefix",
      about: "Perplexity of every run's mixture when it routes by that many tokens, with its 95% interval.",
      ...byPrefix(routed.map((line) => ({ ...line, scores: line.own.evaluation!.prefixes }))),
    },
    few && sources.length > 1 && sourcePlot(
      sources,
      lines.map((line) => ({ ...line, of: ({ perplexity }) => perplexity[runs.indexOf(line.own)] })),
      "Perplexity of every run's mixture on",
      { tokens: ({ tokens }) => tokens },
    ),
  ];
}

/** The lowest perplexities, and whose they are. */
const figures = ({ runs }: Comparison) =>
  runs.map(({ name, evaluation }) => ({
    name,
    perplexity: evaluation?.scores.mixture?.perplexity ?? Infinity,
  }))
    .filter(({ perplexity }) => perplexity < Infinity)
    .sort((a, b) => a.perplexity - b.perplexity).slice(0, 4).map(({ name, perplexity }, i) =>
      [perplexity.toFixed(2), i === 0 ? `lowest perplexity of a mixture: ${name}` : name] as const
    );

/** The sections, in their order. */
const SECTIONS: readonly Section<Data>[] = [
  {
    id: "runs",
    title: "What differs",
    text: (
      { tables, words },
    ) => [html(tables.runs, words), html(tables.lineage, words), html(tables.settings, words)],
  },
  {
    id: "partition",
    title: "Partition",
    text: ({ tables, words }) => html(tables.partitions, words),
    plots: ({ runs }) =>
      runs.length <= MOST_RUNS &&
      roundPlots(runLines(runs).map((line) => ({ ...line, rounds: line.own.rounds }))),
  },
  {
    id: "evaluation",
    title: "Held-out text",
    text: (data) => [
      markup`<p>${heldOutText(data)}.${
        data.runs.length > MOST_RUNS &&
        ` Of more than ${MOST_RUNS} runs there are no plots by prefix and by source.`
      }</p>`,
      html(data.tables.mixtures, data.words),
    ],
    plots: evaluationPlots,
    tables: ({ tables, words }) => html(tables.sources, words),
  },
  {
    id: "lacks",
    title: "What is not up to date",
    when: ({ tables }) => tables.lacks.rows.length > 0,
    text: ({ tables, words }) => html(tables.lacks, words),
  },
];

/**
 * Compares runs by the files in their folders; nothing is run. Throws an `InputError` where fewer than two
 * runs are named, one is named twice, a folder is no run, or a file is damaged. Also where two runs hold out
 * different text, or the page would replace a file of a run.
 */
export async function compareRuns(options: CompareOptions): Promise<Comparison> {
  const { output, words } = options;
  if (output !== undefined) await checkOutput(output);
  const comparison = await compare(options);
  if (output === undefined) return comparison;
  const frame = {
    title: `${comparison.runs.length} SmallTalk runs side by side`,
    about: comparison.runs.map(({ name }) => name).join(" · "),
    task: "compare",
    from: "the files of the runs",
    figures: figures(comparison),
  };
  const tables = comparisonTables(comparison, words);
  const { html } = await page(frame, SECTIONS, { ...comparison, words, tables }, options);
  await writeAtomic(output, html);
  return { ...comparison, output };
}
