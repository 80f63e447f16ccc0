/**
 * Lays out runs side by side, for a person to read.
 *
 * @module
 */

import { setting } from "../kernels/mod.ts";
import {
  type ComparedRun,
  type Comparison,
  evaluationNotes,
  sourceNote,
  untoldText,
  valueText,
} from "../pipeline/comparison/mod.ts";
import { atPrefix, gainText, TOLD_WAYS, type Way } from "../pipeline/evaluation/mod.ts";
import { stagesText } from "../pipeline/stages/mod.ts";
import { count, counted, percent, sourceName, table } from "./layout.ts";
import { worded, words } from "./wording.ts";

const NONE = "-";

const decimals = (value: number | null | undefined, digits: number): string => value?.toFixed(digits) ?? NONE;

/** Gives a comparison in which remedies are commands. */
export function comparisonJson({ runs, ...comparison }: Comparison): unknown {
  const lacksOf = ({ lacks }: ComparedRun) =>
    lacks.map(({ because, command, ...lack }) => ({
      ...lack,
      because: because && worded(because),
      command: words(command),
    }));
  return { runs: runs.map((run) => ({ ...run, lacks: lacksOf(run) })), ...comparison };
}

/** Lays out a comparison: settings, partitions, evaluations, sources, prefixes, and what runs lack. */
export function comparisonText(comparison: Comparison): string {
  const { runs, heldOut, output } = comparison;
  const blocks = [
    settingsText(comparison),
    partitionText(runs),
    evaluationText(comparison),
    sourcesText(comparison),
    prefixText(runs),
    lacksText(runs),
    [
      heldOut === null
        ? "held-out text: no run tells of any"
        : `held-out text: the same tokens in all runs${
          heldOut.untold.length === 0 ? "" : " that tell"
        }, SHA-256 ${heldOut.sha256.slice(0, 12)}${
          heldOut.sequences === null ? "" : `, ${counted(heldOut.sequences, "sequences")}`
        }${untoldText(heldOut)}`,
      ...output === undefined ? [] : [`page: ${output}`],
    ].join("\n"),
  ];
  return blocks.filter((block) => block !== "").join("\n\n");
}

function settingsText({ runs, settings }: Comparison): string {
  const names = runs.map(({ name }) => name);
  const rows = settings.map(({ setting: name, values }) => [words(setting(name)), ...values.map(valueText)]);
  const adapters = new Set(runs.map(({ adapter }) => adapter));
  if (adapters.size > 1) rows.push(["adapter", ...runs.map(({ adapter }) => adapter ?? NONE)]);
  return rows.length === 0 ? "all settings are alike" : table(["setting", ...names], rows, names);
}

function partitionText(runs: readonly ComparedRun[]): string {
  const rows = runs.map(({ name, partitioner, experts, partition, expertTokens }) => [
    ...[name, partitioner ?? "(elsewhere)", experts, partition?.sequences ?? NONE],
    ...[decimals(partition?.nmi, 3), decimals(partition?.nllPerToken, 3), decimals(partition?.regret, 4)],
    partition === null ? NONE : percent(partition.tokenImbalance),
    expertTokens === null ? NONE : count(expertTokens),
  ]);
  const units = new Set(runs.flatMap(({ partition }) => partition ? [partition.costs] : []));
  const head =
    "run | partitioner | experts | sequences | NMI | cost | regret | imbalance | tokens trained on";
  return table(head, rows, ["partitioner"]) +
    (units.size > 1
      ? "\n(cost and regret are nats per prefix token with routers, a sequence's own with others: not comparable)"
      : "");
}

function evaluationText(comparison: Comparison): string {
  const { runs, sources, reference } = comparison;
  const notes = evaluationNotes(comparison).map((note) => `(${worded(note)})`);
  if (runs.every(({ evaluation }) => evaluation === null)) return notes.join("\n");
  const ways = TOLD_WAYS.filter((way) =>
    way !== "mixture" && runs.some(({ evaluation }) => evaluation?.scores[way])
  );
  const titles: Partial<Record<Way, string>> = { oracle: "best in hindsight" };
  const rows = runs.map(({ name, routes, evaluation, trained, wins, beside }) => {
    const mixture = evaluation?.scores.mixture;
    return [
      ...[
        name,
        evaluation === null ? NONE : routes ? evaluation.prefix : "label",
        trained === null ? decimals(mixture?.perplexity, 2) : "in part",
      ],
      mixture ? `${mixture.low.toFixed(2)} to ${mixture.high.toFixed(2)}` : NONE,
      ...reference === null ? [] : [beside ? gainText(beside) : NONE],
      ...ways.map((way) => decimals(evaluation?.scores[way]?.perplexity, 2)),
      wins === null ? NONE : `${wins} of ${sources.length}`,
    ];
  });
  const head = [
    "run",
    "M",
    "perplexity",
    "95% interval",
    ...reference === null ? [] : [`beside ${reference}`],
    ...ways.map((way) => titles[way] ?? way),
    "sources won",
  ];
  return [table(head, rows), ...notes].join("\n");
}

function sourcesText(comparison: Comparison): string {
  const { runs, sources } = comparison;
  const note = sourceNote(comparison);
  const notes = note === null ? [] : [`(${note})`];
  if (sources.length === 0) return notes.join("\n");
  const rows = sources.map(({ source, tokens, perplexity, best }) => [
    ...[sourceName(source), tokens],
    ...perplexity.map((value, i) => `${decimals(value, 2)}${best.includes(i) ? " *" : "  "}`),
    "",
  ]);
  const head = ["source", "tokens", ...runs.map(({ name }) => `${name}  `), ""];
  return [table(head, rows), "(*: the lowest perplexity of a source)", ...notes].join("\n");
}

function prefixText(runs: readonly ComparedRun[]): string {
  const evaluated = runs.filter(({ routes, evaluation }) => routes && evaluation !== null);
  if (!evaluated.some(({ experts }) => experts > 1)) return "";
  const lengths = new Set(
    evaluated.flatMap(({ evaluation }) => evaluation!.prefixes.map((own) => own.prefix)),
  );
  const rows = [...lengths].sort((a, b) => a - b).map((length) => [
    count(length),
    ...evaluated.map(({ evaluation }) => decimals(atPrefix(evaluation!, length)?.perplexity, 2)),
    "",
  ]);
  return table(["prefix", ...evaluated.map(({ name }) => name), ""], rows);
}

function lacksText(runs: readonly ComparedRun[]): string {
  return runs.flatMap(({ name, lacks }) =>
    lacks.map((lack) =>
      `${name}: ${stagesText(lack)} ${lack.stages.length === 1 ? "is" : "are"} ${lack.state}${
        lack.because ? ` (${worded(lack.because)})` : ""
      }: run ${words(lack.command)}`
    )
  ).join("\n");
}
