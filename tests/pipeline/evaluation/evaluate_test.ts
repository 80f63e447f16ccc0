import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import type { Gpu } from "../../../kernels/device/gpu.ts";
import type { Columns } from "../../../pipeline/rows/arrow.ts";
import { fromBatch } from "../../../pipeline/rows/arrow.ts";
import { sliceColumns } from "../../../pipeline/rows/columns.ts";
import { InputError, type Text, wordText } from "../../../kernels/errors.ts";
import type { Evaluation } from "../../../pipeline/evaluation/evaluation.ts";
import { routingPrefixes } from "../../../pipeline/evaluation/routes.ts";
import type { Weights } from "../../../pipeline/model/parameters.ts";
import { assignArgmax } from "../../../pipeline/partition/assignment/argmax.ts";
import { partitionerOf } from "../../../pipeline/partition/em/partitioner.ts";
import { score } from "../../../pipeline/partition/score.ts";
import { assertClose, gpu } from "../../kernels/support.ts";
import { sequenceNll } from "../model/reference.ts";
import { anyWeights } from "../model/support.ts";
import {
  anyModel,
  anyRouters,
  anyRows,
  batchesOf,
  drawnDocuments,
  E,
  evaluateRows,
  EXPERTS,
  M,
  MODEL,
  type ModelLoader,
  type Options,
  RESAMPLES,
  ROUTER,
  SEED,
  sequencesOf,
} from "./support.ts";

/** NLLs `[models][rows]` by the f64 model, one sequence at a time. */
function referenceNlls(config: typeof MODEL, models: Weights[], sequences: number[][]): number[][] {
  return models.map((weights) =>
    sequences.map((tokens) => tokens.length > 1 ? sequenceNll(config, weights, tokens) : 0)
  );
}

function argmin(values: number[]): number {
  return values.indexOf(Math.min(...values));
}

/** Per layer 12·H² in matrices and 13·H in biases and LayerNorms; the embedding; a last LayerNorm. */
function weightsOf({ vocabulary, hidden, layers }: typeof MODEL): number {
  return layers * (12 * hidden ** 2 + 13 * hidden) + vocabulary * hidden + 2 * hidden;
}

/** The same evaluation in plain words, in f64. */
function evaluationReference(rows: Columns, prefixes: number[]): Evaluation {
  const sequences = sequencesOf(rows);
  const experts = referenceNlls(MODEL, EXPERTS.map((name) => anyWeights(MODEL, name)), sequences);
  const [dense, denseSteps] = referenceNlls(
    MODEL,
    ["dense", "dense-steps"].map((name) => anyWeights(MODEL, name)),
    sequences,
  );
  const costsBy = prefixes.map((prefix) => {
    const prefixes = sequences.map((tokens) => tokens.slice(0, prefix));
    const nlls = referenceNlls(ROUTER, anyRouters(E).models, prefixes);
    return sequences.map((_, row) => nlls.map((of) => of[row]));
  });
  const routesBy = costsBy.map((costs) => costs.map(argmin));
  const own = routesBy[prefixes.indexOf(M)];
  const mixtures = routesBy.map((routes) => routes.map((expert, row) => experts[expert][row]));
  const ways = {
    mixture: mixtures[prefixes.indexOf(M)],
    random: sequences.map((_, row) => experts.reduce((sum, nll) => sum + nll[row], 0) / E),
    oracle: sequences.map((_, row) => Math.min(...experts.map((nll) => nll[row]))),
    dense,
    "dense-steps": denseSteps,
  };
  const all = sequences.map((_, row) => row);
  const documents = [...new Set(rows.document!)];
  const rowsOf = documents.map((id) => all.filter((row) => rows.document![row] === id));
  const draws = Array.from(
    { length: RESAMPLES },
    (_, draw) => drawnDocuments(documents.length, draw, SEED).flatMap((document) => rowsOf[document]),
  );
  const tokensOf = (of: number[]) => of.reduce((sum, row) => sum + sequences[row].length - 1, 0);
  const perplexity = (nll: number[], of: number[]) =>
    Math.exp(of.reduce((sum, row) => sum + nll[row], 0) / tokensOf(of));
  const interval = (values: number[]) => {
    const sorted = values.toSorted((a, b) => a - b);
    const at = (place: number) => {
      const floor = Math.floor(place);
      return sorted[floor] + (place - floor) * ((sorted[floor + 1] ?? 0) - sorted[floor]);
    };
    return { low: at(0.025 * (RESAMPLES - 1)), high: at(0.975 * (RESAMPLES - 1)) };
  };
  const perplexities = (of: number[]) =>
    Object.fromEntries(Object.entries(ways).map(([name, nll]) => [name, perplexity(nll, of)]));
  const gainsOf = (mixture: number[]) =>
    (["dense", "dense-steps"] as const).map((baseline) => {
      const gain = (of: number[]) => 100 * (1 - perplexity(mixture, of) / perplexity(ways[baseline], of));
      return { baseline, percent: gain(all), ...interval(draws.map(gain)) };
    });
  return {
    format: 3,
    prefix: M,
    experts: E,
    documents: documents.length,
    sequences: rows.rows,
    tokens: tokensOf(all),
    resamples: RESAMPLES,
    seed: SEED,
    scores: Object.fromEntries(
      Object.entries(ways).map(([name, nll]) => [name, {
        nllPerToken: Math.log(perplexity(nll, all)),
        perplexity: perplexity(nll, all),
        ...interval(draws.map((of) => perplexity(nll, of))),
      }]),
    ),
    gains: gainsOf(ways.mixture),
    sources: ["", "code", "sea"].map((source) => {
      const of = all.filter((row) => rows.source![row] === source);
      return {
        source,
        documents: new Set(of.map((row) => rows.document![row])).size,
        sequences: of.length,
        tokens: tokensOf(of),
        perplexity: perplexities(of),
        shares: [0, 1, 2].map((expert) => of.filter((row) => own[row] === expert).length / of.length),
      };
    }),
    segments: [0, 1, 2].map((expert) => {
      const of = all.filter((row) => own[row] === expert);
      const { mixture, dense, "dense-steps": steps } = perplexities(of);
      return {
        expert,
        sequences: of.length,
        share: of.length / rows.rows,
        tokens: tokensOf(of),
        perplexity: { mixture, dense, "dense-steps": steps },
      };
    }),
    prefixes: prefixes.map((prefix, k) => ({
      prefix,
      perplexity: perplexity(mixtures[k], all),
      ...interval(draws.map((of) => perplexity(mixtures[k], of))),
      gains: gainsOf(mixtures[k]),
      agreement: own.filter((expert, row) => expert === routesBy[k][row]).length / rows.rows,
    })),
    reliability: reliability(
      all.map((row) => {
        const [first, second] = costsBy[prefixes.indexOf(M)][row].toSorted((a, b) => a - b);
        return { margin: second - first, loss: ways.mixture[row] - ways.oracle[row] };
      }),
    ),
    models: {
      config: MODEL,
      parameters: weightsOf(MODEL),
      router: ROUTER,
      routerParameters: weightsOf(ROUTER),
    },
  };
}

/** Counts right choices in bins of a tenth of the sequences each, whose margins differ in the tests. */
function reliability(choices: { margin: number; loss: number }[]): Evaluation["reliability"] {
  const sorted = choices.toSorted((a, b) => a.margin - b.margin);
  const told = (some: typeof choices) => {
    const losses = some.map(({ loss }) => loss).filter((loss) => loss > 0);
    const loss = losses.length === 0 ? null : losses.reduce((a, b) => a + b) / losses.length;
    return { sequences: some.length, right: 1 - losses.length / some.length, loss };
  };
  const bins = Array.from({ length: 10 }, (_, bin) => {
    const some = sorted.slice(bin * sorted.length / 10, (bin + 1) * sorted.length / 10);
    return { from: some[0].margin, to: some.at(-1)!.margin, ...told(some) };
  });
  return { ...told(sorted), bins };
}

/** Compares two values of any shape, numbers with a tolerance. */
function assertAlike(actual: unknown, expected: unknown, what = "evaluation"): void {
  if (typeof expected === "number") {
    return assertClose([actual as number], [expected], { atol: 2e-5, rtol: 2e-5 }, what);
  }
  if (typeof expected !== "object" || expected === null) return assertEquals(actual, expected, what);
  assertEquals(Object.keys(actual as object).sort(), Object.keys(expected).sort(), what);
  for (const [name, value] of Object.entries(expected)) {
    assertAlike((actual as Record<string, unknown>)[name], value, `${what}.${name}`);
  }
}

Deno.test("evaluate() gives what an f64 model, sequence by sequence, and drawing documents one by one give", async () => {
  const rows = anyRows(30);
  const expected = evaluationReference(rows, [4, 6, 8, 12]);
  assert(expected.segments.every(({ sequences }) => sequences > 1), "the routers of this test must differ");
  assert(expected.prefixes[0].agreement < 0.9, "short prefixes must route otherwise in this test");
  assertAlike(await evaluateRows(rows), expected);
});

Deno.test("evaluate() gives the same result to the bit, for any batches in and any batch on the device", async () => {
  const rows = anyRows(1100, 40);
  const expected = await evaluateRows(rows, {}, 1100);
  assertEquals(await evaluateRows(rows, {}, 64), expected);
  assertEquals(await evaluateRows(rows, { batch: 100 }, 1100), expected);
});

Deno.test("evaluate() routes by M as score() and assignArgmax() do, to the bit", async () => {
  const rows = anyRows(200, 200);
  for (const prefix of [5, 12]) {
    const partitioner = partitionerOf(anyRouters(E), () => Promise.resolve(gpu));
    const scored = await Array.fromAsync(score(batchesOf(rows, 200), { partitioner, prefix }));
    partitioner.close();
    const experts = assignArgmax(fromBatch(scored[0]).nll!, E);
    const { segments, prefixes } = await evaluateRows(rows, { prefix });
    assertEquals(
      segments.map(({ sequences }) => sequences),
      [0, 1, 2].map((expert) => experts.filter((of) => of === expert).length),
    );
    assertEquals(prefixes.find((of) => of.prefix === prefix)!.agreement, 1);
  }
});

Deno.test("evaluate() gives no better mixture than the best expert in hindsight, in all, by source and by prefix", async () => {
  const { scores: { mixture, random, oracle }, sources, prefixes } = await evaluateRows(anyRows(60));
  assert(oracle!.perplexity < mixture!.perplexity && oracle!.perplexity < random!.perplexity);
  for (const { perplexity } of sources) assert(perplexity.oracle! <= perplexity.mixture!);
  for (const { perplexity } of prefixes) assert(oracle!.perplexity <= perplexity);
});

Deno.test("evaluate() reads each model once, when the device holds no other, and each stream to its end", async () => {
  let open = 0;
  const events: string[] = [];
  const counted: Gpu = {
    ...gpu,
    arena: () => {
      const arena = gpu.arena();
      open++;
      return {
        ...arena,
        destroy: () => {
          open--;
          arena.destroy();
        },
      };
    },
  };
  const load = (name: string): ModelLoader => async () => {
    assertEquals(open, 0, `models on the device when ${name} is read`);
    events.push(name);
    return await anyModel(name)();
  };
  const rows = anyRows(20);
  let streams = 0;
  await evaluateRows(rows, {
    gpu: counted,
    experts: EXPERTS.map(load),
    dense: { dense: load("dense"), "dense-steps": load("dense-steps") },
    open: () => {
      assertEquals(streams++, 0, "streams open");
      const source = batchesOf(rows);
      return ReadableStream.from(async function* () {
        yield* source;
        streams--;
        events.push("end");
      }());
    },
  });
  assertEquals(events.join(" "), "end a end b end c end dense end dense-steps end");
  assertEquals([open, streams], [0, 0]);
});

Deno.test("evaluate() frees the device where a model cannot be read or the work is ended", async () => {
  let open = 0;
  const counted: Gpu = {
    ...gpu,
    arena: () => {
      const arena = gpu.arena();
      open++;
      return { ...arena, destroy: () => (open--, arena.destroy()) };
    },
  };
  const broken: ModelLoader = () => Promise.reject(new SyntaxError("truncated"));
  await assertRejects(
    () => evaluateRows(anyRows(9), { gpu: counted, experts: [anyModel("a"), broken, anyModel("c")] }),
    SyntaxError,
    "truncated",
  );
  assertEquals(open, 0);
  const ending = new AbortController();
  const seen: number[] = [];
  const onProgress = (done: number) => {
    seen.push(done);
    if (done > 9) ending.abort(new Error("enough"));
  };
  await assertRejects(
    () => evaluateRows(anyRows(9), { gpu: counted, onProgress, signal: ending.signal }),
    Error,
    "enough",
  );
  assertEquals([open, seen], [0, [9, 18]]);
});

Deno.test("evaluate() does without baselines", async () => {
  const rows = anyRows(12);
  const { gains, scores, sources, segments } = await evaluateRows(rows, { dense: {} });
  const full = await evaluateRows(rows);
  assertEquals(gains, []);
  assertEquals(Object.keys(scores), ["mixture", "random", "oracle"]);
  assertEquals(scores.mixture, full.scores.mixture);
  assertEquals(sources[0].perplexity.dense, undefined);
  assertEquals(Object.keys(segments[0].perplexity), ["mixture"]);
});

Deno.test("evaluate() of one document gives intervals without width", async () => {
  const { documents, scores, gains } = await evaluateRows(anyRows(12, 1));
  assertEquals(documents, 1);
  for (const { perplexity, low, high } of Object.values(scores)) {
    assertClose([low, high], [perplexity, perplexity], { atol: 0, rtol: 1e-12 });
  }
  for (const { percent, low, high } of gains) {
    assertClose([low, high], [percent, percent], { atol: 1e-9, rtol: 0 });
  }
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
});

Deno.test("routingPrefixes() are 4, 8, 16, … and S, and M", () => {
  assertEquals(routingPrefixes(64, 256), [4, 8, 16, 32, 64, 128, 256]);
  assertEquals(routingPrefixes(48, 100), [4, 8, 16, 32, 48, 64, 100]);
  assertEquals(routingPrefixes(2, 4), [2, 4]);
  assertEquals(routingPrefixes(3, 3), [3]);
});

Deno.test("evaluate() takes sequences too short for any prefix but S", async () => {
  const rows = anyRows(6);
  const short = { ...rows, tokens: rows.tokens!.slice(0, 18), length: rows.length.fill(3) };
  const open = () => batchesOf(short, 6, { format: 1, stage: "", sequenceLength: 3 });
  assertEquals((await evaluateRows(short, { open, prefix: 3 })).prefixes.map(({ prefix }) => prefix), [3]);
});

Deno.test("evaluate() refuses what does not fit together, with both values", async () => {
  const rows = anyRows(8);
  const refusals: [Options, RegExp][] = [
    [{ open: () => batchesOf(anyRows(0)) }, /there must be held-out sequences: there are none$/],
    [{ prefix: 13 }, /at most the sequence length: it is 13, the sequences have 12 tokens$/],
    [{ prefix: 0 }, /prefix must be an integer >= 1: prefix is 0$/],
    [
      { experts: [anyModel("a"), anyModel("b", { ...MODEL, layers: 1 }), anyModel("c")] },
      /Cannot use expert 1 as it must have the shape of expert 0: layers is 1, that of expert 0 is 2; train it again$/,
    ],
    [
      { dense: { dense: anyModel("d", { ...MODEL, hidden: 16 }) } },
      /Cannot use dense as it must have the shape of expert 0: hidden is 16, that of expert 0 is 12; train it again$/,
    ],
    [
      { experts: [anyModel("a"), anyModel("b"), anyModel("c", MODEL, { tokenizer: "ef56" })] },
      /Cannot use expert 2 as it must have the tokenizer of the run: it is ef56, that of the run is ab12; copy /,
    ],
    [
      { routers: anyRouters(E, { tokenizer: "ef56" }) },
      /tokenizer is ab12 in the former, ef56 in the latter; make /,
    ],
    [{ resamples: 0 }, /resamples must be an integer >= 1: resamples is 0$/],
  ];
  for (const [options, message] of refusals) {
    assertMatch((await assertRejects(() => evaluateRows(rows, options), Error)).message, message);
  }
});

Deno.test("evaluate() refuses a model whose NLL is no number, and names it", async () => {
  const broken: ModelLoader = async () => {
    const model = await anyModel("b")();
    model.weights.get("gpt_neox.embed_in.weight")!.fill(NaN);
    return model;
  };
  const rows = anyRows(8);
  const experts = [anyModel("a"), broken, anyModel("c")];
  const { message } = await assertRejects(() => evaluateRows(rows, { experts }), InputError);
  assertMatch(
    message,
    new RegExp(`of document ${rows.document![0]} under expert 1 is NaN; train expert 1 again`),
  );
});

Deno.test("evaluate() refuses streams that differ from pass to pass", async () => {
  const rows = anyRows(8);
  for (const others of [7, 0, 9]) {
    let passes = 0;
    const open = () => batchesOf(passes++ === 2 ? anyRows(others) : rows, 100);
    const { message } = await assertRejects(() => evaluateRows(rows, { open }), InputError);
    assertMatch(
      message,
      /every pass must read the same sequences: expert 1 gets more or fewer of them than the partitioner$/,
    );
  }
});

Deno.test("evaluate() warns where documents are too few for intervals, and computes the same", async () => {
  const warnings: string[] = [];
  const onWarning = (message: Text) => void warnings.push(wordText(message));
  const rows = anyRows(20, 3);
  assertEquals(await evaluateRows(rows, { onWarning }), await evaluateRows(rows));
  const narrow = "3 documents are too few for intervals of 95%: these are narrower than they should be";
  assertEquals(warnings, [`${narrow}; more are held out with a larger holdout`]);
  await evaluateRows(anyRows(60, 30), { onWarning });
  assertEquals(warnings.length, 1);
});
