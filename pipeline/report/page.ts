// Lays sections out as one HTML page that stands alone, with their plots drawn: no script, no font, no
// network.

import { say, task, type TaskReference, type Words, wordText } from "../../kernels/errors.ts";
import { writeAtomic } from "../run/files.ts";
import type { Plot, Plots } from "./charts.ts";
import type * as Draw from "./draw.ts";
import { type Content, foldedTable, Html, markup, unbroken } from "./html.ts";
import { adaptive, DARK, declarations, LIGHT } from "./theme.ts";

/** A part that a run does not have yet, or that is not up to date. */
export interface Missing {
  /** What that is. */
  part: string;
  /** The command that makes it; undefined where only parts of the run lie here and the task needs the whole run. */
  command?: string;
}

/** A part that is not there: the task that makes it, or why none makes it here. */
export type Lacking = { part: string; task?: TaskReference; because?: string };

/** A section of pages: what it writes from the data of a page. */
export interface Section<Data = unknown> {
  id: string;
  title: string | ((data: Data) => string);
  /** Whether the page has it. Default: it has. */
  when?: (data: Data) => boolean;
  missing?: (data: Data) => readonly (Lacking | false)[];
  /** Paragraphs and tables before the plots. */
  text: (data: Data) => Content;
  plots?: (data: Data) => Plots;
  /** What follows the plots. */
  tables?: (data: Data) => Content;
}

/** What stands around the sections of a page: a title, a sentence, the task that makes it and from what, figures with their labels. */
export interface PageFrame {
  title: string;
  about: string;
  task: string;
  from: string;
  figures: readonly (readonly [value: string, label: string])[];
}

/** How a page is made. */
export interface PageOptions {
  /** Folder that gets each plot as an SVG file of its own, on light paper or, on a dark screen, dark. */
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
const STYLE = `
:root{color-scheme:light dark;${declarations(LIGHT)}}
@media (prefers-color-scheme:dark){:root{${declarations(DARK)}}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;scroll-padding-top:1rem}
body{margin:0 auto;max-width:${FULL + 48}px;padding:40px 24px 80px;background:var(--paper);color:var(--ink);
font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,Helvetica,Arial,sans-serif}
h1{font-size:28px;line-height:1.2;margin:0;font-weight:650;letter-spacing:-.01em;overflow-wrap:anywhere}
h2{font-size:21px;line-height:1.3;margin:48px 0 12px;padding-top:20px;border-top:1px solid var(--grid);font-weight:650}
h3{font-size:16px;line-height:1.35;margin:0 0 2px;font-weight:600}
p{margin:0 0 14px}
header p{color:var(--muted);margin:6px 0 0}
code{font:.88em/1.4 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;background:var(--panel);padding:.12em .35em;
border-radius:4px;overflow-wrap:anywhere}
a{color:inherit;text-decoration-color:var(--line);text-underline-offset:3px}
nav{display:flex;flex-wrap:wrap;gap:4px 18px;margin:20px 0 0;font-size:14px}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(132px,1fr));gap:18px 16px;margin:32px 0 0;padding:0}
.figures div{display:flex;flex-direction:column-reverse;justify-content:flex-end}
.figures dt{font-size:13px;line-height:1.35;color:var(--muted)}
.figures dd{margin:0;white-space:nowrap;font-size:22px;line-height:1.25;font-weight:600;font-variant-numeric:tabular-nums;letter-spacing:-.01em}
main dl{display:grid;grid-template-columns:max-content 1fr;gap:5px 20px;margin:0 0 16px;font-size:15px}
main dt{color:var(--muted)}
main dd{margin:0;overflow-wrap:anywhere}
.missing{padding:10px 14px;background:var(--panel);border-left:3px solid var(--line);font-size:15px}
.plots{display:grid;grid-template-columns:repeat(2,minmax(0,1fr));gap:0 24px;margin:26px 0 0}
figure{margin:0;min-width:0;display:grid;grid-template-rows:subgrid;grid-row:span 3;row-gap:0}
figure.full{grid-column:1/-1}
figure>*{min-width:0}
figcaption p{font-size:14px;line-height:1.45;color:var(--muted);margin:0 0 12px}
svg{display:block;max-width:100%;height:auto}
.narrow{display:none}
details{margin:8px 0 0;font-size:14px}
figure>details{margin-bottom:36px}
summary{cursor:pointer;color:var(--muted);width:max-content;max-width:100%}
.word{white-space:nowrap}
.scroll{overflow-x:auto;margin:12px 0 16px;background:linear-gradient(90deg,var(--paper) 40%,transparent) 0 0/48px 100%,
linear-gradient(270deg,var(--paper) 40%,transparent) 100% 0/48px 100%,
linear-gradient(90deg,var(--line),transparent) 0 0/12px 100%,linear-gradient(270deg,var(--line),transparent) 100% 0/12px 100%;
background-repeat:no-repeat;background-attachment:local,local,scroll,scroll}
table{border-collapse:collapse;font-size:14px;line-height:1.4;font-variant-numeric:tabular-nums}
th,td{padding:5px 18px 5px 0;text-align:left;vertical-align:top;border-bottom:1px solid var(--grid)}
th{font-weight:500;color:var(--muted);vertical-align:bottom}
th:last-child,td:last-child{padding-right:0}
th.n,td.n{text-align:right;white-space:nowrap}
td{max-width:26em;overflow-wrap:break-word}
h4{font-size:14px;font-weight:600;margin:12px 0 0}
.expert{border-left:4px solid;padding:2px 0 2px 16px;margin:0 0 22px}
.expert dl{margin:6px 0 8px}
.text p{font-size:13px;color:var(--muted);margin:6px 0 0}
pre{font:13px/1.45 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;margin:2px 0 0;padding:8px 10px;background:var(--panel);
border-radius:4px;white-space:pre-wrap;overflow-wrap:anywhere}
.claims td:last-child{white-space:nowrap}
.yes{color:var(--yes)}.no{color:var(--no)}.open{color:var(--muted)}
footer{margin-top:64px;padding-top:16px;border-top:1px solid var(--grid);font-size:13px;color:var(--muted)}
:focus-visible{outline:2px solid var(--mixture);outline-offset:2px}
@media (max-width:${FULL + 47}px){
body{padding:28px 16px 60px}
.plots{grid-template-columns:minmax(0,1fr)}
.wide{display:none}.narrow{display:block}
main dl{grid-template-columns:1fr;gap:0}main dd{margin-bottom:8px}
th,td{padding-right:12px}
}
@media print{details>summary{display:none}}
`;

/** Makes a page: draws the plots of its sections, and lays all out. The same data gives the same bytes. */
export async function page<Data>(
  frame: PageFrame,
  sections: readonly Section<Data>[],
  data: Data,
  options: PageOptions = {},
): Promise<Page> {
  const made: Page = { html: "", plots: [], missing: [] };
  const links: Html[] = [];
  const parts: Html[] = [];
  for (const { id, title, when, missing, text, plots, tables } of sections) {
    if (when?.(data) === false) continue;
    const heading = typeof title === "string" ? title : title(data);
    const figures: Html[] = [];
    for (const plot of shown(plots?.(data))) figures.push(await figure(plot, options, made));
    links.push(markup`<a href="#${id}">${heading}</a>`);
    parts.push(markup`<section id="${id}" aria-labelledby="${id}-h">
<h2 id="${id}-h">${heading}</h2>
${text(data)}${missing?.(data).map((lacking) => lacking && lackingHtml(lacking, options, made))}${
      figures.length > 0 && markup`<div class="plots">\n${figures}</div>\n`
    }${tables?.(data)}</section>
`);
  }
  made.html = layout(frame, links, parts, options.words);
  return made;
}

const shown = (plots: Plots): Plot[] => !plots ? [] : "id" in plots ? [plots] : plots.flatMap(shown);

function layout(
  { title, about, task: maker, from, figures }: PageFrame,
  links: readonly Html[],
  parts: readonly Html[],
  words?: Words,
): string {
  const policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:";
  const values = figures.map(([value, label]) => markup`<div><dt>${label}</dt><dd>${value}</dd></div>`);
  return markup`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<title>${title}</title>
<link rel="icon" href="data:,">
<style>${new Html(STYLE)}</style>
</head>
<body>
<header>
<h1>${title}</h1>
<p>${about}</p>
<dl class="figures">${values}</dl>
<nav aria-label="Sections">${links}</nav>
</header>
<main>
${parts}</main>
<footer>Made by <code>${
    wordText([task(maker)], words)
  }</code> from ${from}. Method: Filippova, Katharopoulos, Grangier and
Collobert, “No Need to Talk: Asynchronous Mixture of Language Models”, ICLR 2025, arXiv 2410.03529.</footer>
</body>
</html>
`.text;
}

function lackingHtml({ part, task, because }: Lacking, { words }: PageOptions, made: Page): Html {
  const command = task && wordText(say`${task}`, words);
  made.missing.push({ part, command });
  return command === undefined
    ? markup`<p class="missing">${part} is not here: ${because}.</p>`
    : markup`<p class="missing">${part} is not here yet: run <code>${unbroken(command)}</code>.</p>`;
}

// A variable, so that Vega is loaded only here and not by everything that imports this file.
const DRAW = "./draw.ts";

/** Draws a plot for wide and narrow pages, and into a file where a folder is named. */
async function figure(
  plot: Plot,
  { plots: folder, signal, onWarning }: PageOptions,
  made: Page,
): Promise<Html> {
  signal?.throwIfAborted();
  const { drawPlot }: typeof Draw = await import(DRAW);
  const { id, title, about, half, table } = plot;
  const draw = (width: number, id: string, titled = false) =>
    drawPlot(plot, { width, id, titled, onWarning });
  const width = half ? HALF : FULL;
  const wide = new Html(await draw(width, id));
  const picture = half ? wide : markup`<div class="wide">${wide}</div><div class="narrow">${new Html(
    await draw(HALF, `${id}-n`),
  )}</div>`;
  if (folder !== undefined) {
    const path = `${folder}/${id}.svg`;
    await writeAtomic(path, adaptive(await draw(width + 32, id, true)) + "\n");
    made.plots.push(path);
  }
  return markup`<figure class="${half ? "half" : "full"}" id="plot-${id}">
<figcaption><h3>${title}</h3><p>${about}</p></figcaption>
<div>${picture}</div>
${foldedTable(table, title, "Numbers")}
</figure>
`;
}
