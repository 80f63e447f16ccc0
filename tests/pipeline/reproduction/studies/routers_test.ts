import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { forwardFlops } from "../../../../pipeline/cost/flops.ts";
import { outcome, setupsFor, study } from "../support.ts";

Deno.test("the study of routers asks whether all sizes lead to perplexities within 5%", () => {
  const setups = setupsFor("routers");
  const widths = setups.map(({ settings, label }) => settings.routerHidden ?? Number(label.split(" ")[1]));
  assertEquals(widths, [...widths].sort((a, b) => a - b));
  assertEquals([...new Set(widths)], [8, 16, 48, 72, 96]); // from half to six times that of the preset
  for (const width of widths) assert(width % 8 === 0, "four heads of an even width");
  const found = (perplexities: number[]) =>
    study("routers").findings(setups.map((setup, i) => outcome(setup, { mixture: perplexities[i] })));
  assertEquals(found([30, 30.5, 31, 31.4, 30]).claims[0].holds, true);
  const [{ holds, here }] = found([30, 30.5, 31, 31.6, 30]).claims;
  assertEquals(holds, false); // though the intervals have a part in common: each is one to both sides
  assertStringIncludes(here, "5.3% apart: width 8 30.00, width 16 30.50");
  assertEquals(found([30, 30, 30, 30, 30]).table.rows[0].slice(-2), ["25.0%", "10.0%"]);
  const self = setups.map((setup) => outcome(setup));
  self[0].evaluation.routedBy = {
    kind: "self",
    prefixes: [{
      prefix: 64,
      perplexity: 35,
      low: 33,
      high: 37,
      gain: { percent: 0, low: 0, high: 0 },
      agreement: 1,
    }],
  };
  const config = { vocabulary: 100, hidden: 8, layers: 1, heads: 1, context: 256 };
  self[0].evaluation.models.config = config;
  const inference = self[0].evaluation.experts * forwardFlops(config, 1, 64);
  self[0].cost.flops.inference = 3 * inference; // so that choosing is a quarter of all
  const { claims, table } = study("routers").findings(self);
  assertEquals(claims[0].holds, false); // 35 is beside 30
  assertEquals(table.rows.at(-1), [
    ...["the experts themselves", null, "35.00 [33.00, 37.00]", "0.500"],
    ...["25.0%", "25.0%"],
  ]);
});
