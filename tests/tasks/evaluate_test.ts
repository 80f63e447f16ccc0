import { assertFalse, assertMatch } from "@std/assert";
import { evaluationText } from "../../tasks/evaluate.ts";
import { evaluationOf, SHAPE } from "../pipeline/report/support.ts";

Deno.test("evaluationText() prints next to every figure what it is on clean documents, where somebody has looked for overlap", () => {
  const evaluation = evaluationOf(SHAPE);
  const { scores, gains } = evaluation;
  const text = evaluationText("runs/a", evaluation, true, { documents: 12, scores, gains });
  assertMatch(text, /NLL\/token +bits\/byte +12 clean documents$/m);
  assertMatch(text, /^mixture, routed by 64 tokens +45\.25 .* 45\.25, \d/m);
  assertMatch(text, /13\.2% lower \[11\.9%, 14\.6%\]; on clean documents 13\.2% lower/);
  assertFalse(evaluationText("runs/a", evaluation).includes("clean"));
});
