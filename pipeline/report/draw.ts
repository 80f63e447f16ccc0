// Draws plots as SVG with Vega. This is the only file that imports Vega; it is loaded only when a page is
// written.

import * as vega from "vega";
import { compile, type TopLevelSpec } from "vega-lite";
import { labelLimit, type Plot } from "./charts.ts";
import { escapeHtml } from "./html.ts";
import { colour, FONT_SIZE, textWidth } from "./theme.ts";

declare module "vega" {
  /** Widths of texts, which Vega's types leave out. */
  const textMetrics: {
    canvas(use: boolean): void;
    width: (item: { fontSize?: number; limit?: number }, text: unknown) => number;
  };
}

/** Space around a stand-alone picture, in pixels. */
const MARGIN = 16;
const FONTS = { labelFontSize: FONT_SIZE, titleFontSize: FONT_SIZE, titleFontWeight: "normal" };

const configFor = (width: number) => ({
  aria: false,
  background: null,
  font: "system-ui, -apple-system, 'Segoe UI', Roboto, Helvetica, Arial, sans-serif",
  lineBreak: "\n",
  padding: 0,
  view: { stroke: null },
  axis: {
    ...FONTS,
    labelColor: colour("muted"),
    titleColor: colour("ink"),
    titleLimit: 680,
    gridColor: colour("grid"),
    domainColor: colour("line"),
    tickColor: colour("line"),
    labelFlush: false,
    labelPadding: 5,
    titlePadding: 8,
    tickSize: 4,
  },
  axisYDiscrete: { labelLimit: labelLimit(width) },
  // The title of a vertical axis stands above it.
  axisYQuantitative: {
    titleAngle: 0,
    titleAlign: "left",
    titleAnchor: "end",
    titleBaseline: "bottom",
    titleX: -6,
    titleY: -8,
  },
  legend: {
    orient: "bottom",
    direction: "horizontal",
    layout: { bottom: { anchor: "start", frame: "bounds" } },
    ...FONTS,
    labelColor: colour("ink"),
    titleColor: colour("muted"),
    symbolSize: 120,
    symbolStrokeWidth: 2.5,
    symbolOpacity: 1,
    columnPadding: 10,
    rowPadding: 6,
    titleOrient: "left",
    offset: 10,
  },
  text: { color: colour("ink"), fontSize: FONT_SIZE },
  title: {
    ...{ color: colour("ink"), fontSize: 15, fontWeight: 600 },
    ...{ anchor: "start", frame: "bounds", offset: 14 },
  },
});

/** Says how a plot is drawn: a prefix of its ids that no other picture of the page has; whether the title is part of it. */
type Drawing = { width: number; id: string; titled?: boolean; onWarning?: (message: string) => void };

/** Draws a plot as one `<svg>` element with a title and a description, its colours by name: the same plot gives the same text. */
export async function drawPlot(
  plot: Plot,
  { width, id, titled = false, onWarning }: Drawing,
): Promise<string> {
  vega.textMetrics.canvas(false);
  vega.textMetrics.width = ({ fontSize, limit }, text) =>
    Math.min(textWidth(String(text ?? ""), fontSize), limit || Infinity);
  const spec = {
    padding: { left: 1, right: 5, top: 2, bottom: 2 }, // half of a last label or point may stand out
    ...plot.spec(width),
    ...titled && {
      title: plot.title,
      padding: MARGIN,
      background: colour("paper"),
    },
    width,
    autosize: { type: "fit-x", contains: "padding" },
    config: configFor(width),
  };
  const logger = vega.logger(
    vega.Warn,
    "warn",
    (_method, _level, words: unknown[]) => onWarning?.(`plot ${plot.id}: ${words.join(" ")}`),
  );
  // The type of a specification is open; Vega-Lite checks it and reports what it does not know.
  const compiled = compile(spec as unknown as TopLevelSpec, { logger }).spec;
  const view = new vega.View(vega.parse(compiled), { renderer: "none", logger });
  vega.resetSVGDefIds();
  const svg = await view.toSVG();
  view.finalize();
  const shown = svg.replace(/<text[^>]* opacity="0"[^>]*>.*?<\/text>/g, ""); // labels that have no room
  return shown.replace(/<[a-z][^<>]*>/g, (tag) => lean(tag, id)).replace(
    /^<svg [^>]*?( width=[^>]*>)/,
    (_, size) =>
      `<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-labelledby="${id}-t ${id}-d"${size}` +
      `<title id="${id}-t">${escapeHtml(plot.title)}</title><desc id="${id}-d">${
        escapeHtml(plot.about)
      }</desc>`,
  );
}

/** Shortens a tag of Vega: no classes, no empty paths, numbers of two digits. Gives its ids the prefix of the picture. */
function lean(tag: string, id: string): string {
  if (/^<path .*\bd="(?:|M0,0h0v0h0Z)"/.test(tag)) return "";
  return tag
    .replace(/ (?:aria-[\w-]+|role|pointer-events|class)="[^"]*"| opacity="1"/g, "")
    .replace(/ id="([^"]*)"/g, ` id="${id}-$1"`)
    .replace(/url\(#([^)]*)\)/g, `url(#${id}-$1)`)
    .replace(/(\.\d{2})\d+/g, "$1");
}
