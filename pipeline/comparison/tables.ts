// The tables of a comparison, and what their numbers do not show: which runs stand apart, and why. A page
// and a terminal show the same.

import { say, setting, task, type Text, type Words, wordText } from "../../kernels/errors.ts";
import { fewDocuments } from "../evaluation/bootstrap.ts";
import { gainText, SHOWN_WAYS, type Way } from "../evaluation/evaluation.ts";
import { number, percent, plural, sourceName } from "../report/html.ts";
import { stepText } from "../stages/lineage.ts";
import { stagesText } from "../stages/status.ts";
import type { ComparedRun, Comparison } from "./compare.ts";
import { valueText } from "./held_out.ts";

/** @ignore A table with its name, and notes below it. */
export type ComparisonTable = { label: string; head: string[]; rows: (string | null)[][]; notes: Text[] };

/** Makes a table with a row per run, of columns with their headings. */
const makeTable = (
  label: string,
  runs: readonly ComparedRun[],
  columns: readonly (readonly [head: string, cell: (run: ComparedRun) => string | null])[],
  notes: Text[] = [],
): ComparisonTable => ({
  ...{ label, notes, head: columns.map(([head]) => head) },
  rows: runs.map((run) => columns.map(([, cell]) => cell(run))),
});

const decimals = (value: number | null | undefined, digits: number): string | null =>
  value?.toFixed(digits) ?? null;

/** Lists names in a sentence. */
const listed = (names: readonly string[]): string =>
  names.length < 2 ? names.join() : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;

/** Reports which text the runs hold out. */
export function heldOutText({ heldOut, runs }: Comparison): string {
  if (heldOut === null && runs.some(({ lineage }) => lineage.length > 0)) {
    return "Runs that derive from one another hold out other text: their perplexities are not compared";
  }
  if (heldOut === null) return "No run's manifests describe its held-out text";
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
  const few = counts.length > 0 && fewDocuments(Math.min(...counts));
  const byLabel = listed(evaluated.filter(({ routes }) => !routes).map(({ name }) => name));
  const notes = runs.map(({ name, run, trained, experts, evaluation, beside }) => {
    if (trained) {
      const some = `the text that goes to ${trained.length} of ${experts} experts`;
      const again = task("evaluate", { run });
      return say`${name} is evaluated only on ${some}, so it is not compared: run ${again} once the others are trained`;
    }
    if (!evaluation || evaluated.length < 2 || beside || name === reference) return false;
    return counts.length > 1 &&
      `${name} cuts the text into other documents, so it is not compared by document`;
  });
  return [
    few,
    byLabel && `The true labels of held-out text route it in ${byLabel}: no prompt has such a label`,
    ...notes,
  ].filter((note): note is Text => Boolean(note));
}

/** Reports which sources are not compared, and why. */
function sourceNotes({ sources, sourcesApart: { length: apart }, unlabelled }: Comparison): string[] {
  if (apart === 0) return [];
  if (unlabelled.length > 0) {
    return [`The text of ${listed(unlabelled)} has no labels, so sources are not compared`];
  }
  return [
    `Not compared: ${apart} of ${
      apart + sources.length
    } sources, which not all runs have with as many tokens`,
  ];
}

function mixturesTable(comparison: Comparison): ComparisonTable {
  const { runs, sources, reference } = comparison;
  const ways = SHOWN_WAYS.filter((way) =>
    way !== "mixture" && runs.some(({ evaluation }) => evaluation?.scores[way])
  );
  const perplexity = ({ evaluation }: ComparedRun, way: Way) =>
    decimals(evaluation?.scores[way]?.perplexity, 2);
  return makeTable("Mixtures", runs, [
    ["run", ({ name }) => name],
    ["M", ({ evaluation, routes }) => evaluation && (routes ? String(evaluation.prefix) : "label")],
    ["perplexity", (run) => run.trained === null ? perplexity(run, "mixture") : "in part"],
    ["95% interval", ({ evaluation }) => {
      const { mixture } = evaluation?.scores ?? {};
      return mixture ? `${mixture.low.toFixed(2)} to ${mixture.high.toFixed(2)}` : null;
    }],
    ...reference === null
      ? []
      : [[`against ${reference}`, ({ beside }: ComparedRun) => beside && gainText(beside)] as const],
    ...ways.map((way) =>
      [way === "oracle" ? "best in hindsight" : way, (run: ComparedRun) => perplexity(run, way)] as const
    ),
    ["sources won", ({ wins }) => wins === null ? null : `${wins} of ${sources.length}`],
  ], evaluationNotes(comparison));
}

function partitionsTable({ runs }: Comparison): ComparisonTable {
  const units = new Set(runs.flatMap(({ partition }) => partition ? [partition.costs] : []));
  const costs = units.size > 1
    ? "Cost and regret are nats per prefix token with routers, and a sequence's own with others: they are not comparable"
    : `Cost and regret are ${
      units.has(undefined) ? "nats per predicted prefix token" : "of whole sequences"
    }`;
  const meaning = "NMI is the normalised mutual information of expert and source, regret the cost of balance";
  return makeTable("Partitions", runs, [
    ["run", ({ name }) => name],
    ["sequences", ({ partition }) => partition && number(partition.sequences)],
    ["NMI", ({ partition }) => decimals(partition?.nmi, 3)],
    ["cost", ({ partition }) => decimals(partition?.nllPerToken, 3)],
    ["regret", ({ partition }) => decimals(partition?.regret, 4)],
    ["token imbalance", ({ partition }) => partition && percent(partition.tokenImbalance)],
    ["largest share without balance", ({ partition }) => partition && percent(Math.max(...partition.shares))],
  ], units.size === 0 ? [] : [`${meaning}. ${costs}`]);
}

/** Makes the tables; `words` says how settings and tasks are worded. */
export function comparisonTables(
  comparison: Comparison,
  words?: Words,
): Record<
  "runs" | "lineage" | "settings" | "partitions" | "mixtures" | "sources" | "lacks",
  ComparisonTable
> {
  const { runs, settings, sources } = comparison;
  const names = runs.map(({ name }) => name);
  const adapters = runs.map(({ adapter }) => adapter ?? "none");
  const differing = settings.map(({ setting: name, values }) => [
    ...[wordText([setting(name)], words), ...values.map(valueText)],
  ]);
  if (new Set(adapters).size > 1) differing.push(["adapter", ...adapters]);
  return {
    runs: makeTable("Runs", runs, [
      ["run", ({ name }) => name],
      ["folder", ({ run }) => run],
      ["partitioner", ({ partitioner }) => partitioner ?? "taken from elsewhere"],
      ["experts", ({ experts }) => number(experts)],
      [
        "tokens its experts trained on",
        ({ expertTokens }) => expertTokens === null ? null : number(expertTokens),
      ],
    ]),
    lineage: {
      label: "Lineage",
      head: ["run", "derives from", "what changed"],
      rows: runs.flatMap(({ name, lineage: [step] }) => step ? [[name, step.from, stepText(step)]] : []),
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
        ...[sourceName(source), number(tokens)],
        ...perplexity.map((value, i) =>
          value === null ? null : `${value.toFixed(2)}${best.includes(i) ? " *" : ""}`
        ),
      ]),
      notes: [
        ...sources.length === 0 ? [] : ["* marks the lowest perplexity of a source"],
        ...sourceNotes(comparison),
      ],
    },
    lacks: {
      label: "Stages that runs lack",
      head: ["run", "stage", "it is", "made by"],
      rows: runs.flatMap(({ name, lacks }) =>
        lacks.map(({ because, ...lack }) => [
          ...[name, stagesText(lack), lack.state + (because ? ` (${wordText(because, words)})` : "")],
          wordText([lack.command], words),
        ])
      ),
      notes: [],
    },
  };
}
