import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import type { Evaluation } from "../../../pipeline/evaluation/evaluation.ts";
import { readDocumentScores } from "../../../pipeline/evaluation/tables.ts";
import type { Partitioner } from "../../../pipeline/partition/partitioner.ts";
import { type Columns } from "../../../pipeline/rows/arrow.ts";
import { sliceColumns } from "../../../pipeline/rows/columns.ts";
import { evaluateModels, evaluateRun } from "../../../pipeline/run/evaluate_run.ts";
import { trainDense, trainExpert } from "../../../pipeline/run/models.ts";
import { readStatus } from "../../../pipeline/run/status.ts";
import { calibrateMargin } from "../../../pipeline/evaluation/calibration.ts";
import { measureReliability } from "../../../pipeline/evaluation/evaluate.ts";
import { assertClose, gpu, randomIntegers } from "../../kernels/support.ts";
import { sequenceNll } from "../model/reference.ts";
import { anyWeights } from "../model/support.ts";
import { withPartition } from "../run/support.ts";
import {
  anyModel,
  anyRouters,
  anyRows,
  argmin,
  assertAlike,
  E,
  evaluateRows,
  EXPERTS,
  M,
  MODEL,
  type ModelLoader,
  type Options,
  plainFigures,
  referenceNll,
  RESAMPLES,
  ROUTER,
  SEED,
  sequencesOf,
  streamRows,
} from "./support.ts";

/**
 * Per layer 12·H² in matrices and 13·H in biases and LayerNorms; the embedding; a last LayerNorm.
 */
function weightsOf({ vocabulary, hidden, layers }: typeof MODEL): number {
  return layers * (12 * hidden ** 2 + 13 * hidden) + vocabulary * hidden + 2 * hidden;
}

const PREFIXES = [4, 6, 8, 12];
/** A partitioner that sends a sequence by the sum of the tokens of its prefix. */
const bySum = (tokens: number[]) => tokens.reduce((sum, token) => sum + token, 0) % E;
const BY_SUM: Partitioner = {
  kind: "sum",
  experts: E,
  sha256: "",
  prefix: M,
  vocabulary: 13,
  costs: ({ tokens, sequenceLength, length }, prefixes) =>
    Promise.resolve(Float32Array.from(
      prefixes.flatMap((prefix) =>
        [...length].flatMap((real, row) => {
          const own = [
            ...tokens.subarray(row * sequenceLength, row * sequenceLength + Math.min(real, prefix)),
          ];
          return Array.from({ length: E }, (_, expert) => Number(expert !== bySum(own)));
        })
      ),
    )),
  close() {},
};

/**
 * The same evaluation in plain words, in f64: by every prefix, with a fallback below a margin, and
 * routed by sums of tokens.
 */
function evaluationReference(rows: Columns, fallbackMargin: number): Evaluation {
  const { sequences, all, documents, tokens, perplexity, gain, score } = plainFigures(rows);
  const model = (name: string) => referenceNll(MODEL, anyWeights(MODEL, name), sequences);
  const experts = EXPERTS.map(model);
  const costsBy = PREFIXES.map((prefix) => {
    const prefixes = sequences.map((tokens) => tokens.slice(0, prefix));
    const nlls = anyRouters(E).models.map((weights) => referenceNll(ROUTER, weights, prefixes));
    return all.map((row) => nlls.map((nll) => nll[row]));
  });
  const routesBy = costsBy.map((costs) => costs.map(argmin));
  const nllBy = (routes: number[]) => routes.map((expert, row) => experts[expert][row]);
  const own = PREFIXES.indexOf(M);
  const ways = {
    mixture: nllBy(routesBy[own]),
    random: all.map((row) => experts.reduce((sum, nll) => sum + nll[row], 0) / E),
    oracle: all.map((row) => Math.min(...experts.map((nll) => nll[row]))),
    dense: model("dense"),
    "dense-steps": model("dense-steps"),
  };
  const perplexities = (of: number[]) =>
    Object.fromEntries(Object.entries(ways).map(([name, nll]) => [name, perplexity(nll, of)]));
  const gains = (nll: number[]) =>
    (["dense", "dense-steps"] as const).map((baseline) => ({
      baseline,
      ...gain(nll, ways[baseline]),
    }));
  const agreement = (a: number[], b: number[]) =>
    a.filter((expert, row) => expert === b[row]).length / a.length;
  const margins = costsBy[own].map((costs) => {
    const [first, second] = costs.toSorted((a, b) => a - b);
    return second - first;
  });
  const sent = (limit: number) => {
    const nll = all.map((row) => margins[row] < limit ? ways.dense[row] : ways.mixture[row]);
    return { share: margins.filter((margin) => margin < limit).length / rows.rows, nll };
  };
  const sorted = margins.toSorted((a, b) => a - b);
  const curve = Array.from({ length: 20 }, (_, i) => sorted[Math.floor(i * rows.rows / 20)]);
  const point = (margin: number | null) => {
    // A margin of the curve is that of a sequence, which is not sent: f32 against f64 must not
    // decide it.
    const { share, nll } = sent(
      margin === null ? Infinity : margin - (margin === fallbackMargin ? 0 : 1e-5),
    );
    return { margin, share, ...score(nll) };
  };
  const chosen = sent(fallbackMargin).nll;
  return {
    format: 3,
    prefix: M,
    experts: E,
    documents: documents.length,
    sequences: rows.rows,
    tokens: tokens(all),
    resamples: RESAMPLES,
    seed: SEED,
    scores: Object.fromEntries(
      Object.entries(ways).map((
        [name, nll],
      ) => [name, { nllPerToken: Math.log(perplexity(nll)), ...score(nll) }]),
    ),
    gains: gains(ways.mixture),
    sources: ["", "code", "sea"].map((source) => {
      const of = all.filter((row) => rows.source![row] === source);
      return {
        source,
        documents: new Set(of.map((row) => rows.document![row])).size,
        sequences: of.length,
        tokens: tokens(of),
        perplexity: perplexities(of),
        shares: [0, 1, 2].map((expert) =>
          of.filter((row) => routesBy[own][row] === expert).length / of.length
        ),
      };
    }),
    segments: [0, 1, 2].map((expert) => {
      const of = all.filter((row) => routesBy[own][row] === expert);
      const { mixture, dense, "dense-steps": steps } = perplexities(of);
      return {
        expert,
        sequences: of.length,
        share: of.length / rows.rows,
        tokens: tokens(of),
        perplexity: { mixture, dense, "dense-steps": steps },
      };
    }),
    prefixes: PREFIXES.map((prefix, k) => {
      const nll = nllBy(routesBy[k]);
      return {
        prefix,
        ...score(nll),
        gains: gains(nll),
        agreement: agreement(routesBy[k], routesBy[own]),
      };
    }),
    reliability: reliability(margins.map((margin, row) => ({
      margin,
      loss: ways.mixture[row] - ways.oracle[row],
    }))),
    fallback: {
      model: "dense",
      chosen: { ...point(fallbackMargin), nllPerToken: Math.log(perplexity(chosen)) },
      curve: [...curve, null].map(point),
    },
    routedBy: {
      kind: "sum",
      prefixes: PREFIXES.map((prefix, k) => {
        const routes = sequences.map((tokens) => bySum(tokens.slice(0, prefix)));
        const nll = nllBy(routes);
        const rest = {
          gain: gain(nllBy(routesBy[k]), nll),
          agreement: agreement(routes, routesBy[k]),
        };
        return { prefix, ...score(nll), ...rest };
      }),
    },
    models: {
      config: MODEL,
      parameters: weightsOf(MODEL),
      router: ROUTER,
      routerParameters: weightsOf(ROUTER),
    },
  };
}

Deno.test("evaluate() finds the margin that sends a wanted share, and what it does to other text", async () => {
  const rows = anyRows(600, 120);
  const options = { fallback: "dense", calibrate: 0.1 } as const;
  const { fallback, scores } = await evaluateRows(rows, options);
  const { margin, share, unseen } = fallback!.calibrated!;
  assertEquals(share, 0.1);
  assert(Math.abs(unseen.share - 0.1) <= 0.02, `${unseen.share}`);
  const { fallback: again } = await evaluateRows(rows, { fallback: "dense", margin });
  assertEquals(again!.chosen!.share, share);
  const { percent, low, high } = unseen.gain;
  assertAlike(percent, 100 * (1 - unseen.perplexity / scores.mixture!.perplexity));
  assert(low <= percent && percent <= high);
});

Deno.test("calibrateMargin() sends the rows of the least margins, and no row of equal ones alone", () => {
  const margins = Array.from({ length: 200 }, (_, i) => (i * 77) % 200);
  const below = (limit: number) => margins.filter((margin) => margin < limit).length;
  assertEquals(calibrateMargin(margins, 0.1), 20);
  assertEquals(below(calibrateMargin(margins, 0.335)), 67);
  assertEquals(calibrateMargin(margins, 0.001), 0);
  assertEquals(calibrateMargin([1, 1, 1, 1], 0.5), 1);
});

const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0);

/**
 * Counts right choices in bins of a tenth of the sequences each, whose margins differ in the tests.
 */
function reliability(choices: { margin: number; loss: number }[]): Evaluation["reliability"] {
  const sorted = choices.toSorted((a, b) => a.margin - b.margin);
  const reported = (some: typeof choices) => {
    const losses = some.map(({ loss }) => loss).filter((loss) => loss > 0);
    const loss = losses.length === 0 ? null : losses.reduce((a, b) => a + b) / losses.length;
    return { sequences: some.length, right: 1 - losses.length / some.length, loss };
  };
  const bins = Array.from({ length: 10 }, (_, bin) => {
    const some = sorted.slice(bin * sorted.length / 10, (bin + 1) * sorted.length / 10);
    return { from: some[0].margin, to: some.at(-1)!.margin, ...reported(some) };
  });
  return { ...reported(sorted), bins };
}

Deno.test("evaluate() gives what an f64 model, sequence by sequence, and drawing documents one by one give", async () => {
  const rows = anyRows(40);
  const expected = evaluationReference(rows, 0.4);
  assert(
    expected.segments.every(({ sequences }) => sequences > 1),
    "the routers of this test must differ",
  );
  assert(expected.prefixes[0].agreement < 0.9, "short prefixes must route otherwise in this test");
  const { fallback, scores, ...rest } = await evaluateRows(rows, {
    fallback: "dense",
    margin: 0.4,
    routeBy: BY_SUM,
  });
  assertAlike({ fallback, scores, ...rest }, expected);
  const [{ margin, ...none }, all] = [fallback!.curve[0], fallback!.curve[20]];
  const { nllPerToken: _, ...mixture } = scores.mixture!;
  const { nllPerToken: __, ...dense } = scores.dense!;
  // To the bit.
  assertEquals([none, all], [{ share: 0, ...mixture }, { margin: null, share: 1, ...dense }]);
  assert(margin !== null);
});

Deno.test("evaluate() gives bits per byte of what is predicted, in all and by source", async () => {
  const rows = anyRows(40);
  const tokenBytes = Uint16Array.from({ length: 13 }, (_, token) => token % 4);
  const { scores, sources, segments, ...all } = await evaluateRows(rows, { tokenBytes });
  const bytes = sequencesOf(rows).map((tokens) => tokens.map((token) => token % 4));
  const scored = sum(bytes.map(([, ...predicted]) => sum(predicted)));
  assertEquals(all.bytes, scored);
  assertEquals(all.unscoredBytes, sum(bytes.map(([first]) => first)));
  assertEquals(sum(sources.map(({ bytes }) => bytes!)), scored);
  assertEquals(sum(segments.map(({ bytes = 0 }) => bytes)), scored);
  const source = sources.find(({ source }) => source === "sea")!;
  const predicted = bytes.filter((_, row) => rows.source![row] === "sea").map(([, ...own]) => own);
  assertEquals(source.bytes, sum(predicted.map(sum)));
  for (const { nllPerToken, bitsPerByte } of Object.values(scores)) {
    assertAlike(bitsPerByte, nllPerToken * all.tokens / Math.LN2 / scored);
  }
  const { scores: without, bytes: none } = await evaluateRows(rows);
  assertEquals([none, without.mixture!.bitsPerByte], [undefined, undefined]);
});

Deno.test("evaluate() gives the same result to the bit, for any batches in", async () => {
  const rows = anyRows(1100, 40);
  const expected = await evaluateRows(rows, {}, 1100);
  assertEquals(await evaluateRows(rows, {}, 64), expected);
});

Deno.test("evaluate() takes a single sequence, of two tokens, shorter than any prefix", async () => {
  const rows = { ...sliceColumns(anyRows(1), 0, 1), length: Uint32Array.of(2) };
  const { sequences, tokens, segments, prefixes, scores } = await evaluateRows(rows);
  assertEquals([sequences, tokens], [1, 1]);
  assertEquals(prefixes.map(({ agreement }) => agreement), [1, 1, 1, 1]);
  const [pair] = sequencesOf(rows);
  const nlls = anyRouters(E).models.map((weights) => sequenceNll(ROUTER, weights, pair));
  const expert = argmin(nlls);
  assertEquals(
    segments.map((of) => [of.sequences, of.perplexity.mixture === null]),
    [0, 1, 2].map((of) => [Number(of === expert), of !== expert]),
  );
  const expected = sequenceNll(MODEL, anyWeights(MODEL, EXPERTS[expert]), pair);
  assertClose([scores.mixture!.nllPerToken], [expected], { atol: 2e-5, rtol: 2e-5 });
});

Deno.test("evaluate() sends all to the first of equal routers, and to the only one", async () => {
  const rows = anyRows(15);
  const routers = anyRouters(E);
  const equal = { ...routers, models: [routers.models[1], routers.models[1], routers.models[1]] };
  const { segments, prefixes, scores } = await evaluateRows(rows, { routers: equal });
  assertEquals(segments.map(({ share }) => share), [1, 0, 0]);
  assertEquals(segments[2], {
    expert: 2,
    sequences: 0,
    share: 0,
    tokens: 0,
    perplexity: { mixture: null, dense: null, "dense-steps": null },
  });
  const alone = await evaluateRows(rows, { routers: anyRouters(1), experts: [anyModel("a")] });
  assertEquals(alone.scores.mixture, scores.mixture);
  assertEquals(alone.scores.random, alone.scores.mixture);
  assertEquals(alone.scores.oracle, alone.scores.mixture);
  assertEquals(alone.prefixes.map(({ agreement }) => agreement), prefixes.map(() => 1));
  const { fallback } = await evaluateRows(rows, { fallback: "dense-steps", routers: equal });
  assertEquals(fallback!.chosen, undefined);
  assertEquals(fallback!.curve.map(({ margin, share }) => [margin, share]), [[0, 0], [null, 1]]);
});

Deno.test("evaluate() refuses what does not fit together, with both values", async () => {
  const rows = anyRows(8);
  const refusals: [Options, RegExp][] = [
    [{ open: () => streamRows(anyRows(0)) }, /there must be held-out sequences: there are none$/],
    [
      { experts: [anyModel("a"), anyModel("b", { ...MODEL, layers: 1 }), anyModel("c")] },
      /Cannot use expert 1 as it must have the shape of expert 0: layers is 1, that of expert 0 is 2; train it again$/,
    ],
    [
      { dense: { dense: anyModel("d", { ...MODEL, hidden: 16 }) } },
      /Cannot use dense as it must have the shape of expert 0: hidden is 16, that of expert 0 is 12; train it again$/,
    ],
    [{ resamples: 0 }, /resamples must be an integer >= 1: resamples is 0$/],
  ];
  for (const [options, message] of refusals) {
    assertMatch((await assertRejects(() => evaluateRows(rows, options), Error)).message, message);
  }
});

Deno.test("evaluate() refuses scores of more or fewer sequences than were routed", async () => {
  const rows = anyRows(8);
  for (const others of [7, 9]) {
    let passes = 0; // the first one routes, the second is that of expert 0
    const open = () => streamRows(passes++ === 2 ? anyRows(others) : rows, 100);
    const rule = "every pass must read the same sequences: expert 1 gets more or fewer of them";
    await assertRejects(() => evaluateRows(rows, { open }), InputError, rule);
  }
});

Deno.test("evaluate() refuses a model whose NLL is no number", async () => {
  const broken: ModelLoader = async () => {
    const model = await anyModel("b")();
    model.weights.get("gpt_neox.embed_in.weight")!.fill(NaN);
    return model;
  };
  const rows = anyRows(8);
  const experts = [anyModel("a"), broken, anyModel("c")];
  const fact = `of document ${rows.document![0]} under expert 1 is NaN`;
  await assertRejects(() => evaluateRows(rows, { experts }), InputError, fact);
});

Deno.test("evaluateRun() of the experts that are trained says what an evaluation of all says of their segments", () =>
  withPartition(async (run) => {
    const flags = {
      expertHidden: 8,
      expertLayers: 1,
      expertHeads: 2,
      expertBatch: 4,
      expertSteps: 4,
    };
    const options = { run, sources: { flags }, gpu };
    await trainExpert(0, options);
    await trainDense("batch", options);
    const error = await assertRejects(() => evaluateRun({ run, gpu }), InputError);
    assertStringIncludes(error.message, "expert 1 is not");
    assertStringIncludes(error.message, "or evaluate those that are, with trained");
    const some = await evaluateRun({ run, gpu, resamples: 3, trained: true });
    assertEquals(some.trained, [0]);
    const { document, tokens } = await readDocumentScores(`${run}/evaluation.arrow`);
    assertEquals([document.length, tokens.reduce((a, b) => a + b)], [some.documents, some.tokens]);
    assertEquals(
      (await readStatus(run)).stages.find(({ stage }) => stage === "evaluate")!.state,
      "up to date",
    );

    const scored = await evaluateModels({ index: 1, of: 1 }, { run, gpu });
    assertEquals(scored, { own: ["expert-00", "dense"], evaluated: 2, models: 2 });
    assertEquals(await evaluateRun({ run, gpu, resamples: 3, trained: true, force: true }), some);

    await trainExpert(1, options);
    assertEquals(
      (await readStatus(run)).stages.find(({ stage }) => stage === "evaluate")!.state,
      "out of date",
    );
    const all = await evaluateRun({ run, gpu, resamples: 3, trained: true });
    assertEquals(all.trained, undefined);
    const [own] = all.segments;
    assertEquals([some.sequences, some.tokens], [own.sequences, own.tokens]);
    const { mixture, dense, random, oracle } = some.scores;
    assertEquals([mixture!.perplexity, dense!.perplexity], [
      own.perplexity.mixture,
      own.perplexity.dense,
    ]);
    assertEquals([random!.perplexity, oracle!.perplexity], [
      own.perplexity.mixture,
      own.perplexity.mixture,
    ]);
    assertEquals(some.segments.map(({ sequences }) => sequences), [own.sequences, 0]);
    assertEquals(
      new Set(some.prefixes.map(({ perplexity }) => perplexity)),
      new Set([mixture!.perplexity]),
    );
  }, { holdout: 0.4 }));

Deno.test("measureReliability() puts every sequence into one bin, equal margins into the same, however many there are", () => {
  for (const [count, values] of [[1, 1], [3, 9], [9, 2], [95, 4], [1000, 1000], [50, 1]]) {
    const choices = Array.from(
      randomIntegers(count, values, `margins ${count}`),
      (margin, i) => ({ margin, loss: i % 3 }),
    );
    const { bins, right } = measureReliability(choices);
    assert(bins.length <= Math.min(10, count), `${bins.length} bins`);
    for (const { from, to, sequences, right } of bins) {
      const own = choices.filter(({ margin }) => margin >= from && margin <= to);
      assertEquals([own.length, own.filter(({ loss }) => loss === 0).length], [
        sequences,
        Math.round(right * sequences),
      ]);
    }
    assertEquals(bins.reduce((sum, { sequences }) => sum + sequences, 0), count);
    assertEquals(Math.round(right * count), choices.filter(({ loss }) => loss === 0).length);
  }
});
