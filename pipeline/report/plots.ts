/**
 * What the plots of a report share: specifications for Vega-Lite, together with their numbers.
 *
 * @module
 */

import { BASELINE_NOTES, BASELINES, isBaseline } from "../evaluation/baselines.ts";
import type { Way } from "../evaluation/evaluation.ts";
import { printable } from "../run/printable.ts";
import type { Table } from "./html.ts";
import { textWidth } from "./text.ts";
import { colour, expertColour } from "./theme.ts";

/** A specification in Vega-Lite, without width and style. */
export type Spec = Record<string, unknown>;

/** A plot. */
export interface Plot {
  /** Name, of files too. */
  id: string;
  /** Title. */
  title: string;
  /** What it shows, in a sentence. */
  about: string;
  /** `half` is drawn once, for a column of 348 pixels; `full` for that and for 720. */
  size: "half" | "full";
  /** Gives the specification for a width. */
  spec: (width: number) => Spec;
  /** The numbers. */
  table: Table;
}

/** Most sources that a plot shows. */
export const MOST_SOURCES = 24;
/** Most names in a legend. */
export const MOST_LEGEND = 10;
const MOST_TICKS = 12;
/** Width below which a plot is for a narrow page, in pixels. */
export const NARROW = 500;
/** Room that the labels of a vertical axis of numbers take, in pixels. */
export const AXIS_WIDTH = 44;
/** Room of a symbol in a legend and the space around it, in pixels. */
const SYMBOL_WIDTH = 33;
/** The same for a line, which is long enough to show its dashes. */
const STROKE_WIDTH = 44;
const STROKE: Spec = { symbolType: "M-2.5,0H2.5", symbolOffset: 7, labelOffset: 20, columnPadding: 10 };
/** Writes the labels of an axis as 500, 1k, 2M. */
export const METRIC: Spec = { labelExpr: "format(datum.value, '~s')", tickCount: 5 };

/** Encodes a field of numbers. */
export const quantity = (field: string, more: Spec = {}): Spec => ({ field, type: "quantitative", ...more });
/** Encodes a field of names. */
export const nominal = (field: string, more: Spec = {}): Spec => ({ field, type: "nominal", ...more });
/** Encodes a field of steps or names in their order. */
export const ordinal = (field: string, more: Spec = {}): Spec => ({ field, type: "ordinal", ...more });

/** Draws a filled mark for every value; the plot chooses its size, in square pixels. */
export const POINT: Spec = { type: "point", filled: true, opacity: 1 };

/** Encodes the names beside a plot, from the top. */
export const beside = (field: string, names: string[], more: Spec = {}): Spec =>
  nominal(field, { sort: names, axis: { title: null, labelColor: colour("ink"), ticks: false, ...more } });

/** Gives the names in a field different shapes. */
export const shapes = (field: string, names: readonly string[]): Spec =>
  nominal(field, { scale: { domain: names, range: ["circle", "square", "diamond"].slice(0, names.length) } });

/** Draws a dashed line across a plot at the share that is the same for all. */
export const evenLine = (even: number, more: Spec = {}): Spec => ({
  data: { values: [{ even }] },
  mark: { type: "rule", color: colour("ink"), strokeDash: [4, 3] },
  encoding: { y: quantity("even", more) },
});

/** Draws the title of a vertical axis across, above it. */
export const across = (title: string, more: Spec = {}): Spec => ({
  title,
  titleAngle: 0,
  titleAlign: "left",
  titleAnchor: "end",
  titleBaseline: "bottom",
  titleX: -6,
  titleY: -8,
  ...more,
});

/** An axis of shares of the sequences. */
export const SHARES: Spec = across("share of sequences", { format: ".0%", tickCount: 5 });

/** Describes an axis without lines across the plot. */
export const noGrid = (title: string | null, more: Spec = {}): Spec => ({ title, grid: false, ...more });

/** Gives the names in a field different colours, which a legend explains. */
export const coloured = (field: string, names: string[], colours: string[], legend: Spec): Spec =>
  nominal(field, { scale: { domain: names, range: colours }, ...legend });

/** Style of a legend: its symbols, its title, and the room left of the plot, in pixels. */
type LegendLooks = { symbol?: "stroke" | "square"; title?: string; left?: number };

/** Describes a legend below a plot. It has as many columns as fit beside what is left of the plot. */
export function legendOf(
  names: string[],
  width: number,
  { symbol, title, left = AXIS_WIDTH }: LegendLooks,
): Spec {
  if (names.length > MOST_LEGEND || names.length < 2) return { legend: null };
  const symbolWidth = symbol === "stroke" ? STROKE_WIDTH : SYMBOL_WIDTH;
  const widest = Math.max(...names.map((name) => textWidth(name))) + symbolWidth;
  const room = width - left - (title ? textWidth(title) + 8 : 0);
  const columns = Math.max(1, Math.min(names.length, Math.floor(room / widest)));
  const looks = symbol === "stroke" ? STROKE : symbol === "square" ? { symbolType: symbol } : {};
  return { legend: { title: title ?? null, columns, labelLimit: Math.max(1, room - symbolWidth), ...looks } };
}

/** Outlines marks, filled and hollow ones alike. */
export const OUTLINED: Spec = { stroke: colour("mixture"), strokeWidth: 1.5 };

/**
 * Distinguishes two figures of one mixture, in its colour: the marks of the first are filled, those of the
 * second hollow.
 */
export function fullAndHollow(field: string, names: string[], width: number, looks: LegendLooks): Spec {
  const { legend } = legendOf(names, width, looks);
  const outline = { symbolStrokeColor: OUTLINED.stroke, symbolStrokeWidth: OUTLINED.strokeWidth };
  return coloured(field, names, [colour("mixture"), colour("paper")].slice(0, names.length), {
    legend: legend === null ? null : { ...(legend as Spec), ...outline },
  });
}

/** Names an expert. */
export const expertName = (expert: number): string => `expert ${expert}`;

/** Says in words how text is scored. */
export function wayName(way: Way, experts: number): string {
  if (isBaseline(way)) {
    const { kind, how } = BASELINE_NOTES[way];
    return `${kind}, ${how(`${experts}×`)}`;
  }
  return { mixture: "mixture", oracle: "best in hindsight", random: "random expert" }[way];
}

/** How the line of a model looks in every plot. */
export interface Line {
  /** Name of the model. */
  name: string;
  /** Its colour. */
  colour: string;
  /** Lengths of dashes and gaps, in pixels. */
  dash: number[];
  /** Width, in pixels. */
  width: number;
}

const SOLID = [1, 0];
/** Dashes of the baselines, in their order; the first is solid. */
const BASELINE_DASHES = [SOLID, [7, 4], [2, 3], [9, 3, 2, 3]];
/** Dashes of each group of four experts, whose colours differ. */
const EXPERT_DASHES = [SOLID, [4, 2], [9, 2, 2, 2]];

/** Gives the line of a way to score text. */
export function wayLine(way: Way, experts: number): Line {
  return {
    name: wayName(way, experts),
    colour: colour(way),
    dash: isBaseline(way) ? BASELINE_DASHES[BASELINES.indexOf(way) % BASELINE_DASHES.length] : SOLID,
    width: 2.5,
  };
}

/** Gives the line of an expert. */
export function expertLine(expert: number): Line {
  const dash = EXPERT_DASHES[Math.floor(expert / 4) % EXPERT_DASHES.length];
  return { name: expertName(expert), colour: expertColour(expert), dash, width: 1.5 };
}

/** Encodes the lines of models, whose names stand in a field, and describes their legend. */
export function lineEncoding(field: string, lines: Line[], width: number): Spec {
  const domain = lines.map(({ name }) => name);
  const legend = legendOf(domain, width, { symbol: "stroke" });
  const channel = (range: unknown[]) => ({
    field,
    type: "ordinal",
    scale: { type: "ordinal", domain, range },
    ...legend,
  });
  return {
    color: channel(lines.map(({ colour }) => colour)),
    strokeDash: channel(lines.map(({ dash }) => dash)),
    strokeWidth: channel(lines.map(({ width }) => width)),
  };
}

/** The ways that are compared in parts of the text. */
export const COMPARED = ["mixture", ...BASELINES] as const;

/** Takes at most so many of the values, evenly spaced. */
export const someOf = <T>(values: T[], most = MOST_TICKS): T[] =>
  values.filter((_, i) => i % Math.ceil(values.length / Math.max(1, most)) === 0);

/** Takes as many experts as have room for their labels in a width. */
export const labelledExperts = (experts: number, width: number): number[] =>
  someOf(Array.from({ length: experts }, (_, e) => e), Math.floor(width / 26));

/** Gives the room that labels take beside a plot, in pixels. */
export const widestOf = (labels: string[]): number =>
  Math.max(...labels.map((label) => textWidth(label))) + 12;
/** Gives the most room that labels may take, in pixels. */
export const labelRoom = (width: number): number => width < NARROW ? 100 : 200;

/** Names a source. */
export const labelled = (source: string): string => source === "" ? "(no source)" : printable(source);
