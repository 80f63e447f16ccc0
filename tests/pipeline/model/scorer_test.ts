import { assert, assertEquals, assertRejects } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { modelsPerBank, type Weights } from "../../../pipeline/model/parameters.ts";
import type { ModelConfig } from "../../../pipeline/model/shape.ts";
import {
  createScorer,
  type ScorerOptions,
  type TokenScores,
} from "../../../pipeline/model/scorer.ts";
import { prefixSpan, type Span, wholeSpan } from "../../../pipeline/model/span.ts";
import {
  assertClose,
  assertSameBits,
  gpu,
  randomIntegers,
  runnableVariants,
} from "../../kernels/support.ts";
import { logitsReference, sequenceNll } from "./reference.ts";
import { withoutRoom } from "../../kernels/device/support.ts";
import { anyWeights, endingInFirstPass } from "./support.ts";

const CONFIG: ModelConfig = { vocabulary: 13, hidden: 12, layers: 2, heads: 2, context: 16 };
const MODELS = [0, 1, 2].map((i) => anyWeights(CONFIG, i));
const STRIDE = 12;
const KERNEL_VARIANTS = await runnableVariants("rows");

/** Random sequences `[rows, 12]` of 0 to 12 tokens. */
function sequences(rows: number) {
  return {
    tokens: randomIntegers(rows * STRIDE, CONFIG.vocabulary, "tokens"),
    lengths: randomIntegers(rows, STRIDE + 1, "lengths"),
  };
}

const TWO_PER_BANK = 36_000; // a model's weights take 16 kB

/** Makes a scorer of the models. */
const scorerOf = (options: Partial<ScorerOptions> = {}, on = gpu) =>
  createScorer(on, { config: CONFIG, models: MODELS, batch: 4, length: STRIDE, ...options });

/** Scores in one call, with a scorer of its own. */
async function score(
  { tokens, lengths }: { tokens: Uint32Array | Uint16Array; lengths: Uint32Array },
  {
    batch = 4,
    length = STRIDE,
    models = MODELS,
    on = gpu,
    prefixes = undefined as number[] | undefined,
  } = {},
): Promise<Float32Array> {
  const scorer = scorerOf({ models, batch, length, prefixes }, on);
  const nll = await scorer.score(tokens, STRIDE, lengths);
  scorer.close();
  return nll;
}

/** The NLL of the first tokens of a row, at most `prefix`, in f64. */
function expectedOf(
  { tokens, lengths }: ReturnType<typeof sequences>,
  row: number,
  prefix: number,
  weights: Weights,
  config = CONFIG,
): number {
  const real = Math.min(prefix, lengths[row]);
  const text = [...tokens.subarray(row * STRIDE, row * STRIDE + real)];
  return real > 1 ? sequenceNll(config, weights, text) : 0;
}

Deno.test("createScorer() gives the NLL of an independent f64 model, summed over the prefix or the shorter sequence, for several prefixes at once", async () => {
  const rows = sequences(7);
  rows.lengths[3] = STRIDE;
  const lengths = [1, 2, 5, STRIDE, STRIDE + 4].map((length) => ({
    length,
    prefixes: undefined,
    ends: [length],
  }));
  const all = [1, 2, 3, 8, 11, STRIDE];
  for (
    const { length, prefixes, ends } of [...lengths, { length: STRIDE, prefixes: all, ends: all }]
  ) {
    const nll = await score(rows, { length, prefixes });
    const expected = [...rows.lengths.keys()].flatMap((row) =>
      ends.flatMap((prefix) => MODELS.map((weights) => expectedOf(rows, row, prefix, weights)))
    );
    assertClose(nll, expected, { atol: 2e-5, rtol: 2e-5 }, `NLL of prefixes ${ends}`);
  }
});

Deno.test("createScorer() takes a model whose output head is a matrix of its own, as an independent f64 model does", async () => {
  const config = { ...CONFIG, untied: true } as const;
  const models = [3, 4].map((i) => anyWeights(config, i));
  const rows = sequences(5);
  const scorer = createScorer(gpu, { config, models, batch: 2, length: STRIDE });
  const nll = await scorer.score(rows.tokens, STRIDE, rows.lengths);
  scorer.close();
  const of = (own: ModelConfig) =>
    [...rows.lengths.keys()].flatMap((row) =>
      models.map((weights) => expectedOf(rows, row, STRIDE, weights, own))
    );
  assertClose(nll, of(config), { atol: 2e-5, rtol: 2e-5 }, "NLL");
  of(CONFIG).forEach((tied, i) =>
    assert(rows.lengths[i >> 1] < 2 || Math.abs(tied - nll[i]) > 1e-3)
  );
});

for (const { variant, on } of KERNEL_VARIANTS) {
  Deno.test(`createScorer() gives a prefix the same bits in any company, batch and bank, and those of the sum where it is the length, rows=${variant}`, async () => {
    const rows = sequences(9);
    const prefixes = [2, 5, 7, STRIDE];
    const expected = await score(rows, { prefixes, batch: 1, on });
    const at = (k: number) =>
      expected.filter((_, place) => Math.floor(place / 3) % prefixes.length === k);
    assertSameBits(at(3), await score(rows, { on }), "the whole length");
    assertSameBits(at(1), await score(rows, { prefixes: [5], on }), "a prefix alone");
    assertSameBits(
      at(1),
      await score(rows, { length: 5, on }),
      "a prefix alone, summed on the device",
    );
    assertSameBits(await score(rows, { prefixes, batch: 16, on }), expected, "one batch");
    const tight = { ...on, maxBindingBytes: TWO_PER_BANK };
    assertEquals(modelsPerBank(CONFIG, { models: 3, batch: 4, length: STRIDE }, TWO_PER_BANK), 2);
    assertSameBits(await score(rows, { prefixes, on: tight }), expected, "two models per bank");
  });
}

Deno.test("createScorer() reads neither tokens beyond a sequence's length nor beyond the prefix", async () => {
  const { tokens, lengths } = sequences(6);
  const expected = await score({ tokens, lengths }, { length: 8 });
  const garbage = tokens.map((token, i) =>
    i % STRIDE < Math.min(8, lengths[Math.floor(i / STRIDE)]) ? token : 0xffffffff
  );
  assertSameBits(await score({ tokens: garbage, lengths }, { length: 8 }), expected);
  assertSameBits(
    await score({ tokens: Uint16Array.from(tokens), lengths }, { length: 8 }),
    expected,
    "u16 tokens",
  );
});

Deno.test("Scorer.score() may be called again before the first call is done", async () => {
  const [first, second] = [sequences(5), {
    ...sequences(5),
    lengths: new Uint32Array(5).fill(STRIDE),
  }];
  const scorer = scorerOf({ batch: 2 });
  const results = await Promise.all(
    [first, second].map(({ tokens, lengths }) => scorer.score(tokens, STRIDE, lengths)),
  );
  scorer.close();
  assertSameBits(results[0], await score(first));
  assertSameBits(results[1], await score(second));
});

Deno.test("Scorer.score() and scoreTokens() leave off between two passes where the signal says so", async () => {
  const rows = sequences(9000); // more than a GPU scores between two readbacks
  for (const way of ["score", "scoreTokens"] as const) {
    const { device, counted, signal } = endingInFirstPass();
    const scorer = scorerOf({ batch: 600, length: 2 }, device);
    const score = () => scorer[way](rows.tokens, STRIDE, rows.lengths, signal);
    await assertRejects(score, Error, "enough");
    const { submits } = counted;
    // A GPU first runs the passes that it reads back together.
    assert(
      gpu.kind === "software" ? submits === 2 : submits < 2 + 9000 / 600,
      `${submits} submits`,
    );
    await assertRejects(score, Error, "enough");
    assertEquals(counted.submits, submits);
    scorer.close();
  }
});

Deno.test("Scorer.load() replaces the weights of every model, also where a limit splits the bank", async () => {
  const rows = sequences(5);
  const others = [7, 8, 9].map((i) => anyWeights(CONFIG, i));
  const expected = await score(rows, { models: others });
  for (const maxBindingBytes of [gpu.maxBindingBytes, TWO_PER_BANK]) {
    const scorer = scorerOf({}, { ...gpu, maxBindingBytes });
    assertEquals(scorer.models, 3);
    await scorer.score(rows.tokens, STRIDE, rows.lengths);
    scorer.load(others);
    assertSameBits(await scorer.score(rows.tokens, STRIDE, rows.lengths), expected);
    scorer.close();
    assertEquals(scorer.bytes, 0);
  }
});

Deno.test("Scorer.score() refuses a token id that is not below the vocabulary", async () => {
  const { tokens, lengths } = sequences(3);
  lengths.fill(STRIDE);
  tokens[2 * STRIDE + 5] = 13;
  await assertRejects(
    () => score({ tokens, lengths }),
    InputError,
    "position 5 holds 13, the vocabulary is 13",
  );
});

/** Sequences with a span each: all, prefixes, ends, single tokens and nothing. */
function spansOf(lengths: Uint32Array): Span[] {
  return Array.from(lengths, (real, row) => {
    const some = 1 + row % 4;
    const kinds = [
      ...[wholeSpan(real), prefixSpan(real, 2 * some)],
      ...[{ begin: Math.min(some, real), end: real }, { begin: real, end: real }],
    ];
    const single = { begin: Math.min(some, real), end: Math.min(some + 1, real) };
    return [...kinds, single, { begin: 1, end: real }][row % 6 % (real > 0 ? 6 : 5)];
  });
}

/** Scores token by token in one call, with a scorer of its own. */
async function scoreTokens(
  tokens: Uint32Array,
  spans: Span[],
  {
    batch = 4,
    length = STRIDE,
    models = MODELS,
    on = gpu,
    prefixes = undefined as number[] | undefined,
  } = {},
): Promise<TokenScores> {
  const scorer = scorerOf({ models, batch, length, prefixes }, on);
  const scores = await scorer.scoreTokens(tokens, STRIDE, spans);
  scorer.close();
  return scores;
}

/** Takes one row, or one model of it, out of scores of many. */
function rowScores({ nll, starts, logProbability }: TokenScores, row: number, models: number) {
  const [from, to] = [starts[row] * models, starts[row + 1] * models];
  return [nll.slice(row * models, (row + 1) * models), logProbability.slice(from, to)];
}

Deno.test("Scorer.scoreTokens() gives what an independent f64 model says of every token of a span", async () => {
  const { tokens, lengths } = sequences(12);
  lengths.fill(STRIDE, 4, 8);
  const spans = spansOf(lengths);
  const { nll, starts, logProbability } = await scoreTokens(tokens, spans);
  assertEquals([starts[0], logProbability.length], [0, 3 * starts[12]]);
  spans.forEach(({ begin, end }, row) => {
    const first = Math.max(1, begin);
    assertEquals(starts[row + 1] - starts[row], Math.max(0, end - first), `tokens of row ${row}`);
    const text = [...tokens.subarray(row * STRIDE, row * STRIDE + end)];
    MODELS.forEach((weights, model) => {
      const logits = logitsReference(CONFIG, weights, text);
      let sum = 0;
      for (let position = first; position < end; position++) {
        const before = logits[position - 1];
        const level = Math.log(before.reduce((total, logit) => total + Math.exp(logit), 0));
        const actual = logProbability[(starts[row] + position - first) * 3 + model];
        const expected = before[text[position]] - level;
        assertClose(
          [actual],
          [expected],
          { atol: 2e-5, rtol: 2e-5 },
          `row ${row}, position ${position}`,
        );
        sum -= expected;
      }
      assertClose([nll[row * 3 + model]], [sum], { atol: 2e-5, rtol: 2e-5 }, `NLL of row ${row}`);
    });
  });
});

for (const { variant, on } of KERNEL_VARIANTS) {
  Deno.test(`Scorer.score() sums over spans, to the bits of their tokens' sum, and within each prefix, rows=${variant}`, async () => {
    const { tokens, lengths } = sequences(13);
    const spans = spansOf(lengths);
    const expected = (await scoreTokens(tokens, spans, { on })).nll;
    const prefixes = [2, 5, STRIDE];
    const scorer = scorerOf({}, on);
    assertSameBits(await scorer.score(tokens, STRIDE, spans), expected, "in sum");
    const several = scorerOf({ batch: 3, prefixes }, on);
    const nll = await several.score(tokens, STRIDE, spans);
    for (const [k, prefix] of prefixes.entries()) {
      const parts = spans.map(({ begin, end }) => ({
        begin: Math.min(begin, prefix),
        end: Math.min(end, prefix),
      }));
      const column = nll.filter((_, i) => Math.floor(i / 3) % prefixes.length === k);
      assertSameBits(column, await scorer.score(tokens, STRIDE, parts), `prefix ${prefix}`);
    }
    const whole = Array.from(lengths, wholeSpan);
    assertSameBits(
      await scorer.score(tokens, STRIDE, whole),
      await scorer.score(tokens, STRIDE, lengths),
      "whole rows",
    );
    assertSameBits(
      (await several.scoreTokens(tokens, STRIDE, lengths)).nll,
      (await scoreTokens(tokens, whole, { on })).nll,
    );
    scorer.close();
    several.close();
  });
}

Deno.test("Scorer.scoreTokens() gives a row the same bits alone, in any company, and in any bank", async () => {
  const { tokens, lengths } = sequences(12);
  lengths.fill(STRIDE, 4, 8);
  const spans = spansOf(lengths);
  const alone = await Promise.all(
    spans.map((span, row) =>
      scoreTokens(tokens.slice(row * STRIDE, (row + 1) * STRIDE), [span], { batch: 1 })
    ),
  );
  const companies = [
    ...[1, 2, 5, 12, 16].map((batch) => ({ batch })),
    ...[1, 2].map((perBank) => ({ on: { ...gpu, maxBindingBytes: perBank / 2 * TWO_PER_BANK } })),
  ];
  for (const options of companies) {
    const together = await scoreTokens(tokens, spans, options);
    spans.forEach((_, row) => {
      assertEquals(rowScores(together, row, 3), rowScores(alone[row], 0, 3), `row ${row}`);
    });
  }
  for (const [model, weights] of MODELS.entries()) {
    const { starts: _, ...own } = await scoreTokens(tokens, spans, { models: [weights] });
    const { starts: __, ...all } = await scoreTokens(tokens, spans);
    const column = Object.values(all).map((values) => values.filter((_, i) => i % 3 === model));
    assertEquals(Object.values(own), column, `model ${model} alone`);
  }
});

Deno.test("Scorer.score() and scoreTokens() score any number of rows, more than they read back at once among them", async () => {
  const { tokens, lengths } = sequences(5000);
  const spans = spansOf(lengths).map(({ begin, end }) => ({
    begin: Math.min(begin, 3),
    end: Math.min(end, 3),
  }));
  const options = { batch: 600, length: 3, models: [MODELS[0]] };
  const all = await scoreTokens(tokens, spans, options);
  const few = await scoreTokens(tokens.slice(4090 * STRIDE), spans.slice(4090), options);
  for (let row = 0; row < few.nll.length; row++) {
    assertEquals(rowScores(all, 4090 + row, 1), rowScores(few, row, 1), `row ${row}`);
  }
  const scorer = scorerOf(options);
  assertSameBits(await scorer.score(tokens, STRIDE, spans), all.nll);
  scorer.close();
  assertEquals((await score(sequences(0))).length, 0);
  assertEquals((await scoreTokens(tokens, [])).logProbability.length, 0);
});

Deno.test("Scorer.scoreTokens() takes its memory at its first call, once, and leaves score() as it is", async () => {
  const { tokens, lengths } = sequences(5);
  const scorer = scorerOf({ batch: 2 });
  const before = scorer.bytes;
  const nll = await scorer.score(tokens, STRIDE, lengths);
  assertEquals(scorer.bytes, before);
  const first = await scorer.scoreTokens(tokens, STRIDE, lengths);
  const after = scorer.bytes;
  assert(after > before);
  const [second, again] = await Promise.all([
    scorer.scoreTokens(tokens, STRIDE, lengths),
    scorer.score(tokens, STRIDE, lengths),
  ]);
  assertEquals([scorer.bytes, second], [after, first]);
  assertSameBits(again, nll);
  scorer.load([...MODELS].reverse());
  const reversed = await scorer.scoreTokens(tokens, STRIDE, lengths);
  assertEquals(rowScores(reversed, 4, 3)[0], rowScores(first, 4, 3)[0].reverse());
  scorer.close();
  assertEquals(scorer.bytes, 0);
});

Deno.test("Scorer.scoreTokens() keeps nothing of what it has no room for, however often it is asked", async () => {
  const { tokens, lengths } = sequences(5);
  let sums = 0;
  const { device, held } = withoutRoom(gpu, (label) => label === "sequence sums" && ++sums > 1);
  const scorer = scorerOf({ batch: 2 }, device);
  const before = held();
  for (let i = 0; i < 2; i++) {
    const failing = () => scorer.scoreTokens(tokens, STRIDE, lengths);
    await assertRejects(failing, Error, "no room for sequence sums");
    assertEquals([held(), scorer.bytes], [before, before]);
  }
  scorer.close();
  assertEquals(held(), 0);
});
