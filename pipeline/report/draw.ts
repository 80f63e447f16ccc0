/**
 * Draws plots as SVG with Vega. This is the only file that imports Vega; {@linkcode drawPlot} is loaded only
 * when a report is written.
 *
 * @module
 */

import * as vega from "vega";
import { compile, type TopLevelSpec } from "vega-lite";
import { escapeHtml } from "./html.ts";
import type { Plot, Spec } from "./plots.ts";
import { FONT_SIZE, textWidth } from "./text.ts";
import { colour } from "./theme.ts";

declare module "vega" {
  /** Widths of texts, which Vega's types leave out. */
  const textMetrics: {
    canvas(use: boolean): void;
    width: (item: { fontSize?: number }, text: unknown) => number;
  };
}

const FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, Helvetica, Arial, sans-serif";
/** Space around a stand-alone picture, and for its title, in pixels. */
const MARGIN = 16;
const TITLE_HEIGHT = 30;

const FONTS = { labelFontSize: FONT_SIZE, titleFontSize: FONT_SIZE, titleFontWeight: "normal" };

const CONFIG = {
  aria: false,
  background: null,
  font: FONT,
  padding: 0,
  view: { stroke: null },
  axis: {
    ...FONTS,
    labelColor: colour("muted"),
    labelLimit: 0,
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
  legend: {
    orient: "bottom",
    direction: "horizontal",
    ...FONTS,
    labelColor: colour("ink"),
    titleColor: colour("muted"),
    symbolSize: 120,
    symbolStrokeWidth: 2.5,
    columnPadding: 14,
    rowPadding: 6,
    titleOrient: "left",
    offset: 10,
  },
  text: { color: colour("ink"), fontSize: FONT_SIZE },
  title: {
    color: colour("ink"),
    fontSize: 15,
    fontWeight: 600,
    anchor: "start",
    frame: "bounds",
    offset: 14,
  },
};

/** Says how a plot is drawn. */
interface Drawing {
  /** Width of the picture, in pixels. */
  width: number;
  /** Prefix of the ids in the picture; no other picture of the page may have it. */
  id: string;
  /** Whether the title is part of the picture, as in a stand-alone file. */
  titled?: boolean;
  /** Called with what Vega-Lite reports about a specification. */
  onWarning?: (message: string) => void;
}

/**
 * Draws a plot as one `<svg>` element with a title and a description, its colours by name: the same plot gives the same
 * text.
 */
export async function drawPlot(
  plot: Plot,
  { width, id, titled = false, onWarning }: Drawing,
): Promise<string> {
  measureTexts();
  const inner = plot.spec(width);
  const alone = {
    title: plot.title,
    height: Number(inner.height) + 2 * MARGIN + TITLE_HEIGHT,
    padding: MARGIN,
    background: colour("paper"),
  };
  const spec: Spec = {
    padding: { left: 1, right: 5, top: 2, bottom: 2 }, // half of a last label or point may stand out
    ...inner,
    ...(titled ? alone : {}),
    width,
    autosize: { type: "fit", contains: "padding" },
    config: CONFIG,
  };
  // The type of a specification is open; Vega-Lite checks it and reports to the listener what it does not know.
  const compiled = compile(spec as unknown as TopLevelSpec, { logger: listener(onWarning) }).spec;
  const view = new vega.View(vega.parse(compiled), { renderer: "none", logger: listener(onWarning) });
  vega.resetSVGDefIds();
  const svg = await view.toSVG();
  view.finalize();
  const opening = `<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-labelledby="${id}-t ${id}-d"`;
  const names = `<title id="${id}-t">${escapeHtml(plot.title)}</title><desc id="${id}-d">${
    escapeHtml(plot.about)
  }</desc>`;
  return svg
    .replace(/<[a-z][^<>]*>/g, (tag) => lean(tag, id))
    .replace(/^<svg [^>]*?( width=[^>]*>)/, (_, size) => opening + size + names);
}

/** Makes the width of a text depend on the text alone, whatever canvas and fonts are there. */
function measureTexts(): void {
  vega.textMetrics.canvas(false);
  vega.textMetrics.width = ({ fontSize }: { fontSize?: number }, text: unknown) =>
    textWidth(String(text ?? ""), fontSize);
}

/**
 * Shortens a tag of Vega: no classes, no empty paths, numbers of two digits. Gives its ids the prefix of the
 * picture.
 */
function lean(tag: string, id: string): string {
  if (/^<path .*\bd="(?:|M0,0h0v0h0Z)"/.test(tag)) return "";
  return tag
    .replace(/ (?:aria-[\w-]+|role|pointer-events|class)="[^"]*"| opacity="1"/g, "")
    .replace(/ id="([^"]*)"/g, ` id="${id}-$1"`)
    .replace(/url\(#([^)]*)\)/g, `url(#${id}-$1)`)
    .replace(/(\.\d{2})\d+/g, "$1");
}

function listener(onWarning?: (message: string) => void): vega.LoggerInterface {
  const silent = () => logger;
  const warn = (...words: readonly unknown[]) => {
    onWarning?.(words.map(String).join(" "));
    return logger;
  };
  const logger = { level: silent, error: warn, warn, info: silent, debug: silent } as vega.LoggerInterface;
  return logger;
}
