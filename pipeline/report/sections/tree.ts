// The branches of a tree of routers: how much text each gets, of which sources, and how well its experts predict it.

import type { Evaluation } from "../../evaluation/evaluation.ts";
import { expertPath, listBranches } from "../../partition/tree/branches.ts";
import type { ExpertPart } from "../../stages/parts.ts";
import type { Plot, Spec } from "../charts.ts";
import { percent, sourceName } from "../html.ts";
import type { PartitionRecord } from "../read.ts";
import { colour, HEAT_OPACITY } from "../theme.ts";

const HEIGHT = 460;
const LINE = 15; // pixels, of text
const MOST_SOURCES = 4; // of a branch in the table

const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0);
const branchLabel = (path: readonly number[]) => path.join(".") || "all";

/** Lists the sources of the training text of some parts, the largest first, with their shares. */
export function sourcesIn(parts: readonly Pick<ExpertPart, "train">[]): [source: string, share: number][] {
  const all = parts.flatMap(({ train }) => Object.entries(train.sources));
  const count = (own: typeof all) => sum(own.map(([, { sequences }]) => sequences)), total = count(all);
  return [...Map.groupBy(all, ([source]) => sourceName(source))]
    .map(([source, own]): [string, number] => [source, count(own) / Math.max(1, total)])
    .sort(([, a], [, b]) => b - a);
}

/** Plots experts within their branches, as large as their shares of the held-out text, or of all text where none is held out. */
export function treemapPlot({ parts, test }: PartitionRecord, levels: readonly number[]): Plot {
  const side = test ? "test" : "train", sizes = parts.map((part) => part[side].sequences), total = sum(sizes);
  const branches = listBranches(levels).map(({ path, first, leaves }) => ({
    ...{ path, experts: parts.slice(first, first + leaves) },
    share: percent(sum(sizes.slice(first, first + leaves)) / total),
  }));
  const nodes = branches.map(({ path, share }) => ({
    ...{ id: branchLabel(path), parent: path.length > 0 ? branchLabel(path.slice(0, -1)) : null },
    text: `${branchLabel(path)}: ${share}`,
  }));
  const leaves = parts.map((part, expert) => {
    const id = expertPath(expert, levels), [[source = "", share = 0] = []] = sourcesIn([part]);
    return { id, parent: id.replace(/\.\d+$/, ""), size: sizes[expert], text: [id, source], share };
  });
  const text = test ? "held-out" : "training";
  return {
    id: "tree",
    title: "Branches of the tree",
    about:
      `Each rectangle is an expert, named by its path, within its branches; as large as its share of the ${text} sequences, \
and coloured the stronger, the more of its training text is of one source, which it names.`,
    spec: () => treemapSpec([...nodes, ...leaves]),
    table: {
      head: ["branch", "experts", `share of the ${text} sequences`, "sources of its training text"],
      rows: branches.filter(({ path }) => path.length === 1).map(({ path, experts, share }) => [
        ...[branchLabel(path), experts.length, share],
        sourcesIn(experts).slice(0, MOST_SOURCES).map((one) => `${one[0]} ${percent(one[1], 0)}`).join(", "),
      ]),
    },
  };
}

/** Specifies a drawing in Vega, as Vega-Lite has no treemap. */
function treemapSpec(values: readonly Record<string, unknown>[]): Spec {
  const box = { x: { field: "x0" }, y: { field: "y0" }, x2: { field: "x1" }, y2: { field: "y1" } };
  const marks = (data: string, look: Record<string, unknown>) => [
    { type: "rect", from: { data }, encode: { update: { ...box, ...look } } },
    {
      ...{ type: "text", from: { data } },
      encode: {
        update: {
          ...{ x: { field: "x0", offset: 3 }, y: { field: "y0", offset: 3 }, baseline: { value: "top" } },
          ...{ fill: { value: colour("ink") }, limit: { signal: "datum.x1 - datum.x0 - 4" } },
          ...{ lineHeight: { value: LINE }, fontSize: { value: 11 } },
          text: {
            signal: `datum.x1 - datum.x0 < 24 || datum.y1 - datum.y0 < ${
              2 * LINE
            } && !datum.children ? '' : datum.text`,
          },
        },
      },
    },
  ];
  return {
    height: HEIGHT,
    data: [
      {
        ...{ name: "all", values },
        transform: [
          { type: "stratify", key: "id", parentKey: "parent" },
          {
            ...{ type: "treemap", field: "size", size: [{ signal: "width" }, HEIGHT] },
            ...{ paddingInner: 1, paddingOuter: 1, paddingTop: LINE + 2 },
          },
        ],
      },
      { name: "experts", source: "all", transform: [{ type: "filter", expr: "!datum.children" }] },
      { name: "branches", source: "all", transform: [{ type: "filter", expr: "datum.children" }] },
    ],
    marks: [
      ...marks("branches", { fill: { value: colour("panel") }, stroke: { value: colour("line") } }),
      ...marks("experts", {
        ...{ fill: { value: colour("heat") }, fillOpacity: { signal: `${HEAT_OPACITY} * datum.share` } },
      }),
    ],
  };
}

/** Puts the segments of all experts of each branch of the root together. */
export function branchSegments({ segments, levels = [] }: Evaluation): Evaluation["segments"] {
  return listBranches(levels).filter(({ path }) => path.length === 1).map(({ path, first, leaves }) => {
    const own = segments.slice(first, first + leaves).filter(({ tokens }) => tokens > 0);
    const tokens = sum(own.map(({ tokens }) => tokens));
    const perplexity = { ...segments[first].perplexity };
    for (const way of Object.keys(perplexity) as (keyof typeof perplexity)[]) {
      const nll = sum(own.map(({ tokens, perplexity }) => tokens * Math.log(perplexity[way]!)));
      perplexity[way] = tokens > 0 ? Math.exp(nll / tokens) : null;
    }
    const [sequences, share] = (["sequences", "share"] as const).map((name) =>
      sum(own.map((one) => one[name]))
    );
    return { expert: path[0], sequences, share, tokens, perplexity };
  });
}
