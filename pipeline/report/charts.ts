// How plots look, and their kinds: curves over numbers, and marks next to names. Each makes a
// Vega-Lite specification and a table of one set of rows. Colours stand in it by name, as
// `var(--name)`, so that one drawing serves light and dark paper.

import { percent } from "../graph/numbers.ts";
import { BASELINE_NOTES, BASELINES, isBaseline } from "../evaluation/baselines.ts";
import type { Way } from "../evaluation/evaluation.ts";
import { withPath } from "../partition/tree/branches.ts";
import COLOURS from "./colours.json" with { type: "json" };
import { type Table } from "./html.ts";
import VEGA from "./vega.json" with { type: "json" };

/**
 * A specification in Vega-Lite, or with `marks` in Vega, without width and style; `page` is the
 * width in expressions.
 */
export type Spec = Record<string, unknown>;

/** A plot. */
export interface Plot {
  id: string; // of files too
  title: string;
  about: string; // what it shows, in a sentence or two
  half?: boolean; // whether it takes half of the page's width
  spec: Spec;
  table: Table; // the numbers
}

type Drawn = Pick<Plot, "spec" | "table">;

/**
 * How a model, or one of several figures, looks in every plot: solid and 2 pixels wide unless it
 * says otherwise.
 */
export interface Line {
  name: string;
  colour: string;
  dash?: number[]; // lengths of dashes and gaps, in pixels
  width?: number;
  hollow?: boolean; // whether its marks are outlined only
}

/** An axis of numbers, by default a linear one over the values, with about six ticks. */
export interface Axis {
  title: string;
  domain?: readonly [number, number];
  log?: number; // base of its logarithm
  ticks?: readonly number[];
  step?: number; // least distance of its ticks
  zero?: boolean; // whether zero is part of it
  format?: string; // of its numbers, as d3-format says
}

/**
 * A value of a line (by default the only one), at a number `x` or at the name `x`, with its
 * interval.
 */
interface Value<X extends string | number> {
  x: X;
  y: number | null;
  low?: number;
  high?: number;
  line?: string;
}

/**
 * What all plots are drawn from: values of lines, and more columns of the table, with a cell for
 * each place.
 */
interface Rows<X extends string | number> {
  values: readonly Value<X>[];
  lines?: readonly Line[]; // by default one in the colour of the mixture
  columns?: readonly (readonly [title: string, cells: readonly Table["rows"][number][number][]])[];
}

/** Colours by name. */
export type Palette = Readonly<Record<string, string>>;

const palette = (paper: number): Palette =>
  Object.fromEntries(Object.entries(COLOURS).map(([name, values]) => [name, values[paper]]));

/**
 * Every colour on light and on dark paper. Marks keep a contrast of at least 3 to the paper, text
 * one of at least 4.5. A model has one colour in all plots. Colour-blind readers can tell experts 0
 * to 3 apart, and also 4 to 7, whose lines have other dashes.
 */
export const [LIGHT, DARK] = [palette(0), palette(1)];

/** Gives a colour by its name. */
export const colour = (name: string): string => `var(--${name})`;

const SOLID = [1, 0];
/** Dashes of the baselines, in their order. */
const BASELINE_DASHES = [SOLID, [7, 4], [2, 3], [9, 3, 2, 3]];
/** Dashes of each group of four experts. */
const EXPERT_DASHES = [SOLID, [4, 2], [9, 2, 2, 2]];
const EXPERT_COLOURS = 8;

/** The ways of answering that are compared in parts of the text. */
export const COMPARED = ["mixture", ...BASELINES] as const;

/** Reports in words how text is scored; `times` is E in words. */
export function wayName(way: Way, times: number | string): string {
  if (isBaseline(way)) {
    return `${BASELINE_NOTES[way].kind}, ${BASELINE_NOTES[way].how(`${times}×`)}`;
  }
  return { mixture: "mixture", oracle: "best in hindsight", random: "random expert" }[way];
}

/** Gives the line of a way of scoring text. */
export function wayLine(way: Way, times: number | string): Line {
  const dash = isBaseline(way)
    ? BASELINE_DASHES[BASELINES.indexOf(way) % BASELINE_DASHES.length]
    : SOLID;
  return { name: wayName(way, times), colour: colour(way), dash, width: 2.5 };
}

/** Gives the line of an expert, in a tree with its path; colours repeat after eight. */
export function expertLine(expert: number, path?: string): Line {
  const dash = EXPERT_DASHES[Math.floor(expert / 4) % EXPERT_DASHES.length];
  const name = withPath(`expert ${expert}`, path);
  return { name, colour: colour(`e${expert % EXPERT_COLOURS}`), dash, width: 1.5 };
}

const PERPLEXITY: Axis = { title: "perplexity" };
/** An axis of shares. */
export const SHARES: Axis = { title: "share of sequences", format: ".0%", zero: true };

/** Most names in a legend. */
export const MOST_LEGEND = 10;
/** Most rows of a plot of names. */
const MOST_NAMES = 24;
/** A line of up to so many points shows them. */
const MOST_DOTS = 20;
/** Most room for a label in a legend, in pixels. */
const LEGEND_LABEL = 220;
/**
 * A piece of a line as a symbol that is long enough to show dashes; room of it and of other
 * symbols, with the space around.
 */
const STROKE = { symbolType: "M-2.5,0H2.5", symbolOffset: 7, labelOffset: 20 };
const [STROKE_WIDTH, SYMBOL_WIDTH] = [52, 36];
const POINT = { type: "point", filled: true, opacity: 1, strokeWidth: 1.5 };
const SHAPES = ["circle", "square", "diamond", "triangle-up", "cross", "triangle-down"];
const ONE: Line = { name: "", colour: colour("mixture") };

/** Advances in em, as in a wide sans-serif font. */
const ADVANCES: [characters: RegExp, em: number][] = [
  [/[iljftrI.,:;'|!()[\] ]/, 0.4],
  [/[mwMW@%×→…]/, 0.97],
  [/[A-Z]/, 0.72],
  [/[ -\u04ff]/, 0.63],
];

/**
 * Estimates the width of a text in pixels without a font, so that no label is cut off, and every
 * machine draws the same.
 */
export function textWidth(text: string, fontSize = VEGA.text.fontSize): number {
  const advance = (character: string) => ADVANCES.find(([set]) => set.test(character))?.[1] ?? 1;
  return Math.ceil(fontSize * [...text].reduce((sum, character) => sum + advance(character), 0));
}

/**
 * Gives the names that a plot of names shows, the first ones, and reports how many more there are.
 */
export const shownNames = <Name>(
  names: readonly Name[],
): [shown: readonly Name[], more: string] => {
  const hidden = names.length - MOST_NAMES;
  return [
    names.slice(0, MOST_NAMES),
    hidden > 0 ? `; ${hidden} smaller ones are in the table only` : "",
  ];
};

/** Encodes numbers on an axis. */
const numbers = (
  field: string,
  { title, domain, log, ticks, step, zero = false, format }: Axis,
  grid = true,
): Spec => ({
  field,
  type: "quantitative",
  scale: {
    ...log && { type: "log", base: log },
    ...log || domain
      ? { domain, nice: false }
      : { zero, nice: grid, padding: zero || !grid ? 0 : 8 },
  },
  axis: {
    title,
    grid,
    values: ticks,
    tickCount: 6,
    tickMinStep: step,
    labelExpr: format && `format(datum.value, '${format}')`,
  },
});

/** Encodes names next to a plot, from the top. */
export const nameAxis = (names: readonly string[], grid = true): Spec => ({
  field: "x",
  type: "nominal",
  scale: { domain: names },
  axis: { title: null, grid, domain: false, ticks: false, labelColor: colour("ink") },
});

/** Encodes names below a plot, from the left; labels that have no room are left out. */
export const below = (names: readonly string[], title: string): Spec => ({
  field: "x",
  type: "ordinal",
  scale: { domain: names, paddingInner: 0.2 },
  axis: {
    title,
    grid: false,
    labelAngle: 0,
    labelOverlap: true,
    labelSeparation: 4,
    labelLineHeight: 15,
  },
});

/** Encodes in which channels lines differ, explained by a legend of as many columns as fit. */
function looks(
  lines: readonly Line[],
  legend: Spec | null,
  ranges: Record<string, (line: Line, i: number) => unknown>,
): Record<string, Spec> {
  const domain = lines.map(({ name }) => name);
  const widest = Math.min(LEGEND_LABEL, Math.max(...domain.map((name) => textWidth(name))));
  const room = widest + (legend === STROKE ? STROKE_WIDTH : SYMBOL_WIDTH);
  const columns = { expr: `max(1, min(${lines.length}, floor(page / ${room})))` };
  const encoding = {
    field: "line",
    type: legend === STROKE ? "ordinal" : "nominal",
    legend: legend && lines.length > 1 && lines.length <= MOST_LEGEND
      ? { title: null, columns, labelLimit: LEGEND_LABEL, ...legend }
      : null,
  };
  const channels = Object.entries(ranges).map(([channel, range]) => [
    ...[channel, { ...encoding, scale: { type: "ordinal", domain, range: lines.map(range) } }],
  ]);
  return Object.fromEntries(channels);
}

/** Draws marks at values, if there are any. */
const marks = (values: readonly unknown[], mark: Spec, encoding: Spec): Spec[] =>
  values.length === 0 ? [] : [{ data: { values }, mark, encoding }];

/**
 * Writes the values of lines as a table: a row for each place, its columns the lines, with
 * intervals if there is one line.
 */
function linesTable<X extends string | number>(
  xTitle: string,
  { title, format }: Axis,
  { values, lines = [ONE], columns = [] }: Rows<X>,
): Table {
  const cell = (value?: number | null) =>
    value != null && format?.endsWith("%") ? percent(value) : value ?? null;
  const hasIntervals = lines.length === 1 && values.some(({ low }) => low !== undefined);
  const head = [
    ...[xTitle, ...lines.length === 1 ? [title] : lines.map(({ name }) => name)],
    ...[...hasIntervals ? ["95% from", "to"] : [], ...columns.map(([title]) => title)],
  ];
  const rows = [...Map.groupBy(values, ({ x }) => x)].map(([x, valuesAtX], i) => [
    x,
    ...lines.map(({ name }) => cell(valuesAtX.find(({ line = name }) => line === name)?.y)),
    ...hasIntervals ? [cell(valuesAtX[0].low), cell(valuesAtX[0].high)] : [],
    ...columns.map(([, cells]) => cells[i]),
  ]);
  return { head, rows };
}

/** Plots lines over numbers, with bands where values have intervals. */
export function curves(
  { x, y = PERPLEXITY, levels = [], at, points = [], height = 250, ...rows }: Rows<number> & {
    x: Axis;
    y?: Axis; // by default of perplexities
    levels?: readonly { y: number; line: string }[]; // level lines
    at?: number; // where a dotted line stands upright
    points?: readonly Value<number>[]; // single ones
    height?: number;
  },
): Drawn {
  const { lines = [ONE] } = rows;
  const named = (values: readonly Value<number>[]) =>
    values.map((value) => ({ line: lines[0].name, ...value }));
  const values = named(rows.values);
  const drawn = values.filter(({ y }) => y !== null);
  const counts = Map.groupBy(values, ({ line }) => line);
  const dots = drawn.filter((value) =>
    counts.get(value.line)!.length <= MOST_DOTS && value.y! <= (y.domain?.[1] ?? Infinity)
  );
  const place = { x: numbers("x", x, false), y: numbers("y", y) };
  const look = looks(lines, STROKE, {
    color: (line) => line.colour,
    strokeDash: ({ dash = SOLID }) => dash,
    strokeWidth: (line) => line.width ?? 2,
  });
  const band = { x: place.x, y: numbers("low", y), y2: { field: "high" }, color: look.color };
  const dot = { ...place, color: look.color };
  const upright = { type: "rule", color: colour("line"), strokeDash: [2, 3] };
  const layer = [
    marks(at === undefined ? [] : [{ x: at }], upright, { x: place.x }),
    marks(values.filter(({ low }) => low !== undefined), { type: "area", opacity: 0.15 }, band),
    marks(drawn, { type: "line", clip: true }, { ...place, ...look }),
    marks(levels, { type: "rule" }, { y: place.y, ...look }),
    marks(dots, { ...POINT, size: 28 }, dot),
    marks(named(points), { ...POINT, size: 90 }, dot),
  ];
  return { table: linesTable(x.title, y, rows), spec: { height, layer: layer.flat() } };
}

const FILLS: Record<string, (line: Line, i: number) => unknown> = {
  fill: (line) => line.hollow ? colour("paper") : line.colour,
  stroke: (line) => line.colour,
};
const FILLS_AND_SHAPES = { ...FILLS, shape: (_: Line, i: number) => SHAPES[i % SHAPES.length] };

/** How values by names are drawn, and the line that crosses them. */
const BY_NAMES = {
  points: { ...POINT, size: 75 },
  across: { type: "bar", height: { band: 0.72 } },
  up: { type: "bar", strokeWidth: 1 },
};
const LEVEL = {
  across: { type: "rule", color: colour("line") },
  up: { type: "rule", color: colour("ink"), strokeDash: [4, 3] },
};

/**
 * Plots values with their intervals next to names, of which the first 24 are shown, or as bars
 * above all of them.
 */
export function dots(
  { title, axis = PERPLEXITY, bars, named, apart, level, ...rows }: Rows<string> & {
    title: string; // of the names
    axis?: Axis; // of the values, by default of perplexities
    bars?: "across" | "up"; // bars from zero in place of points
    named?: boolean; // whether every name has a line of its own, so that no legend is needed
    apart?: boolean; // whether the values of a name stand below each other
    level?: number; // value at which a line crosses all
  },
): Drawn {
  const { lines = [ONE] } = rows;
  const isUp = bars === "up";
  const all = [...new Set(rows.values.map(({ x }) => x))];
  const names = isUp ? all : shownNames(all)[0];
  const values = rows.values.filter((value) => value.y !== null && names.includes(value.x))
    .map((value) => ({ line: named ? value.x : lines[0].name, ...value }));
  const isApart = isUp || apart && lines.length > 1;
  const [along, across] = isUp ? ["x", "y"] : ["y", "x"];
  const place = {
    [along]: isUp ? below(names, title) : nameAxis(names),
    ...isApart && { [`${along}Offset`]: { field: "line", sort: lines.map(({ name }) => name) } },
  };
  const legend = named ? null : bars ? { symbolType: "square" } : {};
  const look = looks(lines, legend, named || bars ? FILLS : FILLS_AND_SHAPES);
  const size = { [across]: numbers("y", isUp ? { ...axis, zero: true } : axis) };
  const interval = {
    [across]: numbers("low", axis),
    [`${across}2`]: { field: "high" },
    stroke: look.stroke,
  };
  const line = marks(
    level === undefined ? [] : [{ y: level }],
    LEVEL[isUp ? "up" : "across"],
    size,
  );
  const layer = [
    isUp ? [] : line, // behind points, in front of bars
    marks(values.filter(({ low }) => low !== undefined), { type: "rule", strokeWidth: 2 }, {
      ...place,
      ...interval,
    }),
    marks(values, BY_NAMES[bars ?? "points"], { ...place, ...size, ...look }),
    isUp ? line : [],
  ];
  return {
    table: linesTable(title, axis, named ? { ...rows, lines: [ONE] } : rows),
    spec: { height: isUp ? 220 : (isApart ? 46 : 26) * names.length, layer: layer.flat() },
  };
}
