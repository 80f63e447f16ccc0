import { assertEquals } from "@std/assert";
import { RATES, withoutRates } from "../../../pipeline/reproduction/models.ts";
import { SEARCHED } from "../../../pipeline/report/reproduction.ts";
import { PRESETS } from "../../../pipeline/settings/presets.ts";

Deno.test("withoutRates() gathers preset, file and flags, later ones first, and no rate of a model that is searched for", () => {
  const values = withoutRates({
    preset: "small",
    file: { experts: 8, prefix: 32 },
    flags: { prefix: 16, denseRate: 1e-3 },
  });
  assertEquals([values.experts, values.prefix, values.expertHidden], [8, 16, PRESETS.small.expertHidden]);
  for (const name of SEARCHED) assertEquals(RATES[name] in values, false, name);
});
