import { assert, assertEquals, fail } from "@std/assert";
import { drawPlot } from "../../../pipeline/report/draw.ts";
import { routeByPlots } from "../../../pipeline/report/plots_route_by.ts";
import { evaluationOf, routedByOf, SHAPE } from "./support.ts";

Deno.test("routeByPlots() draws both partitioners by prefix, and nothing where no other one was asked for", async () => {
  const evaluation = evaluationOf(SHAPE);
  assertEquals(routeByPlots(evaluation), []);
  const [plot] = routeByPlots({ ...evaluation, routedBy: routedByOf(evaluation) });
  assertEquals(plot.title, "Perplexity by routing prefix, where the experts themselves choose");
  assertEquals(plot.table.rows.map(([prefix]) => prefix), [4, 8, 16, 32, 64, 128]);
  assertEquals(plot.table.rows[4], [64, 44, 43, 45, 45.25, -2.5, -4, -1, "87.5%"]);
  for (const width of [720, 348]) {
    const svg = await drawPlot(plot, { width, id: "x", onWarning: fail });
    for (const name of ["the run's partitioner", "the experts themselves"]) {
      assert(svg.replaceAll("&#39;", "'").includes(`>${name}<`), `a legend with ${name}`);
    }
  }
});
