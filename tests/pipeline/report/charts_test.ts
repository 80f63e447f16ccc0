import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertFalse,
  assertMatch,
  assertStringIncludes,
  fail,
} from "@std/assert";
import { colour, curves, dots, type Plot } from "../../../pipeline/report/charts.ts";
import { drawPlot } from "../../../pipeline/report/draw.ts";
import type { Section, SectionPart } from "../../../pipeline/report/page.ts";
import {
  evaluationSection as evaluationSection,
  segmentPlot,
} from "../../../pipeline/report/sections/evaluation.ts";
import { mixingPlots } from "../../../pipeline/report/sections/mixing.ts";
import { heatPlot, partitionSection } from "../../../pipeline/report/sections/partition.ts";
import { trainingSection } from "../../../pipeline/report/sections/training.ts";
import type { ExpertPart } from "../../../pipeline/stages/parts.ts";
import { evaluationOf, SHAPE } from "./support.ts";

const SAID = { id: "x", title: "A title", about: "What it shows." };
const X = { title: "x" };
const Y = { title: "y" };
const draw = (plot: Plot, width = 720) => drawPlot(plot, { width, id: "x", onWarning: fail });
const evaluation = evaluationOf(SHAPE);

/** Gives the extents of a drawing's bars of one colour, in their order. */
function boxes(svg: string, name: string): { width: number; height: number }[] {
  const paths = [...svg.matchAll(/<path[^>]* d="M[\d.]+,[^h]+h([\d.]+)v([\d.]+)h-[\d.]+Z"[^>]*>/g)];
  return paths.filter(([tag]) => tag.includes(`fill="${colour(name)}"`))
    .map(([, width, height]) => ({ width: Number(width), height: Number(height) }));
}

/** Gives the colours of a drawing's points, in their order. */
const points = (svg: string) =>
  [...svg.matchAll(/<path[^>]* d="M[^"]*A[^"]*" fill="var\(--([\w-]+)\)"/g)].map(([, name]) =>
    name
  );

/** Gives a plot of a section that is made of some data of a run. */
// deno-lint-ignore no-explicit-any -- what a section reads of a run
function plotIn(section: Section<any>, id: string, data: unknown): Plot {
  const plots = (part: SectionPart): Plot[] =>
    !part ? [] : "flatMap" in part ? part.flatMap(plots) : "spec" in part ? [part] : [];
  return plots(section.parts(data)).find((plot) => plot.id === id)!;
}

Deno.test("bars are as long as the values that they show, and every one has its line's colour", async () => {
  const svg = await draw(segmentPlot(evaluation));
  const [mixture, dense] = (["mixture", "dense"] as const).map((way) => boxes(svg, way));
  assertEquals([mixture.length, dense.length], [SHAPE.experts, SHAPE.experts]);
  const unit = mixture[0].height / evaluation.segments[0].perplexity.mixture!;
  evaluation.segments.forEach(({ perplexity }, e) => {
    assert(Math.abs(mixture[e].height / unit - perplexity.mixture!) < 0.1);
    assert(Math.abs(dense[e].height / unit - perplexity.dense!) < 0.1);
  });
  const [right] = mixingPlots(evaluation);
  const { bins } = evaluation.reliability!;
  const shown = boxes(await draw(right, 348), "mixture").map(({ width }) => width);
  assertEquals(shown.length, bins.length);
  shown.forEach((width, i) =>
    assert(Math.abs(width / shown[0] - bins[i].right / bins[0].right) < 0.01)
  );
});

Deno.test("a value alone and values that are all equal are drawn, and null is not", async () => {
  for (const flat of [[1], [1, 2]]) {
    const values = flat.map((x) => ({ x, y: 5 }));
    assertEquals(
      points(await draw({ ...SAID, ...curves({ x: X, y: Y, values }) })).length,
      flat.length,
    );
  }
  const none = [{ x: "a", y: 0, low: 0, high: 0 }, { x: "b", y: null }];
  const plot = { ...SAID, ...dots({ title: "name", axis: X, values: none, level: 0 }) };
  assertEquals(points(await draw(plot)).length, 1);
  assertEquals(plot.table.rows, [["a", 0, 0, 0], ["b", null, null, null]]);
});

Deno.test("names that every object has are drawn, long ones are cut, and hostile ones escaped", async () => {
  const names = [
    "constructor",
    "toString",
    "__proto__",
    "<img onerror=x>",
    "a-name-that-goes-on-".repeat(9),
  ];
  const values = names.map((x, i) => ({ x, y: i }));
  const svg = await draw(
    { ...SAID, title: "<b>", ...dots({ title: "name", axis: X, values }) },
    348,
  );
  for (const name of names.slice(0, 3)) assertStringIncludes(svg, `>${name}<`);
  assertMatch(svg, />a-name-that-[\w-]*…</);
  assertFalse(/<img|<b>/.test(svg));
  const sources = Object.fromEntries(names.map((label) => [label, 1]));
  const plot = heatPlot([sources, { any: 1 }], true);
  assertStringIncludes(await draw(plot), ">constructor<");
  assertEquals(plot.table.rows.find(([name]) => name === "constructor"), [
    "constructor",
    1,
    "100.0%",
    "0.0%",
  ]);
});

Deno.test("heatPlot() counts shares of each source over the experts, the largest first, and writes them where there is room", async () => {
  const plot = heatPlot([{ s0: 3, s1: 0 }, { s0: 1, s1: 8 }], true);
  assertEquals(plot.table.rows, [["s1", 8, "0.0%", "100.0%"], ["s0", 4, "75.0%", "25.0%"]]);
  assertStringIncludes(await draw(plot), ">75</text>");
  const narrow = await draw(heatPlot(Array.from({ length: 40 }, () => ({ s0: 1 })), true), 348);
  assertFalse(narrow.includes(">3</text>"));
});

Deno.test("the map of a tree draws each expert as large as its share, and branches have the mean NLL of their experts", async () => {
  const config = { configuration: { levels: [2, 2] } };
  const side = (sequences: number, source: string) =>
    ({ sequences, sources: { [source]: { sequences, tokens: 1 } } }) as unknown as ExpertPart[
      "train"
    ];
  const parts = [40, 10, 20, 30].map((held, expert) => ({
    expert,
    train: side(25, `s${expert}`),
    test: side(held, "any"),
  }));
  const counts = {
    shares: [0.25, 0.25, 0.25, 0.25],
    sequences: 100,
    tokenImbalance: 0,
    nmi: 1,
    regret: 0,
  };
  const plot = plotIn(partitionSection, "tree", {
    config,
    partition: { experts: 4, parts, train: counts, test: counts },
  });
  const svg = await draw(plot);
  const areas = boxes(svg, "heat").map(({ width, height }) => width * height);
  const whole = areas.reduce((a, b) => a + b);
  assertEquals(areas.length, 4);
  [0.4, 0.1, 0.2, 0.3].forEach((share, e) =>
    assert(Math.abs(areas[e] / whole - share) < 0.02, `${areas}`)
  );
  for (const label of ["0: 50.0%", "1.1", "s3"]) assertStringIncludes(svg, `>${label}<`);
  assertEquals(plot.table.rows, [["0", 2, "50.0%", "s0 50%, s1 50%"], [
    "1",
    2,
    "50.0%",
    "s2 50%, s3 50%",
  ]]);

  const { table: { rows } } = plotIn(evaluationSection, "perplexity-by-branch", {
    evaluation: { ...evaluation, levels: [2, 2] },
    routes: true,
  });
  const nll = (e: number) =>
    Math.log(evaluation.segments[e].perplexity.dense!) * evaluation.segments[e].tokens;
  const tokens = evaluation.segments[2].tokens + evaluation.segments[3].tokens;
  assertAlmostEquals(Number(rows[1][2]), Math.exp((nll(2) + nll(3)) / tokens), 1e-9);
  assertEquals([rows.length, rows[1][0], rows[1].at(-1)], [2, "1\n50%", tokens]);
});

Deno.test("gains on clean documents stand below those on all", () => {
  const [gain] = evaluation.gains;
  const own = { ...gain, percent: gain.percent / 2 };
  const known = { evaluation: { ...evaluation, gains: [gain] }, routes: true };
  const clean = { documents: 5, scores: evaluation.scores, gains: [own] };
  const [before, after] = [null, clean].map((clean) =>
    plotIn(evaluationSection, "gain", { ...known, clean })
  );
  const [[name, ...values]] = before.table.rows;
  assertEquals(after.table.rows, [[name, ...values], [
    `${name}, clean`,
    own.percent,
    ...values.slice(1),
  ]]);
  assertStringIncludes(after.about, "Clean: on the 5 documents");
});

Deno.test("curves of training are thinned to means, and keep where they end", () => {
  const points = Array.from(
    { length: 1000 },
    (_, i) => ({ step: i + 1, tokens: 10 * (i + 1), loss: i % 2 ? 3 : 1 }),
  );
  const plot = plotIn(trainingSection, "training-loss-by-tokens", {
    curves: [{ model: "expert-00", expert: 0, points }],
    adopted: [],
    alone: [],
    config: { configuration: { experts: 1, levels: [] } },
  });
  const [{ data: { values } }] = plot.spec.layer as {
    data: { values: { x: number; y: number }[] };
  }[];
  assert(values.length <= 150, String(values.length));
  assertEquals(values.at(-1)!.x, 10_000);
  assert(values.every(({ y }) => Math.abs(y - 2) <= 0.15));
  assertEquals(plot.table.rows, [["expert 0", 1000, 10_000, 1, 3, 1]]);
});
