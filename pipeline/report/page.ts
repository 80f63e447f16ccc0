/**
 * Lays a report out as one HTML page that stands alone: no script, no font, no network.
 *
 * @module
 */

import { task, type Words, wordText } from "../../kernels/errors.ts";
import { type Drawn, FULL_WIDTH } from "./drawn.ts";
import { foldedTable, Html, markup } from "./html.ts";
import type { Section } from "./section.ts";
import type { Sections } from "./sections.ts";
import { DARK, declarations, LIGHT } from "./theme.ts";

const STYLE = `
:root{color-scheme:light dark;${declarations(LIGHT)}}
@media (prefers-color-scheme:dark){:root{${declarations(DARK)}}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;scroll-padding-top:1rem}
body{margin:0 auto;max-width:${
  FULL_WIDTH + 48
}px;padding:40px 24px 80px;background:var(--paper);color:var(--ink);
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
@media (max-width:${FULL_WIDTH + 47}px){
body{padding:28px 16px 60px}
.plots{grid-template-columns:minmax(0,1fr)}
.wide{display:none}.narrow{display:block}
main dl{grid-template-columns:1fr;gap:0}main dd{margin-bottom:8px}
th,td{padding-right:12px}
}
@media print{details>summary{display:none}}
`;

/** The facts at the head of a page. */
export interface PageFrame {
  /** Its title. */
  title: string;
  /** What it is about, in a sentence. */
  about: string;
  /** The task that makes it. */
  task: string;
  /** What the task makes it from. */
  from: string;
}

/** Lays out a page. */
export function page(
  { title, about, task: maker, from }: PageFrame,
  { figures, sections }: Pick<Sections, "figures" | "sections">,
  drawn: Map<string, Drawn>,
  words?: Words,
): string {
  const policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:";
  const values = figures.map(([value, label]) => markup`<div><dt>${label}</dt><dd>${value}</dd></div>`);
  const links = sections.map(({ id, title }) => markup`<a href="#${id}">${title}</a>`);
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
${sections.map((section) => sectionHtml(section, drawn))}</main>
<footer>Made by <code>${
    wordText([task(maker)], words)
  }</code> from ${from}. Method: Filippova, Katharopoulos, Grangier and
Collobert, “No Need to Talk: Asynchronous Mixture of Language Models”, ICLR 2025, arXiv 2410.03529.</footer>
</body>
</html>
`.text;
}

function sectionHtml({ id, title, lead, plots = [], after }: Section, drawn: Map<string, Drawn>): Html {
  const figures = plots.map((plot) => figure(drawn.get(plot.id)!));
  return markup`<section id="${id}" aria-labelledby="${id}-h">
<h2 id="${id}-h">${title}</h2>
${lead}${figures.length === 0 ? null : markup`<div class="plots">\n${figures}</div>\n`}${after}</section>
`;
}

function figure({ plot, wide, narrow }: Drawn): Html {
  const pictures = narrow === undefined
    ? markup`<div>${new Html(wide)}</div>`
    : markup`<div><div class="wide">${new Html(wide)}</div><div class="narrow">${new Html(
      narrow,
    )}</div></div>`;
  return markup`<figure class="${plot.size}" id="plot-${plot.id}">
<figcaption><h3>${plot.title}</h3><p>${plot.about}</p></figcaption>
${pictures}
${foldedTable(plot.table, plot.title, "Numbers")}
</figure>
`;
}
