// Lays sections out as one HTML page that stands alone, with their plots drawn: no script, no font,
// no network.

import { say, task, type TaskReference, type Words, wordText } from "../../kernels/errors.ts";
import { writeAtomic } from "../graph/files.ts";
import { DARK, LIGHT, type Palette, type Plot } from "./charts.ts";
import type * as Draw from "./draw.ts";
import { foldedTable, Html, markup, unbroken } from "./html.ts";
import STYLE from "./page.css" with { type: "text" };

/** A part that a run does not have yet, or that is not up to date. */
export interface Missing {
  /** What that is. */
  part: string;
  /**
   * The command that makes it; undefined where only parts of the run lie here and the task needs
   * the whole run.
   */
  command?: string;
}

/** A part that is not there: the task that makes it, or why none makes it here. */
export type Lacking = { part: string; task?: TaskReference; because?: string };

type Single = Html | Plot | Lacking;
/**
 * What a section is made of, in its order; conditions may give nothing. Plots that follow each
 * other share rows of the page.
 */
export type SectionPart = Single | false | null | undefined | "" | readonly SectionPart[];

/**
 * A section of pages: its parts from the data of a page, or null where the page does not have it.
 */
export interface Section<Data = unknown> {
  id: string;
  title: string | ((data: Data) => string);
  parts: (data: Data) => readonly SectionPart[] | null;
}

/** How a page is made. */
export interface PageOptions {
  /**
   * Folder that gets each plot as an SVG file of its own, on light paper or, on a dark screen,
   * dark.
   */
  plots?: string;
  /** Words settings and tasks on the page. Default: as a library names them. */
  words?: Words;
  /** Ends the work. */
  signal?: AbortSignal;
  /** Called with what seems wrong in a plot. */
  onWarning?: (message: string) => void;
}

/** A page that is made, the files of its plots, and the parts that it lacks. */
type Page = { html: string; plots: string[]; missing: Missing[] };

/** Widths of a full plot and of a half one, and of a full one on a narrow page, in pixels. */
const [FULL, HALF] = [720, 348];
const declarations = (palette: Palette) =>
  Object.entries(palette).map(([name, value]) => `--${name}:${value}`).join(";");
const COLOURS = `:root{${declarations(LIGHT)}}
@media (prefers-color-scheme:dark){:root{${declarations(DARK)}}}
`;

/**
 * What stands around the sections of a page: a title, a sentence, the task that makes it and from
 * what, figures with their labels.
 */
interface Frame {
  title: string;
  about: string;
  task: string;
  from: string;
  figures: readonly (readonly [value: string, label: string])[];
}

/**
 * Makes a page: draws the plots of its sections, and lays all out. The same data gives the same
 * bytes.
 */
export async function page<Data>(
  { title, about, task: maker, from, figures }: Frame,
  sections: readonly Section<Data>[],
  data: Data,
  options: PageOptions = {},
): Promise<Page> {
  const page: Page = { html: "", plots: [], missing: [] };
  const links: Html[] = [];
  const written: Html[] = [];
  for (const { id, title, parts } of sections) {
    const sectionParts = parts(data);
    if (sectionParts === null) continue;
    const heading = typeof title === "string" ? title : title(data);
    links.push(markup`<a href="#${id}">${heading}</a>`);
    written.push(markup`<section id="${id}" aria-labelledby="${id}-h">
<h2 id="${id}-h">${heading}</h2>
${await partsHtml(sectionParts, options, page)}</section>
`);
  }
  const policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:";
  const values = figures.map(([value, label]) =>
    markup`<div><dt>${label}</dt><dd>${value}</dd></div>`
  );
  const command = wordText([task(maker)], options.words);
  const html = markup`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<title>${title}</title>
<link rel="icon" href="data:,">
<style>${new Html(COLOURS + STYLE)}</style>
</head>
<body>
<header>
<h1>${title}</h1>
<p>${about}</p>
<dl class="figures">${values}</dl>
<nav aria-label="Sections">${links}</nav>
</header>
<main>
${written}</main>
<footer>Made by <code>${command}</code> from ${from}. Method: Filippova, Katharopoulos, Grangier and
Collobert, “No Need to Talk: Asynchronous Mixture of Language Models”, ICLR 2025, \
arXiv 2410.03529.</footer>
</body>
</html>
`;
  return { ...page, html: html.text };
}

const flat = (part: SectionPart): Single[] =>
  !part ? [] : "flatMap" in part ? part.flatMap(flat) : [part];
const isPlot = (part?: Single): part is Plot => part !== undefined && "spec" in part;

async function partsHtml(parts: SectionPart, options: PageOptions, page: Page): Promise<Html[]> {
  const all = flat(parts);
  const written: Html[] = [];
  for (const [i, part] of all.entries()) {
    if (isPlot(part)) {
      if (!isPlot(all[i - 1])) written.push(new Html(`<div class="plots">\n`));
      written.push(await figure(part, options, page));
      if (!isPlot(all[i + 1])) written.push(new Html("</div>\n"));
    } else written.push("part" in part ? lackingHtml(part, options, page) : part);
  }
  return written;
}

function lackingHtml({ part, task, because }: Lacking, { words }: PageOptions, page: Page): Html {
  const command = task && wordText(say`${task}`, words);
  page.missing.push({ part, command });
  return command === undefined
    ? markup`<p class="missing">${part} is not here: ${because}.</p>`
    : markup`<p class="missing">${part} is not here yet: run <code>${
      unbroken(command)
    }</code>.</p>`;
}

// A variable, so that Vega is loaded only here and not by everything that imports this file.
const DRAW = "./draw.ts";

/** Draws a plot for wide and narrow pages, and into a file where a folder is named. */
async function figure(
  plot: Plot,
  { plots: folder, signal, onWarning }: PageOptions,
  page: Page,
): Promise<Html> {
  signal?.throwIfAborted();
  const { drawPlot }: typeof Draw = await import(DRAW);
  const { id, title, about, half, table } = plot;
  const width = half ? HALF : FULL;
  const wide = new Html(await drawPlot(plot, { width, id, onWarning }));
  const picture = half
    ? wide
    : markup`<div class="wide">${wide}</div><div class="narrow">${new Html(
      await drawPlot(plot, { width: HALF, id: `${id}-n`, onWarning }),
    )}</div>`;
  if (folder !== undefined) {
    const path = `${folder}/${id}.svg`;
    await writeAtomic(
      path,
      await drawPlot(plot, { width: width + 32, id, alone: true, onWarning }) + "\n",
    );
    page.plots.push(path);
  }
  return markup`<figure class="${half ? "half" : "full"}" id="plot-${id}">
<figcaption><h3>${title}</h3><p>${about}</p></figcaption>
<div>${picture}</div>
${foldedTable(table, title, "Numbers")}
</figure>
`;
}
