/**
 * Names the colours of a report, for light and for dark paper. Plots are drawn with the names, as `var(--name)`, so that one
 * drawing serves both; a stand-alone file gets the light values.
 *
 * @module
 */

/** Colours by name. Marks keep a contrast of at least 3 to the paper, text one of at least 4.5. */
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
  random: "#858c96",
  oracle: "#187a5f",
  dense: "#c4541d",
  "dense-steps": "#8f5bb3",
  e0: "#2f6db5",
  e1: "#c4541d",
  e2: "#2b8a57",
  e3: "#8f5bb3",
  e4: "#a87900",
  e5: "#17859a",
  e6: "#c13d77",
  e7: "#6d7580",
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
  random: "#8b939e",
  oracle: "#55c4a2",
  dense: "#f08a55",
  "dense-steps": "#bd94e3",
  e0: "#6aa5ea",
  e1: "#f08a55",
  e2: "#5cc48b",
  e3: "#bd94e3",
  e4: "#dcb344",
  e5: "#4fc0d4",
  e6: "#ee7fb0",
  e7: "#a3abb6",
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
