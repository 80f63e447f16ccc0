// The kinds of plots: curves, marks next to names, and bars. Each makes a Vega-Lite specification and a
// table of one set of rows.

import { percent, type Table } from "./html.ts";
import { colour, type Line, textWidth } from "./theme.ts";

/** A specification in Vega-Lite, or with `marks` in Vega, without width and style. */
export type Spec = Record<string, unknown>;

/** A plot. */
export interface Plot {
  id: string; // of files too
  title: string;
  about: string; // what it shows, in a sentence or two
  half?: boolean; // whether it takes half of the page's width
  spec: (width: number) => Spec;
  table: Table; // the numbers
}

/** Plots, or nothing, as conditions give them. */
export type Plots = Plot | false | null | undefined | "" | readonly Plots[];

type Drawn = Pick<Plot, "spec" | "table">;

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

/** A value of a line (by default the only one), at a number `x` or at the name `x`, with its interval. */
export interface Value<X extends string | number> {
  x: X;
  y: number | null;
  low?: number;
  high?: number;
  line?: string;
}

/** What all plots are drawn from: values of lines, and more columns of the table, with a cell for each place. */
interface Rows<X extends string | number> {
  values: readonly Value<X>[];
  lines?: readonly Line[]; // by default one in the colour of the mixture
  columns?: readonly (readonly [title: string, cells: readonly Table["rows"][number][number][]])[];
}

/** An axis of shares, and one of perplexities. */
export const SHARES: Axis = { title: "share of sequences", format: ".0%", zero: true };
export const PERPLEXITY: Axis = { title: "perplexity" };

/** Most names in a legend. */
export const MOST_LEGEND = 10;
/** Most rows of a plot of names. */
const MOST_NAMES = 24;
/** A line of up to so many points shows them. */
const MOST_DOTS = 20;
/** Width below which a plot is for a narrow page, and most room for a label in a legend, in pixels. */
const [NARROW, LEGEND_LABEL] = [500, 220];
/** A piece of a line as a symbol that is long enough to show dashes; room of it and of other symbols, with the space around. */
const STROKE = { symbolType: "M-2.5,0H2.5", symbolOffset: 7, labelOffset: 20 };
const [STROKE_WIDTH, SYMBOL_WIDTH] = [52, 36];
const POINT = { type: "point", filled: true, opacity: 1, strokeWidth: 1.5 };
const SHAPES = ["circle", "square", "diamond", "triangle-up", "cross", "triangle-down"];
const ONE: Line = { name: "", colour: colour("mixture") };

/** Gives the names that a plot of names shows, the first ones, and reports how many more there are. */
export const shownNames = <Name>(names: readonly Name[]): [shown: readonly Name[], more: string] => {
  const more = names.length - MOST_NAMES;
  return [names.slice(0, MOST_NAMES), more > 0 ? `; ${more} smaller ones are in the table only` : ""];
};

/** Gives the most room that labels next to a plot may take, in pixels. */
export const labelLimit = (width: number): number => width < NARROW ? 120 : 220;

/** Encodes numbers on an axis. */
function numbers(
  field: string,
  { title, domain, log, ticks, step, zero = false, format }: Axis,
  grid = true,
): Spec {
  const scale = log
    ? { type: "log", base: log, domain, nice: false }
    : domain
    ? { domain, nice: false }
    : { zero, nice: grid, padding: zero || !grid ? 0 : 8 };
  return {
    field,
    type: "quantitative",
    scale,
    axis: {
      title,
      grid,
      values: ticks,
      labelExpr: format && `format(datum.value, '${format}')`,
      tickCount: 6,
      tickMinStep: step,
    },
  };
}

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
  axis: { title, grid: false, labelAngle: 0, labelOverlap: true, labelSeparation: 4, labelLineHeight: 15 },
});

/** Encodes in which channels lines differ, explained by a legend of as many columns as fit. */
function looks(
  lines: readonly Line[],
  width: number,
  legend: Spec | null,
  ranges: Record<string, (line: Line, i: number) => unknown>,
): Record<string, Spec> {
  const domain = lines.map(({ name }) => name);
  const widest = Math.min(LEGEND_LABEL, Math.max(...domain.map((name) => textWidth(name))));
  const room = widest + (legend && "symbolOffset" in legend ? STROKE_WIDTH : SYMBOL_WIDTH);
  const columns = Math.max(1, Math.min(lines.length, Math.floor(width / room)));
  const shown = legend && lines.length > 1 && lines.length <= MOST_LEGEND
    ? { title: null, columns, labelLimit: LEGEND_LABEL, ...legend }
    : null;
  const channels = Object.entries(ranges).map(([channel, range]) => {
    const scale = { type: "ordinal", domain, range: lines.map(range) };
    return [channel, {
      field: "line",
      type: legend === STROKE ? "ordinal" : "nominal",
      scale,
      legend: shown,
    }];
  });
  return Object.fromEntries(channels);
}

const FILLS: Record<string, (line: Line, i: number) => unknown> = {
  fill: (line) => line.hollow ? colour("paper") : line.colour,
  stroke: (line) => line.colour,
};
const FILLS_AND_SHAPES = { ...FILLS, shape: (_: Line, i: number) => SHAPES[i % SHAPES.length] };

/** Draws marks at values, if there are any. */
const marks = (values: readonly unknown[], mark: Spec, encoding: Spec): Spec[] =>
  values.length === 0 ? [] : [{ data: { values }, mark, encoding }];

/** Writes the values of lines as a table: a row for each place, its columns the lines, with intervals if there is one line. */
function linesTable<X extends string | number>(
  what: string,
  y: Axis,
  { values, lines = [ONE], columns = [] }: Rows<X>,
): Table {
  const cell = (value?: number | null) =>
    value != null && y.format?.endsWith("%") ? percent(value) : value ?? null;
  const places = Map.groupBy(values, ({ x }) => x);
  const hasIntervals = lines.length === 1 && values.some(({ low }) => low !== undefined);
  const rows = [...places].map(([x, found], i) => [
    x,
    ...lines.map(({ name }) => cell(found.find(({ line = name }) => line === name)?.y)),
    ...hasIntervals ? [cell(found[0].low), cell(found[0].high)] : [],
    ...columns.map(([, cells]) => cells[i]),
  ]);
  const names = lines.length === 1 ? [y.title] : lines.map(({ name }) => name);
  const head = [
    what,
    ...names,
    ...hasIntervals ? ["95% from", "to"] : [],
    ...columns.map(([title]) => title),
  ];
  return { head, rows };
}

/** Plots lines over numbers, with bands where values have intervals. */
export function curves(
  { x, y, levels = [], at, points = [], height = 250, ...rows }: Rows<number> & {
    x: Axis;
    y: Axis;
    levels?: readonly { y: number; line: string }[]; // level lines
    at?: number; // where a dotted line stands upright
    points?: readonly Value<number>[]; // single ones
    height?: number;
  },
): Drawn {
  const { lines = [ONE] } = rows;
  const values = rows.values.map((value) => ({ line: lines[0].name, ...value }));
  const counts = Map.groupBy(values, ({ line }) => line);
  const dots = values.filter((one) =>
    counts.get(one.line)!.length <= MOST_DOTS && one.y !== null && one.y <= (y.domain?.[1] ?? Infinity)
  );
  const place = { x: numbers("x", x, false), y: numbers("y", y) };
  const upright = { type: "rule", color: colour("line"), strokeDash: [2, 3] };
  return {
    table: linesTable(x.title, y, rows),
    spec: (width) => {
      const look = looks(lines, width, STROKE, {
        color: (line) => line.colour,
        strokeDash: ({ dash = [1, 0] }) => dash,
        strokeWidth: (line) => line.width ?? 2,
      });
      const band = { x: place.x, y: numbers("low", y), y2: { field: "high" }, color: look.color };
      const dot = { ...place, color: look.color };
      return {
        height,
        layer: [
          ...marks(at === undefined ? [] : [{ x: at }], upright, { x: place.x }),
          ...marks(values.filter(({ low }) => low !== undefined), { type: "area", opacity: 0.15 }, band),
          ...marks(values.filter((one) => one.y !== null), { type: "line", clip: true }, {
            ...place,
            ...look,
          }),
          ...marks(levels, { type: "rule" }, { y: place.y, ...look }),
          ...marks(dots, { ...POINT, size: 28 }, dot),
          ...marks(points.map((one) => ({ line: lines[0].name, ...one })), { ...POINT, size: 90 }, dot),
        ],
      };
    },
  };
}

/** Plots values with their intervals next to names, of which the first 24 are shown. */
export function dots(
  { title, x, named, apart, zero, bars, ...rows }: Rows<string> & {
    title: string; // of the names
    x: Axis;
    named?: boolean; // whether every name has a line of its own, so that no legend is needed
    apart?: boolean; // whether the values of a name stand below each other
    zero?: boolean; // whether a line stands upright at zero
    bars?: boolean; // whether bars begin at zero
  },
): Drawn {
  const { lines = [ONE] } = rows;
  const [names] = shownNames([...new Set(rows.values.map(({ x }) => x))]);
  const values = rows.values.filter((one) => one.y !== null && names.includes(one.x))
    .map((value) => ({ line: named ? value.x : lines[0].name, ...value }));
  const y: Spec = { y: nameAxis(names) };
  const isApart = apart && lines.length > 1;
  if (isApart) y.yOffset = { field: "line", sort: lines.map(({ name }) => name) };
  return {
    table: linesTable(title, x, named ? { ...rows, lines: [ONE] } : rows),
    spec: (width) => {
      const look = looks(lines, width, named ? null : {}, named || bars ? FILLS : FILLS_AND_SHAPES);
      return {
        height: (isApart ? 46 : 26) * names.length,
        layer: [
          ...marks(zero ? [{ y: 0 }] : [], { type: "rule", color: colour("line") }, { x: numbers("y", x) }),
          ...marks(values.filter(({ low }) => low !== undefined), { type: "rule", strokeWidth: 2 }, {
            ...{ ...y, x: numbers("low", x), x2: { field: "high" }, stroke: look.stroke },
          }),
          ...marks(values, bars ? { type: "bar", height: { band: 0.72 } } : { ...POINT, size: 75 }, {
            ...{ ...y, x: numbers("y", x), ...look },
          }),
        ],
      };
    },
  };
}

/** Plots values as bars above names. */
export function bars(
  { title, y, even, ...rows }: Rows<string> & {
    title: string; // of the names
    y: Axis;
    even?: number; // where a dashed line lies
  },
): Drawn {
  const { lines = [ONE], values } = rows;
  const axis = { ...y, zero: true };
  const level = { type: "rule", color: colour("ink"), strokeDash: [4, 3] };
  return {
    table: linesTable(title, y, rows),
    spec: (width) => ({
      height: 220,
      layer: [
        ...marks(values.filter((one) => one.y !== null), { type: "bar", strokeWidth: 1 }, {
          x: below([...new Set(values.map(({ x }) => x))], title),
          xOffset: { field: "line", sort: lines.map(({ name }) => name) },
          y: numbers("y", axis),
          ...looks(lines, width, { symbolType: "square" }, FILLS),
        }),
        ...marks(even === undefined ? [] : [{ y: even }], level, { y: numbers("y", axis) }),
      ],
    }),
  };
}
