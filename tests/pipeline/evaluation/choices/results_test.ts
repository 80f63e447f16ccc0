import { assertEquals } from "@std/assert";
import {
  type ChoiceWay,
  type Difference,
  judge,
  listWays,
  topWay,
  type ZeroShotResult,
} from "../../../../pipeline/evaluation/choices/results.ts";

Deno.test("judge() reports better or worse only where the interval leaves out zero; a lower perplexity is better", () => {
  const of = (metric: Difference["metric"], low: number, high: number) => judge({ metric, low, high });
  assertEquals([of("acc", 0.1, 0.2), of("acc", -0.2, -0.1)], ["better", "worse"]);
  assertEquals([of("acc", -0.1, 0.2), of("acc", 0, 0.2), of("acc", 0, 0)], ["equal", "equal", "equal"]);
  assertEquals([of("perplexity", 1, 2), of("perplexity", -2, -1)], ["worse", "better"]);
});

Deno.test("listWays() lists what answered some task: the mixture, then fewer experts together before more, then the others", () => {
  const result = (...ways: ChoiceWay[]) =>
    ({ ways: Object.fromEntries(ways.map((way) => [way, {}])) }) as unknown as ZeroShotResult;
  assertEquals(topWay(2), "top-2");
  assertEquals(
    listWays([result("random", "oracle", "top-10", "mixture"), result("mixture", "dense", "top-2")]),
    ["mixture", "top-2", "top-10", "dense", "oracle", "random"],
  );
});
