import { assert, assertEquals, assertRejects } from "@std/assert";
import { InputError } from "../../../../kernels/errors.ts";
import { encodeQuestions } from "../../../../pipeline/evaluation/choices/questions.ts";
import {
  type AskOptions,
  askQuestions,
  scoreChoices,
} from "../../../../pipeline/evaluation/choices/score.ts";
import { type ChoiceWay, topWay } from "../../../../pipeline/evaluation/choices/results.ts";
import {
  type Metric,
  type Question,
  TASKS,
} from "../../../../pipeline/evaluation/choices/tasks.ts";
import { createScorer } from "../../../../pipeline/model/scorer.ts";
import { mixingWeights } from "../../../../pipeline/partition/mixing.ts";
import { gpu } from "../../../kernels/support.ts";
import { anyWeights } from "../../model/support.ts";
import { CHARACTERS, mixtureOf, UNIGRAM, unigram, unigramLikelihood } from "./support.ts";

/** Expert 0 answers x, expert 1 answers y; texts of a go to the first, of b to the second. */
const LOGITS = [{ x: 3, y: 1, " ": 2 }, { x: 0.5, y: 3, " ": 2 }];
const DENSE = { x: 2, y: 1, z: 1.5 };
const ROUTER_LOGITS: Record<string, number>[] = [{ a: 2 }, { b: 2 }];
const ROUTERS = ROUTER_LOGITS.map((logits) => unigram(logits));
const MODELS = { 0: unigram(LOGITS[0]), 1: unigram(LOGITS[1]), dense: unigram(DENSE) };

const question = (context: string, gold: number, choices = ["x", "y"], set = ""): Question => ({
  delimiter: " ",
  context,
  choices,
  gold,
  set,
});
const QUESTIONS = [
  question("aaaa", 0),
  question("aaab", 1),
  question("bbbb", 1),
  question("abbb", 1),
];

async function asked(
  questions: readonly Question[],
  more: Partial<AskOptions> & { task?: AskOptions["task"] } = {},
) {
  const mixture = more.mixture ?? mixtureOf(gpu, ROUTERS, MODELS);
  try {
    return await askQuestions({
      task: TASKS.get("piqa")!,
      prefix: 8,
      resamples: 50,
      baselines: ["dense"],
      prompts: await encodeQuestions(
        CHARACTERS,
        questions,
        (await mixture.describe(0)).config.context,
      ),
      ...more,
      mixture,
      questions,
    });
  } finally {
    mixture.close();
  }
}

const values = (
  { ways }: Awaited<ReturnType<typeof asked>>,
  metric: "acc" | "acc_norm" | "perplexity",
) =>
  Object.fromEntries(
    Object.entries(ways).map(([way, measures]) => [way, measures![metric]!.value]),
  );

Deno.test("askQuestions() gives models with known answers their known accuracy", async () => {
  const result = await asked(QUESTIONS);
  // Expert 0 is asked the first two, and right once; expert 1 the others, and right twice. Dense
  // always says x. The expert that finds the right answer likeliest is always the one that says it.
  assertEquals(values(result, "acc"), { mixture: 0.75, dense: 0.25, oracle: 1, random: 0.5 });
  assertEquals([result.shares, result.chance, result.questions], [[0.5, 0.5], 0.5, 4]);
  assertEquals(
    result.differences.map(({ baseline, metric, value }) => [baseline, metric, value]),
    [["dense", "acc", 0.5], ["dense", "acc_norm", 0.5]],
  );
  assertEquals([result.routing, result.prefix, result.experts, result.cut], ["context", 8, 2, 0]);
});

Deno.test("askQuestions() divides by the characters of a choice, and takes the first of equals", async () => {
  const choices = ["xx", "y"]; // two x cost more than one y, but less per character
  const [one, two] = choices.map((choice) => unigramLikelihood(LOGITS[0], ` ${choice}`));
  assert(one < two && one / 2 > two, `${one} ${two}`);
  const result = await asked([question("aaaa", 0, choices)]);
  assertEquals([result.ways.mixture!.acc!.value, result.ways.mixture!.acc_norm!.value], [0, 1]);
  const equal = await asked([question("aaaa", 0, ["q", "r"]), question("aaaa", 1, ["q", "r"])]);
  assertEquals(values(equal, "acc"), { mixture: 0.5, dense: 0.5, oracle: 0.5, random: 0.5 });
});

Deno.test("askQuestions() counts an answer without choices where greedy decoding writes it, and reports its perplexity", async () => {
  const task = TASKS.get("lambada_openai")!;
  const right = (text: string): Question => ({ ...question(text, 0, ["x"]), delimiter: "" });
  const result = await asked([right("aaaa"), right("bbbb")], { task });
  assertEquals(values(result, "acc"), { mixture: 0.5, dense: 1, oracle: 1, random: 0.5 });
  const [first, second] = LOGITS.map((logits) => unigramLikelihood(logits, "x"));
  const perplexity = values(result, "perplexity");
  const close = (actual: number, expected: number) =>
    assert(Math.abs(actual / expected - 1) < 1e-5);
  close(perplexity.mixture, Math.exp(-(first + second) / 2));
  close(perplexity.random, Math.exp(-(first + second) / 2));
  close(perplexity.oracle, Math.exp(-first));
  close(perplexity.dense, Math.exp(-unigramLikelihood(DENSE, "x")));
  assertEquals(result.chance, null);
});

Deno.test("askQuestions() routes by the context alone, or each choice by context and choice", async () => {
  // Contexts tell nothing: all go to expert 0.
  const routers = [unigram({ x: 4 }), unigram({ y: 4 })];
  const ask = (routing: AskOptions["routing"]) =>
    asked([question("aa", 1)], { mixture: mixtureOf(gpu, routers, MODELS), routing });
  const [context, choice] = [await ask("context"), await ask("choice")];
  assertEquals([context.shares, choice.shares], [[1, 0], [0.5, 0.5]]);
  // x by expert 0 against y by expert 1, which is as likely as LOGITS say.
  const [x, y] = [unigramLikelihood(LOGITS[0], " x"), unigramLikelihood(LOGITS[1], " y")];
  assertEquals([context.ways.mixture!.acc!.value, choice.ways.mixture!.acc!.value], [
    0,
    Number(y > x),
  ]);
  const long = await asked([question("ab".repeat(10), 1)], {
    mixture: mixtureOf(gpu, routers, MODELS),
    routing: "choice",
  });
  assertEquals(long.shares, [1, 0]); // the choice lies beyond the prefix
});

Deno.test("askQuestions() mixes the likeliest experts, as known models say, next to the mixture and dense models", async () => {
  const costs = (text: string) =>
    ROUTER_LOGITS.map((logits) => -unigramLikelihood(logits, text.slice(1)));
  const questions = [
    ...QUESTIONS,
    question("abab", 0, ["x", "yy", "q"]),
    question("ba", 1, ["xy", "z"]),
  ];
  const result = await asked(questions, { mix: [2, 1], routingTemperature: 2 });
  const right = { acc: 0, acc_norm: 0 };
  questions.forEach(({ context, choices, gold }) => {
    const weights = mixingWeights(costs(context), 2, 2);
    const likelihoods = choices.map((choice) => {
      return [...` ${choice}`].reduce((sum, token) => {
        const [a, b] = LOGITS.map((logits) => Math.exp(unigramLikelihood(logits, token)));
        return sum + Math.log(weights[0] * a + weights[1] * b);
      }, 0);
    });
    const best = (values: number[]) => Number(values.indexOf(Math.max(...values)) === gold);
    right.acc += best(likelihoods) / questions.length;
    right.acc_norm += best(likelihoods.map((value, i) => value / choices[i].length)) /
      questions.length;
  });
  const of = (way: ChoiceWay, metric: Metric) => result.ways[way]![metric]!;
  for (const metric of ["acc", "acc_norm"] as const) {
    assert(Math.abs(of("top-2", metric).value - right[metric]) < 1e-9, metric);
    assertEquals(of("top-1", metric), of("mixture", metric));
  }
  assertEquals(result.mixing!.temperature, 2);
  assertEquals(
    result.mixing!.differences.map(({ experts, against, metric }) =>
      `${experts} ${against} ${metric}`
    ),
    [1, 2].flatMap((size) =>
      ["mixture acc", "mixture acc_norm", "dense acc", "dense acc_norm"].map((rest) =>
        `${size} ${rest}`
      )
    ),
  );
  for (const { experts, against, metric, value, low, high } of result.mixing!.differences) {
    assertEquals(value, of(topWay(experts), metric).value - of(against, metric).value);
    assert(low <= value && value <= high);
  }
  const { mixing: _, ...plain } = result;
  const ways = Object.fromEntries(
    Object.entries(plain.ways).filter(([way]) => !way.startsWith("top-")),
  );
  assertEquals({ ...plain, ways }, await asked(questions)); // all else is as without
});

Deno.test("askQuestions() asks a task without choices of experts together, which are held together", async () => {
  const task = TASKS.get("lambada_openai")!;
  const models = { ...MODELS, 0: unigram({ x: 6, z: 5.6 }), 1: unigram({ y: 6, z: 5.6 }) };
  const questions = ["z", "x", "y"].map((choice) => ({
    ...question("ab", 0, [choice]),
    delimiter: "",
  }));
  const ask = (room: number, mix: number[]) =>
    asked(questions, {
      task,
      mix,
      routingTemperature: 1e6,
      mixture: mixtureOf(gpu, ROUTERS, models, { room }),
    });
  const { ways } = await ask(2, [1, 2]);
  assertEquals([ways["top-2"]!.acc!.value, ways.mixture!.acc!.value], [1 / 3, 1 / 3]);
  assertEquals(ways["top-1"], ways.mixture);
  const both = ["z", "x", "y"].map((text) =>
    Math.log(
      (Math.exp(unigramLikelihood({ x: 6, z: 5.6 }, text)) +
        Math.exp(unigramLikelihood({ y: 6, z: 5.6 }, text))) / 2,
    )
  );
  const expected = Math.exp(-both.reduce((a, b) => a + b) / 3);
  assert(Math.abs(ways["top-2"]!.perplexity!.value / expected - 1) < 1e-4);
  await assertRejects(() => ask(1, [2]), InputError, "at most 1 models may be held");
});

Deno.test("scoreChoices() scores every token with the bits of a scorer, S and S + 1 tokens and longer ones among them", async () => {
  const config = { ...UNIGRAM, hidden: 8, heads: 2, layers: 2, context: 20 };
  const weights = anyWeights(config, "one");
  // The last choice of three characters makes S - 1, S, S + 1 ….
  const lengths = [1, 5, 16, 17, 18, 19, 30];
  const questions = lengths.map((length) =>
    question("ab1c".repeat(8).slice(0, length), 0, ["de", "f", "gh"].slice(0, 2 + length % 2))
  );
  const prompts = await encodeQuestions(CHARACTERS, questions, config.context);
  assertEquals(prompts.filter(({ cut }) => cut).length, 2);
  const mixture = mixtureOf(gpu, ROUTERS, { dense: weights }, { config });
  const scores = await scoreChoices("dense", { mixture, prompts, keepsTokens: true });
  mixture.close();
  const width = config.context + 1;
  const scorer = createScorer(gpu, { config, models: [weights], batch: 4, length: width });
  for (const [i, { context, choices }] of questions.entries()) {
    for (const [j, choice] of choices.entries()) {
      const ids = Array.from(`${context} ${choice}`, (c) => c.charCodeAt(0)).slice(-width);
      const tokens = new Uint32Array(width);
      tokens.set(ids);
      const span = { begin: ids.length - choice.length - 1, end: ids.length };
      const { logProbability } = await scorer.scoreTokens(tokens, width, [span]);
      assertEquals(scores[i][j].tokens, logProbability, `${i} ${j}`);
    }
  }
  scorer.close();
});

Deno.test("askQuestions() tells how far it is, and ends when it is asked to", async () => {
  const questions = Array.from(
    { length: 300 },
    (_, i) => question("ab".repeat(1 + i % 9), i % 2, i % 3 ? ["x", "yx"] : ["xy", "y", " z"]),
  );
  const reported: number[][] = [];
  await asked(questions, { onProgress: (done, total) => reported.push([done, total]) });
  const choices = questions.reduce((sum, { choices }) => sum + choices.length, 0);
  assertEquals([reported.length, reported.at(-1)], [6, [3 * choices, 3 * choices]]);
  const ending = new AbortController();
  await assertRejects(
    () =>
      asked(questions, {
        signal: ending.signal,
        onProgress: () => ending.abort(new Error("enough")),
      }),
    Error,
    "enough",
  );
});

Deno.test("askQuestions() refuses weights that are no numbers, by the model's name", async () => {
  const mixture = mixtureOf(gpu, ROUTERS, { ...MODELS, dense: unigram({ x: NaN }) });
  const rule =
    "every log-probability must be finite: one of dense is not; train dense again at a lower rate";
  await assertRejects(() => asked(QUESTIONS, { mixture }), InputError, rule);
});
