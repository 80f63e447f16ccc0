/**
 * Names the colours of a report, for light and for dark paper. Plots are drawn with the names, as `var(--name)`, so that one
 * drawing serves both; a stand-alone file gets the light values.
 *
 * @module
 */

/**
 * Colours by name. Marks keep a contrast of at least 3 to the paper, text one of at least 4.5. A model has one colour in all
 * plots: dense ones black and grey, the mixture blue, experts neither, so that no expert is taken for another model.
 * Experts 0 to 3 stay apart for colour-blind readers too, and so do 4 to 7, whose lines have other dashes.
 */
export type Palette = Readonly<Record<string, string>>;

/** Colours on light paper. */
export const LIGHT: Palette = {
  paper: "#ffffff",
  ink: "#1b1e23",
  muted: "#5a616b",
  line: "#888f99",
  grid: "#e6e8eb",
  panel: "#f5f6f7",
  heat: "#2f6db5",
  mixture: "#2460a7",
  dense: "#1b1e23",
  "dense-steps": "#80868f",
  oracle: "#3f8fc4",
  random: "#8f79c4",
  e0: "#e0680e",
  e1: "#12694a",
  e2: "#a04fc0",
  e3: "#7a4a12",
  e4: "#14909e",
  e5: "#a8154f",
  e6: "#8f8400",
  e7: "#5b2d91",
  yes: "#187a5f",
  no: "#b3471a",
};

/** Colours on dark paper. */
export const DARK: Palette = {
  paper: "#14171b",
  ink: "#e7e9ec",
  muted: "#a3abb6",
  line: "#6f7782",
  grid: "#2b3037",
  panel: "#1c2026",
  heat: "#6aa5ea",
  mixture: "#7db2f0",
  dense: "#e7e9ec",
  "dense-steps": "#8b939e",
  oracle: "#3f8fc4",
  random: "#a08bd0",
  e0: "#f58a4b",
  e1: "#1f8f5f",
  e2: "#c77be8",
  e3: "#fad27a",
  e4: "#3fd0d4",
  e5: "#e0528f",
  e6: "#a3a01a",
  e7: "#8a63d8",
  yes: "#55c4a2",
  no: "#f08a55",
};

/** Opacity of a full cell of a heat map: text stays readable on it. */
export const HEAT_OPACITY = 0.55;

const EXPERT_COLOURS = 8;

/** Gives the colour of an expert; after eight they come again. */
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

/** Writes a palette as CSS declarations. */
export function declarations(palette: Palette): string {
  return Object.entries(palette).map(([name, value]) => `--${name}:${value}`).join(";");
}
