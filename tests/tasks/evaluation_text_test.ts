import { assertEquals, assertFalse, assertMatch, assertStringIncludes } from "@std/assert";
import { evaluationText } from "../../tasks/evaluation_text.ts";
import { evaluationOf, SHAPE } from "../pipeline/report/support.ts";

Deno.test("evaluationText() says lower or higher, each with a positive number", () => {
  const evaluation = evaluationOf(SHAPE);
  const text = evaluationText("runs/a", evaluation);
  assertStringIncludes(
    text,
    "perplexity lower than that of dense, 4 times the batch, by 13.2% (11.9% to 14.6%)",
  );
  assertStringIncludes(
    text,
    "perplexity higher than that of dense, 4 times the steps, by 1.7% (0.2% to 3.1%)",
  );
  assertFalse(/-\d/.test(text), text);

  const [segment] = evaluation.segments;
  const perplexity = { ...segment.perplexity, mixture: 30, dense: 40, "dense-steps": 24 };
  const segments = evaluationText("runs/a", { ...evaluation, segments: [{ ...segment, perplexity }] });
  assertMatch(segments, /30\.00 +40\.00 +25\.0% lower +24\.00 +25\.0% higher$/m);
  assertEquals(text.match(/mixture is/g)?.length, 2);
});
