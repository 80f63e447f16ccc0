import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import {
  checkSpans,
  firstPredicted,
  predictedTokens,
  type Span,
  wholeSpan,
} from "../../../pipeline/model/span.ts";

fc.configureGlobal({ seed: 1 });

/** The positions that a span counts, one by one. */
function positions({ begin, end }: Span): number[] {
  return Array.from({ length: end }, (_, i) => i).filter((position) => position >= begin && position > 0);
}

Deno.test("predictedTokens() never counts the first token of a row, nor an empty span", () => {
  fc.assert(fc.property(fc.nat(5), fc.nat(5), (begin, tokens) => {
    const span = { begin, end: begin + tokens };
    assertEquals(predictedTokens(span), positions(span).length);
    if (predictedTokens(span) > 0) assertEquals(firstPredicted(span), positions(span)[0]);
  }));
});

Deno.test("checkSpans() refuses spans that leave their row, by their row, and rows without one", () => {
  checkSpans([{ begin: 0, end: 0 }, { begin: 3, end: 3 }], [0, 3]);
  for (const [begin, end] of [[-1, 2], [2, 1], [1, 4], [0.5, 2], [1, 1.5], [NaN, 2]]) {
    const message = `that of row 1 is ${begin} to ${end}, the row has 3 tokens`;
    assertThrows(() => checkSpans([wholeSpan(3), { begin, end }], [3, 3]), RangeError, message);
  }
  assertThrows(() => checkSpans([wholeSpan(3)], [3, 3]), RangeError, "there are 1 of 2 rows");
});
