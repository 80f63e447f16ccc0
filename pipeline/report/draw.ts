// Draws plots as SVG with Vega. This is the only file that imports Vega; it is loaded only when a page is
// written.

import * as vega from "vega";
import { compile, type TopLevelSpec } from "vega-lite";
import { labelLimit, type Plot } from "./charts.ts";
import { escapeHtml } from "./html.ts";
import { colour, textWidth } from "./theme.ts";
import CONFIG from "./vega.json" with { type: "json" };

declare module "vega" {
  /** Widths of texts, which Vega's types leave out. */
  const textMetrics: {
    canvas(use: boolean): void;
    width: (item: { fontSize?: number; limit?: number }, text: unknown) => number;
  };
}

/** Space around a stand-alone picture, in pixels. */
const MARGIN = 16;
/** Reports how a plot is drawn: a prefix of its ids that no other picture of the page has; whether the title is part of it. */
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
    config: { ...CONFIG, axisYDiscrete: { labelLimit: labelLimit(width) } },
  };
  const logger = vega.logger(
    vega.Warn,
    "warn",
    (_method, _level, words: unknown[]) => onWarning?.(`plot ${plot.id}: ${words.join(" ")}`),
  );
  // The type of a specification is open; Vega-Lite checks it and reports what it does not know.
  const compiled = "marks" in spec
    ? spec as unknown as vega.Spec
    : compile(spec as unknown as TopLevelSpec, { logger }).spec;
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
