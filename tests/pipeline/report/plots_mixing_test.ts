import { assert, assertEquals, assertMatch } from "@std/assert";
import { drawPlot } from "../../../pipeline/report/draw.ts";
import { mixingPlots } from "../../../pipeline/report/plots_mixing.ts";
import { evaluationOf, SHAPE } from "./support.ts";

const evaluation = evaluationOf(SHAPE);
const plotOf = (id: string, of = evaluation) => mixingPlots(of).find((plot) => plot.id === id)!;

/** Gives the lengths of the bars of a drawing, from the top. */
function lengths(svg: string): number[] {
  const paths = [...svg.matchAll(/<path d="M[\d.]+,[\d.]+h([\d.]+)v[^>]*fill="var\(--mixture\)"/g)];
  return paths.map(([, length]) => Number(length));
}

Deno.test("mixingPlots() draws what is there, and nothing for an evaluation of before", () => {
  const ids = (of: typeof evaluation) => mixingPlots(of).map(({ id }) => id);
  assertEquals(ids(evaluation), ["margin-right", "margin-loss", "experts-together", "fallback"]);
  const { reliability, mixing: _, fallback: _f, ...before } = evaluation;
  assertEquals(ids(before), []);
  assertEquals(ids({ ...before, reliability }), ["margin-right", "margin-loss"]);
});

Deno.test("the plots of margins have bars as long as shares and losses are, and a place for bins without loss", async () => {
  const { bins } = evaluation.reliability!;
  for (
    const [id, shown] of [["margin-right", bins.map(({ right }) => right)], [
      "margin-loss",
      bins.flatMap(({ loss }) => loss ?? []),
    ]] as const
  ) {
    const svg = await drawPlot(plotOf(id), { width: 348, id: "x" });
    const bars = lengths(svg);
    assertEquals(bars.length, shown.length, id);
    shown.forEach((value, i) => assert(Math.abs(bars[i] / bars[0] - value / shown[0]) < 0.01, `${id} ${i}`));
    assertMatch(svg, />20–25</); // the last one, where all are right
  }
  assertEquals(plotOf("margin-right").table.rows[9], [20.25, 24.5025, 109, "94.0%", null]);
});

Deno.test("the plots of margins tell bins apart that are close, and leave losses out where there are none", () => {
  const { bins, ...all } = evaluation.reliability!;
  const close = bins.map((bin, i) => ({
    ...bin,
    loss: null,
    from: 0.012 + i * 1e-5,
    to: 0.012004 + i * 1e-5,
  }));
  const plots = mixingPlots({
    ...evaluation,
    mixing: undefined,
    fallback: undefined,
    reliability: { ...all, bins: close },
  });
  assertEquals(plots.map(({ id }) => id), ["margin-right"]);
  const { y } = plots[0].spec(348).encoding as { y: { scale: { domain: string[] } } };
  assertEquals(new Set(y.scale.domain).size, 10);
  assertEquals(y.scale.domain[1], "0.01201–0.01201");
});

Deno.test("the plot of experts together has a mark and an interval for every mixture, beside its number", async () => {
  for (const width of [348, 720]) {
    const svg = await drawPlot(plotOf("experts-together"), { width, id: "x" });
    for (const text of ["1 expert", "2 experts", "4 experts", "weighed once", "anew every 32 tokens"]) {
      assertMatch(svg, new RegExp(`>${text}<`));
    }
    const inPlace = [
      ...svg.matchAll(
        /<(line|path) transform="translate\(([\d.]+),([\d.]+)\)"[^>]*stroke="var\(--mixture\)"/g,
      ),
    ];
    const places = (mark: string) => inPlace.flatMap(([, name, , y]) => name === mark ? [y] : []);
    assertEquals(new Set(places("line")).size, 6, "intervals, each beside the others");
    assertEquals(places("line").filter((y) => places("path").includes(y)).length, 6, "a point on each");
  }
  const once = {
    ...evaluation.mixing!,
    mixes: evaluation.mixing!.mixes.filter(({ reroute }) => reroute === null),
  };
  const svg = await drawPlot(plotOf("experts-together", { ...evaluation, mixing: once }), {
    width: 720,
    id: "x",
  });
  assert(!svg.includes("anew every"));
});

Deno.test("the plot of a fallback goes from none sent to all, with the margin that was asked for", async () => {
  const { spec, table, about } = plotOf("fallback");
  assertEquals([table.rows.length, table.rows[20][0], table.rows[21]], [22, "any", [
    2,
    "20.0%",
    46,
    43.699999999999996,
    48.300000000000004,
  ]]);
  assertMatch(about, /The point: a margin of 2, as asked for\.$/);
  const layers = spec(720).layer as unknown[];
  assertEquals(layers.length, 3);
  const { chosen: _, ...curve } = evaluation.fallback!;
  const alone = plotOf("fallback", { ...evaluation, fallback: curve });
  assertEquals([(alone.spec(720).layer as unknown[]).length, alone.about.includes("The point")], [2, false]);
  assertMatch(await drawPlot(alone, { width: 348, id: "x" }), />100%</);
});
