import { assertAlmostEquals, assertEquals } from "@std/assert";
import {
  forwardFlops,
  mixtureFlops,
  narrowNotes,
  slowedFlops,
  trainingFlops,
} from "../../../pipeline/cost/flops.ts";
import { assertSame, cost } from "./support.ts";

Deno.test("forwardFlops() counts every product of a tiny model, by the paper's equation", () => {
  // 2 sequences of 3 tokens, H = 4, L = 1, V = 5: embedding, projections, attention, MLP, head,
  // softmax.
  const model = { vocabulary: 5, hidden: 4, layers: 1, heads: 2, context: 3 };
  const expected = 6 * 4 + 8 * 6 * 16 + 4 * 2 * 9 * 4 + 4 * 6 * 4 * 16 + 2 * 6 * 4 * 5 + 3 * 6 * 5;
  assertEquals(forwardFlops(model, 2, 3), expected);
  assertEquals(trainingFlops(model, 2, 3), 3 * expected);
});

Deno.test("mixtureFlops() leaves the prefix to the routers and the sequence to one expert", () => {
  const { mixture } = cost();
  const { inference, inferenceOverhead } = mixtureFlops({ ...mixture, experts: 10, routers: 10 });
  assertSame(inference, forwardFlops(mixture.expert, 1, mixture.length));
  assertSame(inferenceOverhead, 10 * forwardFlops(mixture.router, 1, mixture.prefix));
});

Deno.test("slowedFlops() lets narrow models take longer on a processor, and reports how much of it they reach", () => {
  for (const [hidden, reached] of [[16, 0.4079], [32, 0.6739], [64, 1], [128, 1]]) {
    assertAlmostEquals(1 / slowedFlops(1, { hidden }, "software"), reached, 1e-4);
    assertEquals([slowedFlops(1, { hidden }, "gpu"), narrowNotes([{ hidden }], "gpu")], [1, []]);
    const share = `${(100 * reached).toFixed(0)}% of the FLOP/s of one of width 64`;
    const notes = reached < 1 ? [`a model of width ${hidden} reaches ${share}`] : [];
    assertEquals(narrowNotes([{ hidden }, { hidden: 64 }], "software"), notes);
  }
});
