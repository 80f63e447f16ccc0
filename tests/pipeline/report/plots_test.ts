import { assert, assertEquals } from "@std/assert";
import {
  AXIS_WIDTH,
  expertLine,
  fullAndHollow,
  labelled,
  labelledExperts,
  labelRoom,
  legendOf,
  lineEncoding,
  MOST_LEGEND,
  NARROW,
  someOf,
  wayLine,
  widestOf,
} from "../../../pipeline/report/plots.ts";
import { textWidth } from "../../../pipeline/report/text.ts";

Deno.test("legendOf() has as many columns as have room, and none where there is nothing or too much to explain", () => {
  const names = ["mixture", "dense, 4× batch", "dense, 4× steps"];
  const widest = Math.max(...names.map((name) => textWidth(name)));
  for (const width of [100, 200, 348, 500, 720]) {
    const { columns } = legendOf(names, width, {}).legend as { columns: number };
    assert(columns >= 1 && columns <= 3, `${columns} columns`);
    if (columns > 1) assert(columns * widest + AXIS_WIDTH <= width, `${columns} columns in ${width}`);
  }
  assertEquals(legendOf(names.slice(0, 1), 720, {}).legend, null);
  assertEquals(legendOf(new Array(MOST_LEGEND + 1).fill("x"), 720, {}).legend, null);
});

Deno.test("every model has a line of its own, the same in every plot, up to a dozen experts", () => {
  const lines = [...["mixture", "dense", "dense-steps"] as const].map((way) => wayLine(way, 4));
  lines.push(...Array.from({ length: 12 }, (_, expert) => expertLine(expert)));
  const looks = lines.map(({ colour, dash }) => JSON.stringify([colour, dash]));
  assertEquals(new Set(looks).size, looks.length);
  const { color, strokeDash } = lineEncoding("model", lines, 720) as Record<
    string,
    { scale: { range: unknown[] } }
  >;
  assertEquals(color.scale.range, lines.map(({ colour }) => colour));
  assertEquals(strokeDash.scale.range, lines.map(({ dash }) => dash));
});

Deno.test("fullAndHollow() tells two figures apart by what fills their marks, and outlines both in the legend too", () => {
  const { scale, legend } = fullAndHollow("figure", ["training", "held out"], 720, {}) as {
    scale: { domain: string[]; range: string[] };
    legend: Record<string, unknown>;
  };
  assertEquals(scale.domain, ["training", "held out"]);
  assert(scale.range[0] !== scale.range[1]);
  assertEquals(legend.symbolStrokeColor, scale.range[0]);
});

Deno.test("someOf() takes at most so many, evenly and with the first; labelledExperts() as many as have room", () => {
  const values = Array.from({ length: 100 }, (_, i) => i);
  for (const most of [1, 7, 12, 99, 100, 1000]) {
    const some = someOf(values, most);
    assert(some.length <= most && some[0] === 0, `${some.length} of ${most}`);
    const steps = new Set(some.slice(1).map((value, i) => value - some[i]));
    assert(steps.size <= 1, "evenly");
  }
  assertEquals(labelledExperts(4, 720), [0, 1, 2, 3]);
  assert(labelledExperts(100, 348).length * 26 <= 348);
});

Deno.test("labels have less room on a narrow page, and a source without a label is called that", () => {
  assert(labelRoom(NARROW - 1) < labelRoom(NARROW));
  assert(widestOf(["a", "wider"]) > textWidth("wider"));
  assertEquals([labelled(""), labelled("news")], ["(no source)", "news"]);
});
