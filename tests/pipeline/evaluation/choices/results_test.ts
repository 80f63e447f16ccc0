import { assertEquals } from "@std/assert";
import { type Difference, judge } from "../../../../pipeline/evaluation/choices/results.ts";

Deno.test("judge() reports better or worse only where the interval leaves out zero; a lower perplexity is better", () => {
  const of = (metric: Difference["metric"], low: number, high: number) =>
    judge({ metric, low, high });
  assertEquals([of("acc", 0.1, 0.2), of("acc", -0.2, -0.1)], ["better", "worse"]);
  assertEquals([of("acc", -0.1, 0.2), of("acc", 0, 0.2), of("acc", 0, 0)], [
    "equal",
    "equal",
    "equal",
  ]);
  assertEquals([of("perplexity", 1, 2), of("perplexity", -2, -1)], ["worse", "better"]);
});
