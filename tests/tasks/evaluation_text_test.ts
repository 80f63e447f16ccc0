import { assertEquals, assertFalse, assertGreater, assertMatch, assertStringIncludes } from "@std/assert";
import { evaluationText } from "../../tasks/evaluation_text.ts";
import { evaluationOf, SHAPE } from "../pipeline/report/support.ts";

Deno.test("evaluationText() reports lower or higher, each with a positive number", () => {
  const evaluation = evaluationOf(SHAPE);
  const text = evaluationText("runs/a", evaluation);
  assertStringIncludes(
    text,
    "perplexity lower than that of dense, 4 times the batch, by 13.2% (11.9% to 14.6%)",
  );
  assertStringIncludes(
    text,
    "perplexity higher than that of dense-steps, 4 times the steps, by 1.7% (0.2% to 3.1%)",
  );
  assertFalse(/-\d/.test(text), text);
  // One word for one thing, in every table; and no source goes to an expert by 0%.
  assertFalse(/oracle|best expert|random expert/.test(text), text);
  for (const name of ["best in hindsight", "dense-steps", "random"]) {
    assertGreater(text.split(name).length, 2, name);
  }
  const [source] = evaluation.sources;
  const sources = [{ ...source, shares: [0.004, 0.006, 0.99, 0] }];
  assertMatch(evaluationText("runs/a", { ...evaluation, sources }), / {2}2: 99%, 1: 1%$/m);

  const [segment] = evaluation.segments;
  const perplexity = { ...segment.perplexity, mixture: 30, dense: 40, "dense-steps": 24 };
  const segments = evaluationText("runs/a", { ...evaluation, segments: [{ ...segment, perplexity }] });
  assertMatch(segments, /30\.00 +40\.00 +25\.0% lower +24\.00 +25\.0% higher$/m);
  assertEquals(text.match(/mixture is/g)?.length, 2);
});

Deno.test("evaluationText() reports what chooses the experts: a prefix, or true labels, which no prefix changes", () => {
  const evaluation = evaluationOf(SHAPE);
  const byPrefix = evaluationText("runs/a", evaluation);
  assertMatch(byPrefix, /^mixture, routed by 64 tokens +45\.25 /m);
  assertMatch(byPrefix, /^prefix +perplexity/m);
  assertFalse(byPrefix.includes("label"));
  const byLabel = evaluationText("runs/a", evaluation, false);
  assertMatch(byLabel, /^mixture, by true labels +45\.25 /m);
  assertStringIncludes(byLabel, "\nthe true label of a text chooses its expert; no prompt has one\n");
  assertFalse(/^prefix|routed by/m.test(byLabel), byLabel);
});

Deno.test("evaluationText() prints next to every figure what it is on clean documents, where somebody has looked for overlap", () => {
  const evaluation = evaluationOf(SHAPE), { scores, gains } = evaluation;
  const text = evaluationText("runs/a", evaluation, true, { documents: 12, scores, gains });
  assertMatch(text, /NLL\/token +12 clean documents$/m);
  assertMatch(text, /^mixture, routed by 64 tokens +45\.25 .* 45\.25, \d/m);
  assertMatch(text, /by 13\.2% \(11\.9% to 14\.6%\); on clean documents 13\.2% lower/);
  assertFalse(evaluationText("runs/a", evaluation).includes("clean"));
});
