// Draws plots as SVG with Vega. This is the only file that imports Vega; it is loaded only when a
// page is written.

import * as vega from "vega";
import { compile, type TopLevelSpec } from "vega-lite";
import { colour, DARK, LIGHT, type Plot, textWidth } from "./charts.ts";
import { escapeHtml } from "./html.ts";
import CONFIG from "./vega.json" with { type: "json" };

declare module "vega" {
  /** Widths of texts, which Vega's types leave out. */
  const textMetrics: {
    canvas(use: boolean): void;
    width: (item: { fontSize?: number; limit?: number }, text: unknown) => number;
  };
}

/**
 * Space around a stand-alone picture, and width below which a plot is for a narrow page, in pixels.
 */
const [MARGIN, NARROW] = [16, 500];
/**
 * How a plot is drawn: a prefix of its ids that no other picture of the page has; whether it stands
 * alone, with its title.
 */
type Drawing = {
  width: number;
  id: string;
  alone?: boolean;
  onWarning?: (message: string) => void;
};

/**
 * Draws a plot as one `<svg>` element with a title and a description: the same plot gives the same
 * text.
 */
export async function drawPlot(
  { spec, ...plot }: Plot,
  { width, id, alone = false, onWarning }: Drawing,
): Promise<string> {
  vega.textMetrics.canvas(false);
  vega.textMetrics.width = ({ fontSize, limit }, text) =>
    Math.min(textWidth(String(text ?? ""), fontSize), limit || Infinity);
  const logger = vega.logger(
    vega.Warn,
    "warn",
    (_method, _level, words: unknown[]) => onWarning?.(`plot ${plot.id}: ${words.join(" ")}`),
  );
  const whole = {
    // Half of a last label or point may stand out.
    padding: { left: 1, right: 5, top: 2, bottom: 2 },
    ...spec,
    ...alone && { title: plot.title, padding: MARGIN, background: colour("paper") },
    width,
    autosize: { type: "fit-x", contains: "padding" },
    config: { ...CONFIG, axisYDiscrete: { labelLimit: width < NARROW ? 120 : 220 } },
  };
  // The type of a specification is open; Vega-Lite checks it and reports what it does not know.
  const compiled = "marks" in spec
    ? whole as unknown as vega.Spec
    : compile({ ...whole, params: [{ name: "page", value: width }] } as unknown as TopLevelSpec, {
      logger,
    })
      .spec;
  const view = new vega.View(vega.parse(compiled), { renderer: "none", logger });
  vega.resetSVGDefIds();
  const drawn = await view.toSVG();
  view.finalize();
  // Labels that have no room.
  const svg = drawn.replace(/<text[^>]* opacity="0"[^>]*>.*?<\/text>/g, "")
    .replace(/<[a-z][^<>]*>/g, (tag) => lean(tag, id)).replace(
      /^<svg [^>]*?( width=[^>]*>)/,
      (_, size) =>
        `<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-labelledby="${id}-t ` +
        `${id}-d"${size}` +
        `<title id="${id}-t">${escapeHtml(plot.title)}</title>` +
        `<desc id="${id}-d">${escapeHtml(plot.about)}</desc>`,
    );
  return alone ? adaptive(svg) : svg;
}

/**
 * Shortens a tag of Vega: no classes, no empty paths, numbers of two digits. Gives its ids the
 * prefix of the picture.
 */
function lean(tag: string, id: string): string {
  if (/^<path .*\bd="(?:|M0,0h0v0h0Z)"/.test(tag)) return "";
  return tag
    .replace(/ (?:aria-[\w-]+|role|pointer-events|class)="[^"]*"| opacity="1"/g, "")
    .replace(/ id="([^"]*)"/g, ` id="${id}-$1"`)
    .replace(/url\(#([^)]*)\)/g, `url(#${id}-$1)`)
    .replace(/(\.\d{2})\d+/g, "$1");
}

/**
 * Makes a drawing stand alone: light values in place of the colours' names, and a style that turns
 * them into the dark ones on a dark screen. A program that reads no style shows the light ones.
 */
function adaptive(svg: string): string {
  const used = Object.keys(LIGHT).filter((name) => svg.includes(`="${colour(name)}"`));
  const rules = used.map((name) =>
    `[fill="${LIGHT[name]}"]{fill:${DARK[name]}}[stroke="${LIGHT[name]}"]{stroke:${DARK[name]}}`
  );
  const style = `<style>@media (prefers-color-scheme:dark){${
    [...new Set(rules)].join("")
  }}</style>`;
  return svg.replace(
    /="var\(--([\w-]+)\)"/g,
    (whole, name) => name in LIGHT ? `="${LIGHT[name]}"` : whole,
  )
    .replace(/^<svg[^>]*>(<title.*?<\/desc>)?/s, (opening) => opening + style);
}
