import { assertEquals, assertThrows } from "@std/assert";
import { doubtOf, givenIn, RATES, withoutRates } from "../../../pipeline/reproduction/models.ts";
import { RunError } from "../../../kernels/errors.ts";
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

Deno.test("doubtOf() refuses a search in which all diverge, and says where the best rate is at an edge", () => {
  const search = (rate: number, losses: number[]) => ({
    rate,
    trials: losses.map((validationLoss, i) => ({ rate: 2 ** i, validationLoss })),
  });
  assertEquals(doubtOf("dense", search(2, [3, 2, 3])), undefined);
  assertEquals(
    doubtOf("dense", search(1, [1, 2, 3])),
    'the best learning rate of "dense" is the lowest of those tried, 1: a better one may lie beyond',
  );
  assertEquals(doubtOf("dense", search(4, [3, 2, 1]))?.includes("is the highest of those tried, 4"), true);
  const all = search(1, [Infinity, Infinity]);
  assertThrows(
    () => doubtOf("experts", all),
    RunError,
    'a learning rate of "experts" as all that were tried diverge: 1 to 2',
  );
});

Deno.test("givenIn() gives what flags set, and nothing of a preset or a file", () => {
  assertEquals(
    givenIn({ preset: "small", file: { denseRate: 2e-3, expertRate: 0 }, flags: { denseRate: 1e-3 } }),
    { denseRate: 1e-3 },
  );
  assertEquals(givenIn({ preset: "small" }), {});
});
