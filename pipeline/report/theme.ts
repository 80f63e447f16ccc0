// How everything on a page looks: colours for light and dark paper, the lines of models, widths of text.
// Plots are drawn with the colours' names, as `var(--name)`, so that one drawing serves both papers.

import { BASELINE_NOTES, BASELINES, isBaseline } from "../evaluation/baselines.ts";
import type { Way } from "../evaluation/evaluation.ts";
import { withPath } from "../partition/tree/branches.ts";
import COLOURS from "./colours.json" with { type: "json" };
import VEGA from "./vega.json" with { type: "json" };

/** Colours by name. */
export type Palette = Readonly<Record<string, string>>;

const palette = (paper: number): Palette =>
  Object.fromEntries(Object.entries(COLOURS).map(([name, values]) => [name, values[paper]]));

/**
 * Every colour on light and on dark paper. Marks keep a contrast of at least 3 to the paper, text one of at least 4.5. A model has
 * one colour in all plots. Colour-blind readers can tell experts 0 to 3 apart, and also 4 to 7, whose lines have other dashes.
 */
export const [LIGHT, DARK] = [palette(0), palette(1)];

/** Opacity of a full cell of a heat map: text stays readable on it. */
export const HEAT_OPACITY = 0.55;

/** Gives a colour by its name. */
export const colour = (name: string): string => `var(--${name})`;

/** Writes a palette as CSS declarations. */
export const declarations = (palette: Palette): string =>
  Object.entries(palette).map(([name, value]) => `--${name}:${value}`).join(";");

/**
 * Makes a drawing stand alone: light values in place of the colours' names, and a style that turns them into the dark ones on a
 * dark screen. A program that reads no style shows the light ones.
 */
export function adaptive(svg: string): string {
  const used = Object.keys(LIGHT).filter((name) => svg.includes(`="${colour(name)}"`));
  const rules = used.map((name) =>
    `[fill="${LIGHT[name]}"]{fill:${DARK[name]}}[stroke="${LIGHT[name]}"]{stroke:${DARK[name]}}`
  );
  const style = `<style>@media (prefers-color-scheme:dark){${[...new Set(rules)].join("")}}</style>`;
  return svg.replace(/="var\(--([\w-]+)\)"/g, (whole, name) => name in LIGHT ? `="${LIGHT[name]}"` : whole)
    .replace(/^<svg[^>]*>(<title.*?<\/desc>)?/s, (opening) => opening + style);
}

/** How a model, or one of several figures, looks in every plot: solid and 2 pixels wide unless it says otherwise. */
export interface Line {
  name: string;
  colour: string;
  dash?: number[]; // lengths of dashes and gaps, in pixels
  width?: number;
  hollow?: boolean; // whether its marks are outlined only
}

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
  if (isBaseline(way)) return `${BASELINE_NOTES[way].kind}, ${BASELINE_NOTES[way].how(`${times}×`)}`;
  return { mixture: "mixture", oracle: "best in hindsight", random: "random expert" }[way];
}

/** Gives the line of a way of scoring text. */
export function wayLine(way: Way, times: number | string): Line {
  const dash = isBaseline(way) ? BASELINE_DASHES[BASELINES.indexOf(way) % BASELINE_DASHES.length] : SOLID;
  return { name: wayName(way, times), colour: colour(way), dash, width: 2.5 };
}

/** Gives the line of an expert, in a tree with its path; colours repeat after eight. */
export function expertLine(expert: number, path?: string): Line {
  const dash = EXPERT_DASHES[Math.floor(expert / 4) % EXPERT_DASHES.length];
  const name = withPath(`expert ${expert}`, path);
  return { name, colour: colour(`e${expert % EXPERT_COLOURS}`), dash, width: 1.5 };
}

/** Advances in em, as in a wide sans-serif font. */
const ADVANCES: [characters: RegExp, em: number][] = [
  [/[iljftrI.,:;'|!()[\] ]/, 0.4],
  [/[mwMW@%×→…]/, 0.97],
  [/[A-Z]/, 0.72],
  [/[ -\u04ff]/, 0.63],
];

/** Estimates the width of a text in pixels without a font, so that no label is cut off, and every machine draws the same. */
export function textWidth(text: string, fontSize = VEGA.text.fontSize): number {
  const advance = (character: string) => ADVANCES.find(([set]) => set.test(character))?.[1] ?? 1;
  return Math.ceil(fontSize * [...text].reduce((sum, character) => sum + advance(character), 0));
}
