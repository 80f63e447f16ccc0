// The parts of the text.

import { ASSIGNMENTS } from "../../partition/assignment/assignments.ts";
import type { PartitionCounts } from "../../partition/metrics.ts";
import { bars, below, labelLimit, nameAxis, type Plot, SHARES, shownNames } from "../charts.ts";
import { foldedTable, markup, percent, plural, rounded, sourceName } from "../html.ts";
import type { Section } from "../page.ts";
import { lacking, type PartitionRecord, type RunRecord } from "../read.ts";
import { colour, HEAT_OPACITY } from "../theme.ts";
import { treemapPlot } from "./tree.ts";

/** Sequences of an expert's part, by source. */
type Sources = Readonly<Record<string, number>>;
/** What it shows of a set of sequences. */
type Shares = Pick<PartitionCounts, "shares">;

const sum = (counts: readonly number[]): number => counts.reduce((a, b) => a + b, 0);
const isBalanced = ({ method = "" }: PartitionRecord) => ASSIGNMENTS.get(method)?.balanced ?? false;
const partSources = ({ parts }: PartitionRecord): Sources[] =>
  parts.map(({ train }) =>
    Object.fromEntries(Object.entries(train.sources).map(([source, { sequences }]) => [source, sequences]))
  );

/** Plots what each expert would get without balance, in training and in held-out text; `balanced` says whether training text was. */
export function sharePlot(
  { experts, train, test }: { experts: number; train: Shares; test?: Shares },
  balanced: boolean,
): Plot {
  const sets = [{ name: "training", ...train }, ...test ? [{ name: "held out", ...test, hollow: true }] : []];
  const even = 1 / experts;
  return {
    id: "shares",
    title: "Shares of the experts without balance",
    about: balanced
      ? `Share of the sequences that cost each expert least. Training text is then balanced to ${
        percent(even)
      } each (the line); held-out text goes where it wants.`
      : "Share of the sequences that cost each expert least: nothing balances them. The line is an equal share.",
    ...bars({
      title: "expert",
      y: SHARES,
      lines: sets.map((set) => ({ ...set, colour: colour("mixture") })),
      values: sets.flatMap(({ name: line, shares }) => shares.map((y, e) => ({ x: String(e), y, line }))),
      even,
    }),
  };
}

/** Plots which expert each source's training sequences went to; `balanced` says whether they were balanced. */
export function heatPlot(parts: readonly Sources[], balanced: boolean): Plot {
  const rows = [...new Set(parts.flatMap(Object.keys))].sort().map((source) => {
    const counts = parts.map((sources) => sources[source] ?? 0);
    return { source: sourceName(source), counts, total: sum(counts) };
  }).sort((a, b) => b.total - a.total);
  const [shown, more] = shownNames(rows);
  const cells = shown.flatMap(({ source, counts, total }) =>
    counts.map((count, expert) => {
      const share = count / Math.max(1, total);
      return { x: source, expert: String(expert), share, text: (100 * share).toFixed(0) };
    })
  );
  const darkest = Math.max(1e-9, ...cells.map(({ share }) => share));
  const experts = below(parts.map((_, e) => String(e)), "expert");
  const encoding = {
    x: { ...experts, field: "expert" },
    y: nameAxis(shown.map(({ source }) => source), false),
  };
  const depth = {
    field: "share",
    type: "quantitative",
    scale: { domain: [0, darkest], range: [0.04, HEAT_OPACITY] },
    legend: null,
  };
  return {
    id: "sources-by-expert",
    title: "Sources by expert",
    about: `Percent of each source's training sequences that were assigned to each expert${
      balanced ? ", after balancing" : ""
    }; rows add up to 100, the largest source first${more}.`,
    spec: (width) => ({
      height: 26 * shown.length + 44,
      data: { values: cells },
      layer: [
        {
          mark: { type: "rect", color: colour("heat"), stroke: colour("paper"), strokeWidth: 1 },
          encoding: { ...encoding, fillOpacity: depth },
        },
        ...(width - labelLimit(width)) / parts.length < 24
          ? []
          : [{ mark: { type: "text" }, encoding: { ...encoding, text: { field: "text" } } }],
      ],
    }),
    table: {
      head: ["source", "sequences", ...parts.map((_, e) => `expert ${e}`)],
      rows: rows.map(({ source, counts, total }) => [
        ...[source, total],
        ...counts.map((count) => percent(count / Math.max(1, total))),
      ]),
    },
  };
}

function partitionText(partition: PartitionRecord) {
  const { train: { sequences, tokenImbalance, nmi, regret }, parts, costs } = partition;
  const trained = plural(sequences, "training sequence");
  if (parts.length === 1) {
    return markup`<p>${trained}, all for the one expert; shares and sources by expert are left out.</p>`;
  }
  const balanced = isBalanced(partition);
  const cost = rounded(regret ?? 0, 4);
  const balance = costs === undefined
    ? `balance costs ${cost} nats per prefix token`
    : `balance adds ${cost} to the mean cost of a sequence`;
  const agreement = nmi === null
    ? "the text has no two sources to compare experts with, so that no plot shows them"
    : `NMI of expert and source is ${rounded(nmi, 3)}`;
  return markup`<p>${trained} in ${
    balanced ? "equal" : parts.length
  } parts, one for each expert. The largest part has ${
    percent(tokenImbalance)
  } more tokens than the mean; ${agreement}${balanced && regret !== null ? `, and ${balance}` : null}.</p>`;
}

/** The size of every part, and how parts and sources agree. */
export const partition: Section<RunRecord> = {
  id: "partition",
  title: "Partition",
  missing: (run) => [!run.partition && lacking(run, "The partition", "partition")],
  text: ({ partition }) => partition && partitionText(partition),
  plots: ({ partition, config: { configuration: { levels } } }) => {
    if (!partition || partition.parts.length === 1) return null;
    const balanced = isBalanced(partition), sources = partSources(partition);
    const several = new Set(sources.flatMap(Object.keys)).size > 1;
    const tree = levels.length > 0 && treemapPlot(partition, levels);
    return [tree, sharePlot(partition, balanced), several && heatPlot(sources, balanced)];
  },
  tables: ({ partition }) => {
    const rows = partition?.parts.map(({ expert, train, test }) => [
      ...[expert, train.sequences, train.tokens, test.sequences, test.tokens],
    ]);
    const head = ["expert", "sequences", "tokens", "held-out sequences", "held-out tokens"];
    return rows && foldedTable({ head, rows }, "Loads of the experts", "Loads");
  },
};
