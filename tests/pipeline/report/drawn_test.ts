import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { drawPlots, FULL_WIDTH, HALF_WIDTH } from "../../../pipeline/report/drawn.ts";
import { gainPlot } from "../../../pipeline/report/plots_evaluation.ts";
import { heatPlot } from "../../../pipeline/report/plots_routing.ts";
import { inFolder } from "../../tasks/support.ts";
import { evaluationOf, SHAPE } from "./support.ts";

const PLOT = gainPlot(evaluationOf(SHAPE));
const section = (id: string, plots = [PLOT]) => ({ id, title: id, lead: [], plots });

Deno.test("drawPlots() draws full plots for wide and narrow pages, half ones once, and files on light paper", async () => {
  await inFolder(async (folder) => {
    const half = { ...PLOT, id: "half", size: "half" as const };
    const { drawn, files } = await drawPlots([section("a"), section("b", [half])], { plots: folder });
    const widthOf = (svg = "") => Number(/ width="(\d+)"/.exec(svg)?.[1]);
    assertEquals([...drawn.keys()], ["gain", "half"]);
    const [full, other] = [...drawn.values()];
    assertEquals([widthOf(full.wide), widthOf(full.narrow)], [FULL_WIDTH, HALF_WIDTH]);
    assertEquals([widthOf(other.wide), other.narrow], [HALF_WIDTH, undefined]);
    assertEquals(files, ["gain", "half"].map((name) => `${folder}/${name}.svg`));
    const file = await Deno.readTextFile(files[0]);
    assertStringIncludes(file, PLOT.title);
    assert(!file.includes("var(--"), "a stand-alone file has colours, not their names");
  });
});

Deno.test("drawPlots() ends between two plots, and draws nothing of sections without plots", async () => {
  const signal = AbortSignal.abort(new Error("enough"));
  await assertRejects(() => drawPlots([section("a")], { signal }), Error, "enough");
  assertEquals((await drawPlots([{ id: "a", title: "a", lead: [] }], {})).drawn.size, 0);
});

Deno.test("sources are drawn that are called as what every object has", async () => {
  const labels = ["constructor", "toString", "__proto__", "code"];
  const sources = Object.fromEntries(labels.map((label) => [label, { sequences: 1, tokens: 1 }]));
  const plot = {
    ...heatPlot([{ train: { sources } }, { train: { sources: {} } }], true),
    size: "half" as const,
  };
  const { drawn } = await drawPlots([section("a", [plot])], {});
  for (const label of labels) assertStringIncludes(drawn.get(plot.id)!.wide, label);
});
