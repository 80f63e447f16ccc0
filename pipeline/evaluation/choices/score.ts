/**
 * Asks a mixture the questions of a zero-shot task, next to dense models, the best expert in
 * hindsight and a random expert. All score the same tokens (SmallTalk LM, section 3.4 and figure
 * 3). Models are leased one after another. Each scores all questions, and computes the tokens of a
 * context once for all its choices. Where several experts answer together, the probability of a
 * token is Σ_e w_e p_e. The weights are those of the K experts that the routing prefix costs least.
 */

import { ensure } from "../../../kernels/errors.ts";
import { joinTokens } from "../../rows/columns.ts";
import { branching } from "../../serving/forms.ts";
import { answer } from "../../serving/generate.ts";
import { chooseAnswering, logSumExp, type Route } from "../../serving/mixing.ts";
import type { Mixture } from "../../serving/mixture.ts";
import { type ModelName, modelTitle } from "../../serving/models.ts";
import { BASELINES } from "../baselines.ts";
import { RESAMPLES } from "../bootstrap.ts";
import type { EvaluateOptions } from "../evaluate.ts";
import { listMixes } from "../mix.ts";
import { type Check, shapeChecker } from "../passes.ts";
import type { EncodedPrompt } from "./questions.ts";
import {
  type ChoiceWay,
  topWay,
  ZERO_SHOT_FORMAT,
  type ZeroShotOptions,
  type ZeroShotResult,
} from "./results.ts";
import { type Answers, summarizeAnswers } from "./summary.ts";
import type { Question, ZeroShotTask } from "./tasks.ts";

/** What {@linkcode askQuestions} takes. */
export interface AskOptions
  extends
    Pick<ZeroShotOptions, "routing" | "resamples" | "mix" | "routingTemperature">,
    Pick<EvaluateOptions, "prefix" | "baselines" | "seed" | "signal"> {
  /**
   * The opened mixture. With room for one model it holds one at a time. If experts are mixed and a
   * task has no choices, it needs room for all that answer together.
   */
  mixture: Mixture;
  /** The task. */
  task: ZeroShotTask;
  /** The questions. */
  questions: readonly Question[];
  /** Each question in tokens: what {@linkcode encodeQuestions} gives. */
  prompts: readonly EncodedPrompt[];
  /** Number of questions in the data. Default: as many as are asked. */
  published?: number;
  /** Called with the choices scored so far, of how many. */
  onProgress?: (done: number, total: number) => void;
}

/**
 * The score of a choice: its log-likelihood, nats (the f32 log-probabilities of its tokens, added
 * up in f64 from the first on); whether every token is the likeliest; and the log-probabilities,
 * where they are kept.
 */
export type ScoredChoice = { logLikelihood: number; greedy: boolean; tokens?: Float32Array };

/**
 * Asks the questions of a task. A question is routed by the first M tokens of what its choices
 * follow, or each choice by those of context and choice; never balanced. The same questions, models
 * and device give the same result however they are batched.
 *
 * @throws {InputError} if there are no questions, models differ in shape or tokenizer, or a
 * log-probability isn't finite.
 */
export async function askQuestions(options: AskOptions): Promise<ZeroShotResult> {
  const { mixture, task, questions, prompts, prefix, resamples = RESAMPLES, seed = 0, signal } =
    options;
  const { routing = "context", published = questions.length } = options;
  ensure(
    questions.length > 0,
    `Cannot ask ${task.name} as there must be questions: there are none`,
  );
  const partitioner = await mixture.partitioner();
  const { vocabulary } = partitioner;
  const experts = [...Array(await mixture.experts()).keys()];
  const baselines = BASELINES.filter((name) => options.baselines?.includes(name));
  const mixes = listMixes(options, partitioner);
  const routes = await routePrompts({ ...options, routing });
  const chosen = routes.flat().map(({ expert }) => expert);
  mixture.closePartitioner();

  const models: ModelName[] = [...experts, ...baselines];
  const scores = new Map<ModelName, ScoredChoice[][]>();
  const check = shapeChecker({ vocabulary }, "the task");
  let done = 0;
  const onChoices = (choices: number) =>
    options.onProgress?.(done += choices, models.length * chosen.length);
  for (const model of models) {
    const keepsTokens = mixes !== undefined && typeof model === "number";
    scores.set(model, await scoreChoices(model, { ...options, check, keepsTokens, onChoices }));
  }
  const answered = (score: (question: number, choice: number) => ScoredChoice) =>
    collectAnswers(questions, prompts.map(({ choices }, i) => choices.map((_, j) => score(i, j))));
  const by = (model: ModelName) => collectAnswers(questions, scores.get(model)!);
  const routed = (i: number, j: number) => scores.get(routes[i][j].expert)![i][j];
  const answers: Partial<Record<ChoiceWay, Answers>> = { mixture: answered(routed) };
  for (const mix of mixes?.sizes ?? []) {
    const together = { mix, temperature: mixes!.routingTemperature };
    const written = mix > 1 &&
      await writesGreedily(mixture, prompts, routes, { ...together, prefix, signal });
    answers[topWay(mix)] = answered((i, j) => ({
      logLikelihood: mixedLikelihood(
        routes[i][j],
        (expert) => scores.get(expert)![i][j].tokens!,
        together,
      ),
      greedy: written ? written[i] : routed(i, j).greedy,
    }));
  }
  for (const name of baselines) answers[name] = by(name);
  const best = questions.map(({ gold }, i) =>
    firstLargest(experts.map((expert) => scores.get(expert)![i][gold].logLikelihood))
  );
  answers.oracle = answered((i, j) => scores.get(best[i])![i][j]);
  answers.random = meanAnswers(experts.map(by));

  const drawing = { resamples, seed, signal, sizes: mixes?.sizes };
  const { mixed, ...summary } = await summarizeAnswers(task, questions, answers, drawing);
  const guesses = questions.map(({ choices }) => 1 / choices.length);
  return {
    format: ZERO_SHOT_FORMAT,
    task: task.name,
    questions: questions.length,
    published,
    routing,
    prefix,
    experts: experts.length,
    cut: prompts.filter(({ cut }) => cut).length,
    chance: guesses.every((guess) => guess === 1)
      ? null
      : guesses.reduce((a, b) => a + b) / questions.length,
    resamples,
    seed,
    ...summary,
    shares: experts.map((id) => chosen.filter((expert) => expert === id).length / chosen.length),
    ...mixes && { mixing: { temperature: mixes.routingTemperature, differences: mixed } },
  };
}

/** Gives the index of the largest value, the first among equals. */
const firstLargest = (values: readonly number[]): number => values.indexOf(Math.max(...values));

/** Tells of every question whether its likeliest choice is the right one. */
function collectAnswers(
  questions: readonly Question[],
  scores: readonly ScoredChoice[][],
): Answers {
  const each = (
    value: (question: Question, logLikelihoods: number[], first: ScoredChoice) => number,
  ) =>
    Float64Array.from(questions, (question, i) => {
      return value(question, scores[i].map(({ logLikelihood }) => logLikelihood), scores[i][0]);
    });
  return {
    acc: each(({ choices, gold }, logLikelihoods, first) =>
      Number(choices.length === 1 ? first.greedy : firstLargest(logLikelihoods) === gold)
    ),
    acc_norm: each(({ choices, gold }, logLikelihoods) =>
      Number(
        firstLargest(logLikelihoods.map((value, i) => value / [...choices[i]].length)) === gold,
      )
    ),
    perplexity: each(({ gold }, logLikelihoods) => logLikelihoods[gold]),
  };
}

/** Averages the answers of several experts. */
function meanAnswers(all: readonly Answers[]): Answers {
  const mean = (metric: keyof Answers) =>
    all[0][metric].map((_, at) =>
      all.reduce((sum, answers) => sum + answers[metric][at], 0) / all.length
    );
  return { acc: mean("acc"), acc_norm: mean("acc_norm"), perplexity: mean("perplexity") };
}

/** Routes every choice of every question, by its context or by context and choice. */
async function routePrompts(
  { mixture, prompts, prefix, routing, signal }: AskOptions,
): Promise<Route[][]> {
  const texts = prompts.map(({ context, choices }) =>
    routing === "choice"
      ? choices.map((choice) => joinTokens([choice.context, choice.continuation]))
      : [context]
  );
  const routes = await mixture.routeAll(texts.flat(), prefix, [], signal);
  return prompts.map(({ choices }, i) => {
    const routesOfQuestion = routes.splice(0, texts[i].length);
    return choices.map((_, j) => routesOfQuestion[j] ?? routesOfQuestion[0]);
  });
}

const QUESTIONS = 256; // whose texts are put together

/** Scores all choices of all questions with one model. */
export async function scoreChoices(
  model: ModelName,
  { mixture, prompts, signal, check, keepsTokens, onChoices }:
    & Pick<AskOptions, "mixture" | "prompts" | "signal">
    & { check?: Check; keepsTokens: boolean; onChoices?: (choices: number) => void },
): Promise<ScoredChoice[][]> {
  signal?.throwIfAborted();
  using lease = await mixture.lease(model, branching(), signal);
  check?.(model, lease.value);
  const scores = prompts.map((): ScoredChoice[] => []);
  for (let first = 0; first < prompts.length; first += QUESTIONS) {
    signal?.throwIfAborted();
    // Choices of a question that follow the same tokens: a model reads these once.
    const groups = prompts.slice(first, first + QUESTIONS).flatMap(({ choices }, i) => {
      const placed = choices.map((choice, j) => ({ ...choice, i: first + i, j }));
      return [...Map.groupBy(placed, ({ context }) => context.join()).values()];
    });
    const texts = groups.map((group) => ({
      context: group[0].context,
      continuations: group.map(({ continuation }) => continuation),
    }));
    const scored = (await lease.value.branches.score(texts, signal)).flat();
    for (const [k, { i, j }] of groups.flat().entries()) {
      const { logProbability, greedy } = scored[k];
      const logLikelihood = logProbability.reduce((a, b) => a + b, 0);
      const rule = `every log-probability must be finite: one of ${modelTitle(model)} is not`;
      ensure(Number.isFinite(logLikelihood), `Cannot ask a question as ${rule}`, {
        remedy: `train ${modelTitle(model)} again at a lower rate`,
      });
      scores[i][j] = { logLikelihood, greedy, ...keepsTokens && { tokens: logProbability } };
    }
    onChoices?.(scored.length);
  }
  return scores;
}

/** K and τ: how many experts answer together, and the temperature of their weights. */
type Together = Record<"mix" | "temperature", number>;

/**
 * Gives the log-likelihood of a choice, nats, from the log-probabilities of its tokens by expert
 * `[tokens]`.
 */
function mixedLikelihood(
  route: Route,
  logProbability: (expert: number) => Float32Array,
  { mix, temperature }: Together,
): number {
  const answering = chooseAnswering(route, mix, temperature).map(({ expert, weight }) => {
    return { logWeight: Math.log(weight), values: logProbability(expert) };
  });
  return answering[0].values.reduce(
    (sum, _, token) =>
      sum +
      logSumExp(Float64Array.from(answering, ({ logWeight, values }) => logWeight + values[token])),
    0,
  );
}

const AT_ONCE = 8; // questions that are continued at once

/**
 * Tells for each question without choices whether greedy decoding by the `mix` likeliest experts
 * writes its only one; false for all others. `routes` of the choices give the weights. The experts
 * of a question are held together while they continue it.
 */
async function writesGreedily(
  mixture: Mixture,
  prompts: readonly EncodedPrompt[],
  routes: readonly Route[][],
  { mix, temperature, prefix, signal }: Together & { prefix: number; signal?: AbortSignal },
): Promise<boolean[]> {
  const written = prompts.map(() => false);
  const alone = [...prompts.keys()].filter((i) => prompts[i].choices.length === 1);
  const writes = async (i: number): Promise<void> => {
    const [{ context, continuation }] = prompts[i].choices;
    const generation = await answer(mixture, {
      prompt: context,
      route: routes[i][0],
      mix,
      routingTemperature: temperature,
      prefix,
      signal,
      temperature: 0,
      maxNewTokens: continuation.length,
    });
    await Array.fromAsync(generation); // its tokens count, not its text
    written[i] = String(generation.tokens) === String(continuation);
  };
  // Questions of the same experts follow one another, so that these are loaded once.
  const experts = (i: number) =>
    chooseAnswering(routes[i][0], mix, temperature).map(({ expert }) => expert).sort((a, b) =>
      a - b
    ).join();
  for (const group of Map.groupBy(alone, experts).values()) {
    for (let first = 0; first < group.length; first += AT_ONCE) {
      await Promise.all(group.slice(first, first + AT_ONCE).map(writes));
    }
  }
  return written;
}
