import { assertEquals, assertMatch } from "@std/assert";
import { evaluationText } from "../../tasks/evaluation_text.ts";
import { routedByText } from "../../tasks/route_by_text.ts";
import { evaluationOf, routedByOf, SHAPE } from "../pipeline/report/support.ts";

Deno.test("routedByText() sets another partitioner's perplexities beside the run's own, and nothing where none was asked for", () => {
  const evaluation = evaluationOf(SHAPE);
  assertEquals(routedByText(evaluation), []);
  const text = evaluationText("runs/a", { ...evaluation, routedBy: routedByOf(evaluation) });
  assertMatch(text, /^prefix +routed by self +95% interval +by the run's own +which is +same expert$/m);
  assertMatch(
    text,
    /^64 \(M\) +44\.00 +43\.00 to 45\.00 +45\.25 +2\.50% higher \(1\.00% to 4\.00%\) +87\.5%$/m,
  );
});
