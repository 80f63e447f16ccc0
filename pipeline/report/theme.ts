/**
 * Names the colours of a report, for light and for dark paper. Plots are drawn with the names, as `var(--name)`, so that one
 * drawing serves both; a stand-alone file gets the light values.
 *
 * @module
 */

/** Colours by name. */
export type Palette = Readonly<Record<string, string>>;

/**
 * Every colour on light and on dark paper. Marks keep a contrast of at least 3 to the paper, text one of at
 * least 4.5. A model has one colour in all plots: dense ones are black and grey, the mixture is blue, Switch
 * is purple. Experts have none of these, so that none of them is taken for another model. Colour-blind
 * readers can tell experts 0 to 3 apart, and also 4 to 7, whose lines have other dashes.
 */
const COLOURS: Record<string, [light: string, dark: string]> = {
  paper: ["#ffffff", "#14171b"],
  ink: ["#1b1e23", "#e7e9ec"],
  muted: ["#5a616b", "#a3abb6"],
  line: ["#888f99", "#6f7782"],
  grid: ["#e6e8eb", "#2b3037"],
  panel: ["#f5f6f7", "#1c2026"],
  heat: ["#2f6db5", "#6aa5ea"],
  mixture: ["#2460a7", "#7db2f0"],
  dense: ["#1b1e23", "#e7e9ec"],
  "dense-steps": ["#80868f", "#8b939e"],
  "dense-compute": ["#4b5058", "#60656c"],
  switch: ["#b4007d", "#c23ce0"],
  oracle: ["#3f8fc4", "#3f8fc4"],
  random: ["#8f79c4", "#a08bd0"],
  e0: ["#e0680e", "#f58a4b"],
  e1: ["#12694a", "#1f8f5f"],
  e2: ["#a04fc0", "#c77be8"],
  e3: ["#7a4a12", "#fad27a"],
  e4: ["#14909e", "#3fd0d4"],
  e5: ["#a8154f", "#e0528f"],
  e6: ["#8f8400", "#a3a01a"],
  e7: ["#5b2d91", "#8a63d8"],
  yes: ["#187a5f", "#55c4a2"],
  no: ["#b3471a", "#f08a55"],
};

const paletteOf = (paper: number): Palette =>
  Object.fromEntries(Object.entries(COLOURS).map(([name, values]) => [name, values[paper]]));

/** Colours on light paper. */
export const LIGHT = paletteOf(0);
/** Colours on dark paper. */
export const DARK = paletteOf(1);

/** Opacity of a full cell of a heat map: text stays readable on it. */
export const HEAT_OPACITY = 0.55;

const EXPERT_COLOURS = 8;

/** Gives the colour of an expert; after eight experts the colours repeat. */
export function expertColour(expert: number): string {
  return colour(`e${expert % EXPERT_COLOURS}`);
}

/** Gives a colour by its name. */
export function colour(name: string): string {
  return `var(--${name})`;
}

/** Puts the values of a palette in place of the names, in attributes of an SVG. */
export function withValues(svg: string, palette: Palette): string {
  return svg.replace(
    /="var\(--([\w-]+)\)"/g,
    (whole, name) => name in palette ? `="${palette[name]}"` : whole,
  );
}

/**
 * Puts light values in place of the names, and a style that turns them into the dark ones on a dark screen, so
 * that a picture on a page of others fits it. A program that heeds no style shows the light ones.
 */
export function adaptive(svg: string): string {
  const rules = Object.entries(LIGHT).filter(([name]) => svg.includes(`="var(--${name})"`)).map((
    [name, light],
  ) => `[fill="${light}"]{fill:${DARK[name]}}[stroke="${light}"]{stroke:${DARK[name]}}`);
  const style = `<style>@media (prefers-color-scheme:dark){${[...new Set(rules)].join("")}}</style>`;
  return withValues(svg, LIGHT).replace(/^<svg[^>]*>(<title.*?<\/desc>)?/s, (opening) => opening + style);
}

/** Writes a palette as CSS declarations. */
export function declarations(palette: Palette): string {
  return Object.entries(palette).map(([name, value]) => `--${name}:${value}`).join(";");
}
