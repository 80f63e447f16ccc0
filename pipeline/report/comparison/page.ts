// Runs side by side as tables, which a terminal and a page show alike, and as a page with plots.
// Notes below tables tell what their numbers do not show: which runs stand apart, and why.

import { say, setting, task, type Text, type Words, wordText } from "../../../kernels/errors.ts";
import { fewDocuments } from "../../evaluation/bootstrap.ts";
import { gainText, SHOWN_WAYS, type Way } from "../../evaluation/evaluation.ts";
import { colour, dots, expertLine, type Line, MOST_LEGEND, type Plot, wayLine } from "../charts.ts";
import { htmlTable, markup, plural, sourceName, unbroken, valueText } from "../html.ts";
import { page, type Section, type SectionPart } from "../page.ts";
import { lowerPlot, plotByPrefix, sourcePlot } from "../sections/evaluation.ts";
import { roundPlots } from "../sections/routers.ts";
import { writeAtomic } from "../../graph/files.ts";
import { numberText, percent } from "../../graph/numbers.ts";
import { lineageStepText } from "../../stages/derivation.ts";
import { checkOutput } from "../../run/output.ts";
import { stagesText } from "../../run/status.ts";
import { compare, type ComparedRun, type CompareOptions, type Comparison } from "./compare.ts";

/** @ignore A table with its name, and notes below it. */
export type ComparisonTable = {
  label: string;
  head: string[];
  rows: (string | null)[][];
  notes: Text[];
};

/** Makes a table with a row per run, of columns with their headings. */
const makeTable = (
  label: string,
  runs: readonly ComparedRun[],
  columns: Record<string, (run: ComparedRun) => string | null>,
  notes: Text[] = [],
): ComparisonTable => ({
  label,
  notes,
  head: Object.keys(columns),
  rows: runs.map((run) => Object.values(columns).map((cell) => cell(run))),
});

const decimals = (value: number | null | undefined, digits: number) =>
  value?.toFixed(digits) ?? null;

/** Lists names in a sentence. */
const listed = (names: readonly string[]): string => new Intl.ListFormat("en-GB").format(names);

/** Reports which text the runs hold out. */
export function heldOutText({ heldOut, runs }: Comparison): string {
  if (heldOut === null) {
    return runs.some(({ lineage }) => lineage.length > 0)
      ? "Runs that derive from one another hold out other text: their perplexities are not compared"
      : "No run's manifests describe its held-out text";
  }
  const { sha256, sequences, untold } = heldOut;
  const size = sequences === null ? "" : `, ${plural(sequences, "sequence")}`;
  const [all, but] = untold.length === 0
    ? ["All runs", ""]
    : ["All other runs", `; the manifests of ${listed(untold)} do not describe it`];
  return `${all} hold out the same tokens (SHA-256 ${sha256.slice(0, 12)}${size})${but}`;
}

/** Reports which evaluations are not like the others, with what to do. */
function evaluationNotes({ runs, reference }: Comparison): Text[] {
  const evaluated = runs.filter(({ evaluation }) => evaluation !== null);
  const counts = evaluated.flatMap(({ documents }) => documents ?? []);
  const byLabel = evaluated.filter(({ routes }) => !routes).map(({ name }) => name);
  const isApart = ({ name, evaluation, beside }: ComparedRun) =>
    evaluation !== null && counts.length > 1 && !beside && name !== reference;
  const notes = runs.map((compared): Text | false => {
    const { name, run, trained, experts } = compared;
    const evaluateTask = task("evaluate", { run });
    if (!trained) {
      return isApart(compared) &&
        `${name} cuts the text into other documents, so it is not compared by document`;
    }
    const some = `the text that goes to ${trained.length} of ${experts} experts`;
    const fact = say`${name} is evaluated only on ${some}, so it is not compared`;
    return say`${fact}: run ${evaluateTask} once the others are trained`;
  });
  return [
    counts.length > 0 && fewDocuments(Math.min(...counts)),
    byLabel.length > 0 &&
    `The true labels of held-out text route it in ${listed(byLabel)}: no prompt has such a label`,
    ...notes,
  ].filter((note): note is Text => Boolean(note));
}

/** Reports which sources are not compared, and why. */
function sourceNotes(
  { sources, sourcesApart: { length: apart }, unlabelled }: Comparison,
): string[] {
  const lowest = sources.length === 0 ? [] : ["* marks the lowest perplexity of a source"];
  if (apart === 0) return lowest;
  if (unlabelled.length > 0) {
    return [
      ...lowest,
      `The text of ${listed(unlabelled)} has no labels, so sources are not compared`,
    ];
  }
  const some = `${apart} of ${apart + sources.length} sources`;
  return [...lowest, `Not compared: ${some}, which not all runs have with as many tokens`];
}

function mixturesTable(comparison: Comparison): ComparisonTable {
  const { runs, sources, reference } = comparison;
  const ways = SHOWN_WAYS.filter((way) =>
    way !== "mixture" && runs.some(({ evaluation }) => evaluation?.scores[way])
  );
  const perplexity = (way: Way) => ({ evaluation }: ComparedRun) =>
    decimals(evaluation?.scores[way]?.perplexity, 2);
  const bits = ({ evaluation }: ComparedRun) => evaluation?.scores.mixture?.bitsPerByte;
  const columns = ways.map((
    way,
  ) => [way === "oracle" ? "best in hindsight" : way, perplexity(way)]);
  return makeTable("Mixtures", runs, {
    run: ({ name }) => name,
    M: ({ evaluation, routes }) => evaluation && (routes ? String(evaluation.prefix) : "label"),
    perplexity: (run) => run.trained === null ? perplexity("mixture")(run) : "in part",
    "95% interval": ({ evaluation }) => {
      const { mixture } = evaluation?.scores ?? {};
      return mixture ? `${mixture.low.toFixed(2)} to ${mixture.high.toFixed(2)}` : null;
    },
    ...runs.some((run) => bits(run) !== undefined) && {
      "bits/byte": (run) => run.trained === null ? decimals(bits(run), 4) : "in part",
    },
    ...reference !== null &&
      { [`against ${reference}`]: ({ beside }) => beside && gainText(beside) },
    ...Object.fromEntries(columns),
    "sources won": ({ wins }) => wins === null ? null : `${wins} of ${sources.length}`,
  }, evaluationNotes(comparison));
}

function partitionsTable({ runs }: Comparison): ComparisonTable {
  const units = new Set(runs.flatMap(({ partition }) => partition ? [partition.costs] : []));
  const costs = units.size > 1
    ? "nats per prefix token with routers, and a sequence's own with others: they " +
      "are not comparable"
    : units.has(undefined)
    ? "nats per predicted prefix token"
    : "of whole sequences";
  const meaning =
    "NMI is the normalised mutual information of expert and source, regret the cost of balance";
  return makeTable("Partitions", runs, {
    run: ({ name }) => name,
    sequences: ({ partition }) => partition && numberText(partition.sequences),
    NMI: ({ partition }) => decimals(partition?.nmi, 3),
    cost: ({ partition }) => decimals(partition?.nllPerToken, 3),
    regret: ({ partition }) => decimals(partition?.regret, 4),
    "token imbalance": ({ partition }) => partition && percent(partition.tokenImbalance),
    "largest share without balance": ({ partition }) =>
      partition && percent(Math.max(...partition.shares)),
  }, units.size === 0 ? [] : [`${meaning}. Cost and regret are ${costs}`]);
}

type TableName = "runs" | "lineage" | "settings" | "partitions" | "mixtures" | "sources" | "lacks";

/**
 * Makes the tables; `words` says how settings and tasks are worded.
 *
 * @ignore
 */
export function comparisonTables(
  comparison: Comparison,
  words?: Words,
): Record<TableName, ComparisonTable> {
  const { runs, settings, sources } = comparison;
  const names = runs.map(({ name }) => name);
  const adapters = runs.map(({ adapter }) => adapter ?? "none");
  const differing = settings.map(({ setting: name, values }) => [
    ...[wordText([setting(name)], words), ...values.map(valueText)],
  ]);
  if (new Set(adapters).size > 1) differing.push(["adapter", ...adapters]);
  return {
    runs: makeTable("Runs", runs, {
      run: ({ name }) => name,
      folder: ({ run }) => run,
      partitioner: ({ partitioner }) => partitioner ?? "taken from elsewhere",
      experts: ({ experts }) => numberText(experts),
      "tokens its experts trained on": ({ expertTokens }) =>
        expertTokens === null ? null : numberText(expertTokens),
    }),
    lineage: {
      label: "Lineage",
      head: ["run", "derives from", "what changed"],
      rows: runs.flatMap(({ name, lineage: [step] }) =>
        step ? [[name, step.from, lineageStepText(step)]] : []
      ),
      notes: [],
    },
    settings: {
      label: "Settings that differ",
      head: ["setting", ...names],
      rows: differing,
      notes: differing.length === 0 ? ["All settings are alike"] : [],
    },
    partitions: partitionsTable(comparison),
    mixtures: mixturesTable(comparison),
    sources: {
      label: "Perplexity by source and run",
      head: ["source", "tokens", ...names],
      rows: sources.map(({ source, tokens, perplexity, best }) => [
        ...[sourceName(source), numberText(tokens)],
        ...perplexity.map((value, i) =>
          decimals(value, 2)?.concat(best.includes(i) ? " *" : "") ?? null
        ),
      ]),
      notes: sourceNotes(comparison),
    },
    lacks: {
      label: "Stages that runs lack",
      head: ["run", "stage", "it is", "made by"],
      rows: runs.flatMap(({ name, lacks }) =>
        lacks.map(({ because, ...lack }) => [
          ...[
            name,
            stagesText(lack),
            lack.state + (because ? ` (${wordText(because, words)})` : ""),
          ],
          wordText([lack.command], words),
        ])
      ),
      notes: [],
    },
  };
}

/** Gives every run a line; the colours are those of experts, which no plot here shows. */
const runLines = (runs: readonly ComparedRun[]): (Line & { run: ComparedRun })[] =>
  runs.map((run, i) => ({ ...expertLine(i), name: run.name, width: 2, run }));

function perplexityPlot(runs: readonly ComparedRun[]): Plot {
  // A random expert would squeeze all others into a corner.
  const ways = SHOWN_WAYS.filter((way) =>
    way !== "random" && runs.some(({ evaluation }) => evaluation?.scores[way])
  );
  return {
    id: "perplexity",
    title: "Perplexity of held-out text",
    about: "The mixture of every run, with its 95% bootstrap interval over documents, and " +
      "next to it the run's baselines and its best expert in hindsight. Lower is " +
      "better; intervals of two runs may overlap although one is better on the same " +
      "documents.",
    ...dots({
      title: "run",
      lines: ways.map((way) => wayLine(way, "E")),
      values: runs.flatMap(({ name, evaluation }) =>
        ways.map((way) => {
          const { perplexity: y = null, low, high } = evaluation?.scores[way] ?? {};
          return {
            x: name,
            y,
            line: wayLine(way, "E").name,
            ...way === "mixture" && { low, high },
          };
        })
      ),
    }),
  };
}

function evaluationPlots({ runs, sources, reference }: Comparison): SectionPart {
  const lines = runLines(runs).filter(({ run }) => run.evaluation !== null);
  if (lines.length === 0) return null;
  const routed = lines.filter(({ run }) => run.routes);
  const paired = runs.flatMap(({ name, beside }) =>
    beside ? [{ name, colour: colour("mixture"), gain: beside }] : []
  );
  return [
    perplexityPlot(lines.map(({ run }) => run)),
    reference !== null && lowerPlot(paired, {
      id: "against-first",
      title: `Against ${reference}`,
      about: "How much lower the perplexity of a run's mixture is than that of " +
        `${reference}, with its 95% interval on the same draws of documents. To the ` +
        "right of zero a run is better; where the interval holds zero, these " +
        "documents cannot tell.",
    }),
    runs.length <= MOST_LEGEND && [
      routed.some(({ run }) => run.experts > 1) && {
        id: "prefix-perplexity",
        title: "Perplexity by routing prefix",
        about: "Perplexity of every run's mixture when it routes by that many tokens, " +
          "with its 95% interval.",
        ...plotByPrefix(routed.map((line) => ({ ...line, scores: line.run.evaluation!.prefixes }))),
      },
      sources.length > 1 && sourcePlot(
        sources,
        lines.map((line) => ({
          ...line,
          perplexity: ({ perplexity }) => perplexity[runs.indexOf(line.run)],
        })),
        "Perplexity of every run's mixture on",
      ),
    ],
  ];
}

/** Lists the lowest perplexities, and whose they are. */
const figures = ({ runs }: Comparison) =>
  runs.map(({ name, evaluation }) => ({
    name,
    perplexity: evaluation?.scores.mixture?.perplexity ?? Infinity,
  }))
    .filter(({ perplexity }) => perplexity < Infinity).sort((a, b) => a.perplexity - b.perplexity)
    .slice(0, 4)
    .map(({ name, perplexity }, i) =>
      [perplexity.toFixed(2), i === 0 ? `lowest perplexity of a mixture: ${name}` : name] as const
    );

/** Lists the sections, in their order. */
function listSections(comparison: Comparison, words?: Words): Section[] {
  const { runs } = comparison;
  const tables = comparisonTables(comparison, words);
  const show = ({ notes, label, head, rows }: ComparisonTable) => [
    rows.length > 0 &&
    htmlTable({ head, rows: rows.map((row) => row.map((cell) => cell && unbroken(cell))) }, label),
    notes.map((note) => markup`<p>${unbroken(wordText(note, words))}.</p>`),
  ];
  const few = runs.length <= MOST_LEGEND; // colours and dashes tell no more apart
  const left = !few &&
    ` Of more than ${MOST_LEGEND} runs there are no plots by prefix and by source.`;
  const rounds = runLines(runs).map((line) => ({ ...line, rounds: line.run.rounds }));
  const sections: [id: string, title: string, parts: SectionPart[]][] = [
    ["runs", "What differs", [tables.runs, tables.lineage, tables.settings].map(show)],
    ["partition", "Partition", [show(tables.partitions), few && roundPlots(rounds)]],
    ["evaluation", "Held-out text", [
      markup`<p>${heldOutText(comparison)}.${left}</p>`,
      ...[show(tables.mixtures), evaluationPlots(comparison), show(tables.sources)],
    ]],
  ];
  if (tables.lacks.rows.length > 0) {
    sections.push(["lacks", "What is not up to date", [show(tables.lacks)]]);
  }
  return sections.map(([id, title, parts]) => ({ id, title, parts: () => parts }));
}

/**
 * Compares runs by the files in their folders; nothing is run. Throws an `InputError` where fewer
 * than two runs are named, a folder is no run, or a file is damaged. Also where two runs hold out
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
  const { html } = await page(frame, listSections(comparison, words), null, options);
  await writeAtomic(output, html);
  return { ...comparison, output };
}
