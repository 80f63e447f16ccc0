// The tables of a comparison, and what their numbers do not show: which runs stand apart, and why. A page
// and a terminal show the same.

import { say, setting, task, type Text, type Words, wordText } from "../../kernels/errors.ts";
import { fewDocuments } from "../evaluation/bootstrap.ts";
import { gainText, TOLD_WAYS, type Way } from "../evaluation/evaluation.ts";
import { number, percent, plural, sourceName } from "../report/html.ts";
import { stagesText } from "../stages/status.ts";
import type { Comparison } from "./compare.ts";
import { valueText } from "./held_out.ts";

/** @ignore A table with its name, and notes below it. */
export type ComparisonTable = { label: string; head: string[]; rows: (string | null)[][]; notes: Text[] };

const decimals = (value: number | null | undefined, digits: number): string | null =>
  value?.toFixed(digits) ?? null;

/** Lists names in a sentence. */
const listed = (names: readonly string[]): string =>
  names.length < 2 ? names.join() : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;

/** Says which text the runs hold out. */
export function heldOutText({ heldOut }: Comparison): string {
  if (heldOut === null) return "No run's manifests describe its held-out text";
  const { sha256, sequences, untold } = heldOut;
  const size = sequences === null ? "" : `, ${plural(sequences, "sequence")}`;
  const [all, but] = untold.length === 0
    ? ["All runs", ""]
    : ["All other runs", `; the manifests of ${listed(untold)} do not describe it`];
  return `${all} hold out the same tokens (SHA-256 ${sha256.slice(0, 12)}${size})${but}`;
}

/** Says which evaluations are not like the others, with what to do. */
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

/** Says which sources are not compared, and why. */
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
  const ways = TOLD_WAYS.filter((way) =>
    way !== "mixture" && runs.some(({ evaluation }) => evaluation?.scores[way])
  );
  const titles: Partial<Record<Way, string>> = { oracle: "best in hindsight" };
  const rows = runs.map(({ name, routes, evaluation, trained, wins, beside }) => {
    const { mixture } = evaluation?.scores ?? {};
    return [
      name,
      evaluation && (routes ? String(evaluation.prefix) : "label"),
      trained === null ? decimals(mixture?.perplexity, 2) : "in part",
      mixture ? `${mixture.low.toFixed(2)} to ${mixture.high.toFixed(2)}` : null,
      ...reference === null ? [] : [beside && gainText(beside)],
      ...ways.map((way) => decimals(evaluation?.scores[way]?.perplexity, 2)),
      wins === null ? null : `${wins} of ${sources.length}`,
    ];
  });
  const head = [
    ...["run", "M", "perplexity", "95% interval", ...reference === null ? [] : [`beside ${reference}`]],
    ...[...ways.map((way) => titles[way] ?? way), "sources won"],
  ];
  return { label: "Mixtures", head, rows, notes: evaluationNotes(comparison) };
}

function partitionsTable({ runs }: Comparison): ComparisonTable {
  const units = new Set(runs.flatMap(({ partition }) => partition ? [partition.costs] : []));
  const rows = runs.map(({ name, partition: own }) => [
    ...[name, own && number(own.sequences), decimals(own?.nmi, 3)],
    ...[decimals(own?.nllPerToken, 3), decimals(own?.regret, 4)],
    ...[own && percent(own.tokenImbalance), own && percent(Math.max(...own.shares))],
  ]);
  const head = [
    "run",
    "sequences",
    "NMI",
    "cost",
    "regret",
    "token imbalance",
    "largest share without balance",
  ];
  const costs = units.size > 1
    ? "Cost and regret are nats per prefix token with routers, and a sequence's own with others: they are not comparable"
    : `Cost and regret are ${
      units.has(undefined) ? "nats per predicted prefix token" : "of whole sequences"
    }`;
  return {
    ...{ label: "Partitions", head, rows },
    notes: units.size === 0 ? [] : [
      `NMI is the normalised mutual information of expert and source, regret the cost of balance. ${costs}`,
    ],
  };
}

/** Makes the tables; `words` says how settings and tasks are worded. */
export function comparisonTables(
  comparison: Comparison,
  words?: Words,
): Record<"runs" | "settings" | "partitions" | "mixtures" | "sources" | "lacks", ComparisonTable> {
  const { runs, settings, sources } = comparison;
  const names = runs.map(({ name }) => name);
  const adapters = runs.map(({ adapter }) => adapter ?? "none");
  const differing = settings.map(({ setting: name, values }) => [
    ...[wordText([setting(name)], words), ...values.map(valueText)],
  ]);
  if (new Set(adapters).size > 1) differing.push(["adapter", ...adapters]);
  return {
    runs: {
      label: "Runs",
      head: ["run", "folder", "partitioner", "experts", "tokens its experts trained on"],
      rows: runs.map(({ name, run, partitioner, experts, expertTokens }) => [
        ...[name, run, partitioner ?? "taken from elsewhere", number(experts)],
        expertTokens === null ? null : number(expertTokens),
      ]),
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
