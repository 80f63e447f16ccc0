import { assertFalse, assertMatch } from "@std/assert";
import { evaluationText } from "../../tasks/evaluation_text.ts";
import { evaluationOf, SHAPE } from "../pipeline/report/support.ts";

Deno.test("evaluationText() tells of margins, mixtures of several experts and a fallback, where they are there", () => {
  const evaluation = evaluationOf(SHAPE);
  const text = evaluationText("runs/a", evaluation);
  assertMatch(text, /^0\.00 to 0\.203 +109 +40\.0% +3\.00 nats$/m);
  assertMatch(text, /^all +1,092 +70\.0% +6\.50 nats$/m);
  assertMatch(text, /^20\.3 to 24\.5 +109 +94\.0% +-$/m);
  assertMatch(
    text,
    /^2, weighed anew every 32 tokens +44\.25 +42\.04 to 46\.46 +3\.00 +3\.0 +1\.0% lower \(0\.8 to 1\.3\)$/m,
  );
  assertMatch(text, /^margin +sent to dense +perplexity +95% interval\nbelow 0\.00 +0\.0% +45\.25 /m);
  assertMatch(text, /^below 2\.00 \(as asked\) +20\.0% +46\.00 /m);
  const { reliability: _, mixing: _m, fallback: _f, ...before } = evaluation;
  for (
    const other of [{ ...before, format: 2 as const }, {
      ...evaluation,
      ...before,
      experts: 1,
      mixing: undefined,
      fallback: undefined,
    }]
  ) {
    assertFalse(/margin|together|sent to/.test(evaluationText("runs/a", other)));
  }
});
