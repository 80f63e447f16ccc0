// The parts of the text: how large they are, which sources and branches of a tree they are of, and
// what documents share.

import { percent, rounded } from "../../graph/numbers.ts";
import { ASSIGNMENTS } from "../../partition/assignment/assignments.ts";
import type { PartitionCounts } from "../../partition/metrics.ts";
import { expertPath, listBranches } from "../../partition/tree/branches.ts";
import { overlapLine, overlapTables } from "../../run/overlap.ts";
import type { ExpertPart } from "../../stages/parts.ts";
import { below, colour, dots, nameAxis, type Plot, SHARES, shownNames } from "../charts.ts";
import { foldedTable, type Html, htmlTable, markup, plural, sourceName } from "../html.ts";
import type { Section } from "../page.ts";
import { lacking, type PartitionRecord, type RunRecord } from "../read.ts";

/**
 * Opacity of a full cell of a heat map, and its least width for a number in pixels: the number
 * stays readable.
 */
const [HEAT_OPACITY, LEAST_CELL] = [0.55, 24];
/** Most sources of a branch in the table. */
const MOST_SOURCES = 4;

const sum = (counts: readonly number[]): number => counts.reduce((a, b) => a + b, 0);

/** Lists the sources of the training text of some parts, the largest first, with their shares. */
export function sourcesIn(
  parts: readonly Pick<ExpertPart, "train">[],
): [source: string, share: number][] {
  const all = parts.flatMap(({ train }) => Object.entries(train.sources));
  const count = (counts: typeof all) => sum(counts.map(([, { sequences }]) => sequences));
  const total = count(all);
  return [...Map.groupBy(all, ([source]) => sourceName(source))]
    .map(([source, counts]): [string, number] => [source, count(counts) / Math.max(1, total)])
    .sort(([, a], [, b]) => b - a);
}

/**
 * Plots what each expert would get without balance, in training and in held-out text; `balanced`
 * says whether training text was.
 */
function sharePlot(
  { experts, train, test }: Pick<PartitionRecord, "experts" | "train" | "test">,
  balanced: boolean,
): Plot {
  const sets: (readonly [string, PartitionCounts])[] = [
    ["training", train] as const,
    ...test ? [["held out", test] as const] : [],
  ];
  const even = 1 / experts;
  const each = percent(even);
  const then = balanced
    ? `. Training text is then balanced to ${each} each (the line); held-out text ` +
      "goes where it wants."
    : ": nothing balances them. The line is an equal share.";
  return {
    id: "shares",
    title: "Shares of the experts without balance",
    about: `Share of the sequences that cost each expert least${then}`,
    ...dots({
      title: "expert",
      axis: SHARES,
      bars: "up",
      lines: sets.map(([name], i) => ({ name, colour: colour("mixture"), hollow: i === 1 })),
      values: sets.flatMap(([line, { shares }]) =>
        shares.map((y, e) => ({ x: String(e), y, line }))
      ),
      level: even,
    }),
  };
}

/**
 * Plots which expert each source's training sequences went to, by their numbers; `balanced` says
 * whether they were balanced.
 */
export function heatPlot(
  parts: readonly Readonly<Record<string, number>>[],
  balanced: boolean,
): Plot {
  const rows = [...new Set(parts.flatMap(Object.keys))].sort().map((source) => {
    const counts = parts.map((sources) => Object.hasOwn(sources, source) ? sources[source] : 0);
    const total = sum(counts);
    return {
      source: sourceName(source),
      total,
      shares: counts.map((count) => count / Math.max(1, total)),
    };
  }).sort((a, b) => b.total - a.total);
  const [shown, inTable] = shownNames(rows);
  const balancing = balanced ? ", after balancing" : "";
  const cells = shown.flatMap(({ source, shares }) =>
    shares.map((share, expert) => ({
      x: source,
      expert: `${expert}`,
      share,
      text: (100 * share).toFixed(0),
    }))
  );
  const encoding = {
    x: { ...below(parts.map((_, e) => String(e)), "expert"), field: "expert" },
    y: nameAxis(shown.map(({ source }) => source), false),
  };
  const darkest = Math.max(1e-9, ...cells.map(({ share }) => share));
  const scale = { domain: [0, darkest], range: [0.04, HEAT_OPACITY] };
  return {
    id: "sources-by-expert",
    title: "Sources by expert",
    about: "Percent of each source's training sequences that were assigned to each " +
      `expert${balancing}; rows add up to 100, the largest source first${inTable}.`,
    spec: {
      height: 26 * shown.length + 44,
      data: { values: cells },
      encoding,
      layer: [
        {
          mark: { type: "rect", color: colour("heat"), stroke: colour("paper"), strokeWidth: 1 },
          encoding: { fillOpacity: { field: "share", type: "quantitative", scale, legend: null } },
        },
        {
          mark: { type: "text", opacity: { expr: `bandwidth('x') < ${LEAST_CELL} ? 0 : 1` } },
          encoding: { text: { field: "text" } },
        },
      ],
    },
    table: {
      head: ["source", "sequences", ...parts.map((_, e) => `expert ${e}`)],
      rows: rows.map((
        { source, total, shares },
      ) => [source, total, ...shares.map((share) => percent(share))]),
    },
  };
}

const signal = (signal: string) => ({ signal });
const mark = (type: string, update: object) => ({
  type,
  from: { data: "nodes" },
  encode: { update },
});
/**
 * A treemap as Vega draws it, which Vega-Lite cannot: branches have children, experts have none.
 */
const LAYOUT = [
  { type: "stratify", key: "id", parentKey: "parent" },
  {
    type: "treemap",
    field: "size",
    size: ["width", "height"].map(signal),
    padding: 1,
    paddingTop: 17,
  },
];
const MARKS = [
  mark("rect", {
    x: { field: "x0" },
    y: { field: "y0" },
    x2: { field: "x1" },
    y2: { field: "y1" },
    fill: signal(`datum.children ? '${colour("panel")}' : '${colour("heat")}'`),
    fillOpacity: signal(`datum.children ? 1 : ${HEAT_OPACITY} * datum.share`),
    stroke: signal(`datum.children ? '${colour("line")}' : null`),
  }),
  mark("text", {
    x: { field: "x0", offset: 3 },
    y: { field: "y0", offset: 3 },
    baseline: { value: "top" },
    fill: { value: colour("ink") },
    fontSize: { value: 11 },
    lineHeight: { value: 15 },
    limit: signal("datum.x1 - datum.x0 - 4"),
    text: signal(
      `datum.x1 - datum.x0 < ${LEAST_CELL} || !datum.children && datum.y1 - datum.y0 ` +
        "< 30 ? '' : datum.text",
    ),
  }),
];

function treemapPlot({ parts, test }: PartitionRecord, levels: readonly number[]): Plot {
  const [side, text] = test ? ["test", "held-out"] as const : ["train", "training"] as const;
  const sizeOf = (some: typeof parts) => sum(some.map((part) => part[side].sequences));
  const paths = parts.map((_, expert) => expertPath(expert, levels)!);
  const parentOf = (id: string) =>
    id.includes(".") ? id.replace(/\.\d+$/, "") : id === "all" ? null : "all";
  const branches = listBranches(levels).map((path) => {
    const id = path.join(".") || "all";
    const experts = parts.filter((_, expert) => id === "all" || paths[expert].startsWith(`${id}.`));
    const share = percent(sizeOf(experts) / sizeOf(parts));
    return { id, share, text: `${id}: ${share}`, experts };
  });
  const experts = parts.map((part, expert) => {
    const id = paths[expert];
    const [[source = "", share = 0] = []] = sourcesIn([part]);
    return { id, share, text: [id, source], size: sizeOf([part]) };
  });
  const values = [...branches, ...experts].map((node) => ({ ...node, parent: parentOf(node.id) }));
  return {
    id: "tree",
    title: "Branches of the tree",
    about: "Each rectangle is an expert, named by its path, within its branches; " +
      `as large as its share of the ${text} sequences, and coloured the stronger, ` +
      "the more of its training text is of one source, which it names.",
    spec: { height: 460, data: [{ name: "nodes", values, transform: LAYOUT }], marks: MARKS },
    table: {
      head: ["branch", "experts", `share of the ${text} sequences`, "sources of its training text"],
      rows: branches.filter(({ id }) => parentOf(id) === "all").map(({ id, experts, share }) => [
        ...[id, experts.length, share],
        sourcesIn(experts).slice(0, MOST_SOURCES).map((sourceShare) =>
          `${sourceShare[0]} ${percent(sourceShare[1], 0)}`
        )
          .join(", "),
      ]),
    },
  };
}

function partitionText({ train, parts, costs }: PartitionRecord, balanced: boolean): Html {
  const { sequences, tokenImbalance, nmi, regret } = train;
  const trained = plural(sequences, "training sequence");
  if (parts.length === 1) {
    return markup`<p>${trained}, all for the one expert; \
shares and sources by expert are left out.</p>`;
  }
  const cost = rounded(regret ?? 0, 4);
  const balance = costs === undefined
    ? `balance costs ${cost} nats per prefix token`
    : `balance adds ${cost} to the mean cost of a sequence`;
  const agreement = nmi === null
    ? "the text has no two sources to compare experts with, so that no plot shows them"
    : `NMI of expert and source is ${rounded(nmi, 3)}`;
  const imbalance = percent(tokenImbalance);
  const split = balanced ? "equal" : parts.length;
  return markup`<p>${trained} in ${split} parts, one for each expert. \
The largest part has ${imbalance} more tokens than the
mean; ${agreement}${balanced && regret !== null && `, and ${balance}`}.</p>`;
}

/** The size of every part, and how parts and sources agree. */
export const partitionSection: Section<RunRecord> = {
  id: "partition",
  title: "Partition",
  parts: (run) => {
    const { partition, config: { configuration: { levels } } } = run;
    if (!partition) return [lacking(run, "The partition", "partition")];
    const balanced = ASSIGNMENTS.get(partition.method ?? "")?.balanced ?? false;
    const sources = partition.parts.map(({ train }) =>
      Object.fromEntries(
        Object.entries(train.sources).map(([name, { sequences }]) => [name, sequences]),
      )
    );
    const several = new Set(sources.flatMap(Object.keys)).size > 1;
    const rows = partition.parts.map(({ expert, train, test }) => [
      ...[expert, train.sequences, train.tokens, test.sequences, test.tokens],
    ]);
    const head = ["expert", "sequences", "tokens", "held-out sequences", "held-out tokens"];
    return [
      partitionText(partition, balanced),
      partition.parts.length > 1 && [
        levels.length > 0 && treemapPlot(partition, levels),
        sharePlot(partition, balanced),
        several && heatPlot(sources, balanced),
      ],
      foldedTable({ head, rows }, "Loads of the experts", "Loads"),
    ];
  },
};

/** What documents have in common, where somebody has looked for that. */
export const overlapSection: Section<RunRecord> = {
  id: "overlap",
  title: "Duplicates and leaks",
  parts: ({ overlap }) => {
    if (overlap === null) return null;
    const [bySource, ...tables] = overlapTables(overlap);
    return [
      markup`<p>Compared by runs of words: ${overlapLine(overlap)}.</p>`,
      htmlTable(bySource, bySource.title),
      tables.map((table) => foldedTable(table, table.title)),
    ];
  },
};
