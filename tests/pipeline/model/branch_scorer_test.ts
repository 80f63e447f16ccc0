import { assert, assertEquals, assertRejects } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { type Gpu, openGpu } from "../../../kernels/device/gpu.ts";
import { VARIANTS } from "../../../kernels/device/variants.ts";
import { type BranchScorer, createBranchScorer } from "../../../pipeline/model/branch_scorer.ts";
import { createScorer } from "../../../pipeline/model/scorer.ts";
import type { ModelConfig } from "../../../pipeline/model/shape.ts";
import { assertClose, assertSameBits, gpu, randomIntegers } from "../../kernels/support.ts";
import { logitsReference } from "./reference.ts";
import { anyWeights, endingInFirstPass } from "./support.ts";

type Branching = Parameters<BranchScorer["score"]>[0][number];

const CONFIGS: ModelConfig[] = [
  // Heads of 6, one block of attention.
  { vocabulary: 33, hidden: 12, layers: 2, heads: 2, context: 20 },
  { vocabulary: 130, hidden: 16, layers: 1, heads: 4, context: 150 }, // three blocks of 64
  {
    vocabulary: 33,
    hidden: 12,
    layers: 2,
    heads: 2,
    context: 20,
    sublayers: ["attention", "switch"], // every token that predicts goes to one of three
    switch: { experts: 3, capacity: 1, balance: 0.01 },
  },
];

/** Texts of many lengths, some as long as fits, with one to four continuations. */
function anyTexts({ vocabulary, context: longest }: ModelConfig, count: number): Branching[] {
  const numbers = randomIntegers(count * 8, 1 << 20, `sizes ${longest}`);
  const draw = (i: number, most: number) => 1 + numbers[i] % most;
  return Array.from({ length: count }, (_, i) => {
    const before = i % 5 === 0 ? longest : draw(8 * i, longest);
    return {
      context: randomIntegers(before, vocabulary, `text ${i}`),
      continuations: Array.from({ length: draw(8 * i + 1, 4) }, (_, j) => {
        const own = i % 5 === 1 ? longest + 1 - before : draw(8 * i + 2 + j, longest + 1 - before);
        return randomIntegers(own, vocabulary, `continuation ${i} ${j}`);
      }),
    };
  });
}

/**
 * Scores every text with every continuation as a sequence of its own, as an ordinary scorer does.
 * Gives also what an f64 model says of the likeliest token in each place: its id, its
 * log-probability, and how far ahead of the next it is.
 */
async function oneByOne(on: Gpu, config: ModelConfig, texts: readonly Branching[]) {
  const length = config.context + 1;
  const all = texts.flatMap(({ context, continuations }) =>
    continuations.map((own) => ({ tokens: [...context, ...own], begin: context.length }))
  );
  const tokens = new Uint32Array(all.length * length);
  all.forEach((one, row) => tokens.set(one.tokens, row * length));
  const weights = anyWeights(config, "model");
  const scorer = createScorer(on, { config, models: [weights], batch: 7, length });
  const { starts, logProbability } = await scorer.scoreTokens(
    tokens,
    length,
    all.map(({ tokens, begin }) => ({ begin, end: tokens.length })),
  );
  scorer.close();
  return all.map(({ tokens, begin }, row) => ({
    tokens: tokens.slice(begin),
    logProbability: logProbability.slice(starts[row], starts[row + 1]),
    best: logitsReference(config, weights, tokens.slice(0, -1)).slice(begin - 1).map((logits) => {
      const level = Math.log(logits.reduce((total, logit) => total + Math.exp(logit), 0));
      const [first, second] = logits.map((_, id) => id).sort((a, b) => logits[b] - logits[a]);
      return { id: first, highest: logits[first] - level, lead: logits[first] - logits[second] };
    }),
  }));
}

async function scored(on: Gpu, config: ModelConfig, texts: readonly Branching[], batch: number) {
  const scorer = createBranchScorer(on, { config, weights: anyWeights(config, "model"), batch });
  const scores = await scorer.score(texts);
  const { rows } = scorer;
  scorer.close();
  assertEquals(scorer.bytes, 0);
  return { scores, rows };
}

const devices: [what: string, on: Gpu][] = [["", gpu]];
if (gpu.kind !== "gpu") {
  devices.push([" with the kernels for GPUs", await openGpu({ variants: VARIANTS.gpu })]);
}

for (const [what, on] of devices) {
  Deno.test(`createBranchScorer() gives the bits of a scorer that reads every text anew, in any company${what}`, async () => {
    for (const config of CONFIGS) {
      const texts = anyTexts(config, 11);
      const expected = await oneByOne(on, config, texts);
      for (const batch of [2, 9]) {
        const { scores } = await scored(on, config, texts, batch);
        assertEquals(
          scores.map(({ length }) => length),
          texts.map(({ continuations }) => continuations.length),
        );
        scores.flat().forEach(({ logProbability, likeliest, highest, greedy }, i) => {
          assertSameBits(logProbability, expected[i].logProbability, `continuation ${i}`);
          const { tokens, best } = expected[i];
          best.forEach(({ id, highest: value, lead }, place) => {
            assertClose(
              [highest[place]],
              [value],
              { atol: 1e-3, rtol: 1e-3 },
              `the likeliest of ${i}`,
            );
            if (lead > 1e-2) {
              assertEquals(likeliest[place], id, `token ${place} of continuation ${i}`);
            }
            if (likeliest[place] === tokens[place]) {
              assertEquals(highest[place], logProbability[place]);
            }
          });
          assertEquals(greedy, tokens.every((token, place) => token === likeliest[place]));
        });
      }
    }
  });
}

Deno.test("createBranchScorer() computes a text's tokens once for all its continuations", async () => {
  const config = { ...CONFIGS[1], context: 600 };
  const context = randomIntegers(500, config.vocabulary, "long");
  const continuations = Array.from(
    { length: 4 },
    (_, i) => randomIntegers(3, config.vocabulary, `end ${i}`),
  );
  const { rows } = await scored(gpu, config, [{ context, continuations }], 8);
  assertEquals(rows, 512); // 499 shared, 4 · 3 that predict, filled up to a multiple of 256
});

Deno.test("createBranchScorer() refuses what is empty, too long or no token, and scores nothing of it", async () => {
  const [config] = CONFIGS;
  const ids = (length: number, id = 1) => new Uint32Array(length).fill(id);
  const cases: [Branching, string][] = [
    [{ context: ids(0), continuations: [ids(2)] }, "they have 2 and 0"],
    [{ context: ids(2), continuations: [ids(1), ids(0)] }, "they have 0 and 2"],
    [{ context: ids(11), continuations: [ids(11)] }, "at most 21 together: they have 11 and 11"],
    [{ context: ids(2, 33), continuations: [ids(1)] }, "below the vocabulary's 33 ids: one is 33"],
    [{ context: ids(2), continuations: [ids(1, 40)] }, "one is 40"],
  ];
  const scorer = createBranchScorer(gpu, {
    config,
    weights: anyWeights(config, "model"),
    batch: 1,
  });
  for (const [text, message] of cases) {
    await assertRejects(() => scorer.score([text]), InputError, message);
  }
  assertEquals([await scorer.score([]), scorer.rows], [[], 0]);
  scorer.close();
});

Deno.test("createBranchScorer() keeps the plans that were used last, and plans anew what it no longer keeps", async () => {
  const config: ModelConfig = { vocabulary: 33, hidden: 4, layers: 1, heads: 1, context: 512 };
  const scorer = createBranchScorer(gpu, {
    config,
    weights: anyWeights(config, "model"),
    batch: 8,
  });
  const one = (length: number, name: string): Branching => ({
    context: randomIntegers(length - 1, config.vocabulary, name),
    continuations: [randomIntegers(1, config.vocabulary, `${name} goes on`)],
  });
  const first = [one(64, "first")];
  const before = await scorer.score(first);
  assertEquals(scorer.plans, 1);
  await scorer.score(first);
  assertEquals(scorer.plans, 1);
  for (let length = 320; length <= 512; length += 64) {
    for (let count = 1; count <= 8; count++) {
      await scorer.score(Array.from({ length: count }, (_, i) => one(length, `${length} ${i}`)));
      assert(scorer.plans <= 32, `${scorer.plans}`);
    }
  }
  await scorer.score([one(128, "another")]);
  assertEquals(scorer.plans, 32);
  assertEquals(await scorer.score(first), before);
  scorer.close();
});

Deno.test("createBranchScorer() leaves off between two passes where the signal says so", async () => {
  const config: ModelConfig = { vocabulary: 33, hidden: 4, layers: 1, heads: 1, context: 64 };
  const { device, counted, signal } = endingInFirstPass();
  const scorer = createBranchScorer(device, {
    config,
    weights: anyWeights(config, "model"),
    batch: 1,
  });
  const texts = Array.from({ length: 3 }, (_, i): Branching => ({
    context: randomIntegers(63, config.vocabulary, `text ${i}`),
    continuations: [Uint32Array.of(1)],
  }));
  await assertRejects(() => scorer.score(texts, signal), Error, "enough");
  assertEquals(counted.submits, 2);
  scorer.close();
});
