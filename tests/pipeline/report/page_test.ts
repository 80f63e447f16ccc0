import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { markup } from "../../../pipeline/report/html.ts";
import { type Drawn, FULL_WIDTH, HALF_WIDTH } from "../../../pipeline/report/drawn.ts";
import { page } from "../../../pipeline/report/page.ts";
import type { Plot } from "../../../pipeline/report/plots.ts";
import type { Sections } from "../../../pipeline/report/sections.ts";
import { words } from "../../../tasks/wording.ts";

const PLOT: Plot = {
  id: "loss",
  title: "Loss & <more>",
  about: "What it shows.",
  size: "full",
  spec: () => ({}),
  table: { head: ["step", "loss"], rows: [[1, 2.5]] },
};
const SECTIONS = {
  figures: [["45.25", "perplexity"]],
  sections: [
    { id: "training", title: "Training", lead: [markup`<p>Two words.</p>`], plots: [PLOT] },
    { id: "cost", title: "Cost", lead: [], after: [markup`<p>Last.</p>`] },
  ],
} as unknown as Sections;

const FRAME = { title: "Run a & b", about: "What it is.", task: "report", from: "its files" };

const drawnAs = (more: Partial<Drawn>) =>
  new Map([["loss", { plot: PLOT, wide: "<svg>wide</svg>", ...more }]]);

Deno.test("page() leads to every section, and holds its words, plots with their numbers, and what comes after", () => {
  const text = page(FRAME, SECTIONS, drawnAs({ narrow: "<svg>narrow</svg>" }), words);
  assertEquals([...text.matchAll(/<a href="#([\w-]+)">/g)].map(([, id]) => id), ["training", "cost"]);
  for (const id of ["training", "cost"]) {
    assertStringIncludes(text, `<section id="${id}" aria-labelledby="${id}-h">`);
  }
  const parts = ["<h1>Run a &amp; b</h1>", "<p>Two words.</p>", "<h3>Loss &amp; &lt;more&gt;</h3>"];
  for (const part of [...parts, "<svg>wide</svg>", "<svg>narrow</svg>", "2.5", "<p>Last.</p>", "45.25"]) {
    assertStringIncludes(text, part);
  }
  assertStringIncludes(text, "Made by <code>deno task report</code> from its files.");
  assertEquals(text.split('<div class="plots">').length, 2, "a section without plots has no room for them");
});

Deno.test("page() draws a plot once where one picture serves narrow pages too", () => {
  const text = page(FRAME, SECTIONS, drawnAs({}));
  assert(!text.includes('<div class="narrow">') && !text.includes('<div class="wide">'));
});

Deno.test("page() allows no script and nothing from elsewhere, and two half plots fit beside each other", () => {
  const text = page(FRAME, SECTIONS, drawnAs({}));
  const policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:".replaceAll("'", "&#39;");
  assertStringIncludes(text, `http-equiv="Content-Security-Policy" content="${policy}"`);
  assert(!/<script|<iframe|@import|src=/.test(text));
  assert(2 * HALF_WIDTH <= FULL_WIDTH);
});
