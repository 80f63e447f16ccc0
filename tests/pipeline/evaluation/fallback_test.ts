import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { assertClose } from "../../kernels/support.ts";
import { sequenceNll } from "../model/reference.ts";
import { anyWeights } from "../model/support.ts";
import {
  anyModel,
  anyRouters,
  anyRows,
  E,
  evaluateRows,
  EXPERTS,
  M,
  MODEL,
  ROUTER,
  sequencesOf,
} from "./support.ts";

Deno.test("evaluate() sends what is unsure to a dense model, as an f64 model says, for every margin of the curve", async () => {
  const rows = anyRows(50);
  const sequences = sequencesOf(rows);
  const tokens = sequences.reduce((sum, { length }) => sum + length - 1, 0);
  const routed = sequences.map((sequence) => {
    const costs = anyRouters(E).models.map((weights) => sequenceNll(ROUTER, weights, sequence.slice(0, M)));
    const [first, second] = costs.toSorted((a, b) => a - b);
    const expert = anyWeights(MODEL, EXPERTS[costs.indexOf(first)]);
    return {
      margin: second - first,
      own: sequenceNll(MODEL, expert, sequence),
      dense: sequenceNll(MODEL, anyWeights(MODEL, "dense"), sequence),
    };
  });
  const margin = 0.4;
  const { fallback, scores } = await evaluateRows(rows, { fallback: "dense", margin });
  const { model, chosen, curve } = fallback!;
  assertEquals([model, chosen!.margin], ["dense", margin]);
  for (const point of [chosen!, ...curve]) {
    // A margin of the curve is that of a sequence, which is not sent: f32 against f64 must not decide it.
    const limit = point === chosen ? margin : (point.margin ?? Infinity) - 1e-5;
    const sent = routed.map(({ margin }) => margin < limit);
    const nll = routed.reduce((sum, { own, dense }, row) => sum + (sent[row] ? dense : own), 0) / tokens;
    assertEquals(point.share, sent.filter(Boolean).length / rows.rows, `share of margin ${point.margin}`);
    assertClose([point.perplexity], [Math.exp(nll)], { atol: 2e-5, rtol: 2e-5 }, `margin ${point.margin}`);
    assert(point.low <= point.perplexity && point.perplexity <= point.high);
  }
  assertEquals(curve.length, 21);
  const [none, all] = [curve[0], curve[20]];
  const { nllPerToken: _, ...mixture } = scores.mixture!;
  const { nllPerToken: __, ...dense } = scores.dense!;
  assertEquals(none, { margin: none.margin, share: 0, ...mixture }); // to the bit
  assertEquals(all, { margin: null, share: 1, ...dense });
});

Deno.test("evaluate() gives the curve alone without a margin, and its two ends where all margins are equal", async () => {
  const routers = anyRouters(E);
  const equal = { ...routers, models: routers.models.map(() => routers.models[1]) };
  const { fallback } = await evaluateRows(anyRows(9), { fallback: "dense-steps", routers: equal });
  assertEquals(fallback!.chosen, undefined);
  assertEquals(fallback!.curve.map(({ margin, share }) => [margin, share]), [[0, 0], [null, 1]]);
});

Deno.test("evaluate() refuses a fallback that is not there, and a margin for nothing", async () => {
  const refusals: [Parameters<typeof evaluateRows>[1], RegExp][] = [
    [
      { margin: 2 },
      /margin belongs to a dense model .*: it is 2, and no model is named; name it with fallback$/,
    ],
    [
      { fallback: "dense-steps", dense: { dense: anyModel("dense") } },
      /fallback must name one of the dense models that are compared with: it is "dense-steps"$/,
    ],
    [{ fallback: "dense", margin: NaN }, /margin must be a number of at least 0: it is NaN$/],
    [{ fallback: "dense", margin: -1 }, /margin must be a number of at least 0: it is -1$/],
  ];
  for (const [options, message] of refusals) {
    assertMatch((await assertRejects(() => evaluateRows(anyRows(8), options), InputError)).message, message);
  }
});
