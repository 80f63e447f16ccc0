import { assert, assertEquals, fail } from "@std/assert";
import { compareRuns } from "../../../pipeline/comparison/compare.ts";
import { evaluationPlots, roundPlots } from "../../../pipeline/comparison/plots.ts";
import { drawPlot } from "../../../pipeline/report/draw.ts";
import { inFolder } from "../../tasks/support.ts";
import { writeComparedRun } from "./support.ts";

Deno.test("plots of runs show every run that has something to show, and its numbers", async () => {
  await inFolder(async (folder) => {
    const runs = ["a", "b", "c"].map((name) => `${folder}/${name}`);
    await writeComparedRun(runs[0], { perplexity: 40 });
    await writeComparedRun(runs[1], { perplexity: 50 });
    await writeComparedRun(runs[2]);
    await Deno.remove(`${runs[1]}/metrics/rounds.jsonl`);
    await Deno.remove(`${runs[2]}/manifests/evaluate.json`);
    const comparison = await compareRuns({ runs });
    const [nll, nmi] = roundPlots(comparison.runs);
    for (const { table, about } of [nll, nmi]) {
      assertEquals(table.rows.map(([name]) => name), ["a", "c"]);
      assert(about.endsWith("Of a, c."), about);
    }
    const { scores } = comparison.runs[1].evaluation!;
    scores.switch = { nllPerToken: 3, perplexity: 20, low: 19, high: 21 };
    const [perplexity, prefix, source] = evaluationPlots(comparison);
    const { head, rows } = perplexity.table;
    const column = head.indexOf("Switch, experts in every layer"); // every baseline that a run has
    assertEquals(rows.map((row) => row[column]), [null, 20]);
    const rounded = perplexity.table.rows.map(([name, ...values]) => [
      name,
      ...values.slice(0, 3).map((value) => Math.round(Number(value))),
    ]);
    assertEquals(rounded, [["a", 40, 36, 44], ["b", 50, 45, 55]]);
    assertEquals(prefix.table.head, ["prefix", "a", "b"]);
    assertEquals(source.table.head, ["source", "tokens", "a", "b"]);
    for (const plot of [nll, nmi, perplexity, prefix, source]) {
      for (const width of [720, 348]) {
        const svg = await drawPlot(plot, { width, id: "x", onWarning: fail });
        assert(svg.startsWith("<svg"), plot.id);
      }
    }
    const lone = comparison.runs.map((run) => ({ ...run, rounds: [], evaluation: null }));
    assertEquals([...roundPlots(lone), ...evaluationPlots({ ...comparison, runs: lone })], []);
  });
});

Deno.test("the plot of mixtures beside the first one has a row per run that is paired with it", async () => {
  await inFolder(async (folder) => {
    const runs = ["a", "b", "c", "d"].map((name) => `${folder}/${name}`);
    await writeComparedRun(runs[0]);
    await writeComparedRun(runs[1], { documents: [3, 4] });
    await writeComparedRun(runs[2], { documents: [3.1, 4.2] });
    await writeComparedRun(runs[3], { documents: [3, 3] });
    const comparison = await compareRuns({ runs });
    const plot = evaluationPlots(comparison).find(({ id }) => id === "beside")!;
    assertEquals([plot.title, plot.table.rows.map(([name]) => name)], ["Beside b", ["c", "d"]]);
    const rounded = plot.table.rows.map((row) => row.slice(1).map((value) => Number(value).toFixed(3)));
    assertEquals(rounded, [["-16.183", "-22.140", "-10.517"], ["39.347", "0.000", "63.212"]]);
    const svg = await drawPlot(plot, { width: 348, id: "x", onWarning: fail });
    assert(svg.startsWith("<svg"));
  });
});
