/**
 * Asks a mixture the questions of a zero-shot task, beside dense models, the best expert in hindsight and a
 * random expert. All score the same tokens (SmallTalk LM, section 3.4 and figure 3). Models are leased one
 * after another. Each scores all questions, and computes the tokens of a context once for all its choices.
 * Two numbers per model and choice are kept. If experts are mixed, the log-probabilities of the tokens of a
 * choice are also kept, for the experts that answer it.
 */

import { InputError } from "../../../kernels/errors.ts";
import type { ContinuationScore } from "../../model/branch_scorer.ts";
import type { ModelConfig } from "../../model/shape.ts";
import { branching, type LoadedModel } from "../../serving/forms.ts";
import type { Mixture } from "../../serving/mixture.ts";
import { checkShape, type ModelName, nameOf } from "../../serving/models.ts";
import type { Route } from "../../serving/route.ts";
import { type Baseline, BASELINES, hasOwnShape } from "../baselines.ts";
import { RESAMPLES } from "../evaluate.ts";
import { mixesOf, type MixOptions } from "../mix.ts";
import { branchesOf, type EncodedPrompt } from "./encode.ts";
import { createChoiceMixing, writesGreedily } from "./mix.ts";
import { characters } from "./python_text.ts";
import type { Question } from "./question.ts";
import { type ChoiceWay, type Routing, topWay, ZERO_SHOT_FORMAT, type ZeroShotResult } from "./results.ts";
import { type Answered, summarizeAnswers } from "./summary.ts";
import type { ZeroShotTask } from "./tasks.ts";

/** What {@linkcode askQuestions} takes. */
export interface AskOptions extends Pick<MixOptions, "mix" | "routingTemperature"> {
  /**
   * The opened mixture. With room for one model it holds one at a time. If experts are mixed and a task has
   * no choices, it needs room for all that answer together.
   */
  mixture: Mixture;
  /** The task. */
  task: ZeroShotTask;
  /** The questions. */
  questions: readonly Question[];
  /** Each question in tokens, with its examples: what {@linkcode encodeQuestions} gives. */
  prompts: readonly EncodedPrompt[];
  /** Number of examples before each question. Default: 0. */
  fewShot?: number;
  /** Number of questions in the data. Default: as many as are asked. */
  published?: number;
  /** Tokens of the routing prefix, M. */
  prefix: number;
  /** What questions are routed by. Default: the context. */
  routing?: Routing;
  /** Dense models of the mixture to compare with. */
  baselines?: readonly Baseline[];
  /** Draws of the bootstrap; 1000 unless given. */
  resamples?: number;
  /** Seed of the bootstrap; 0 unless given. */
  seed?: number;
  /** Sequences of the model's context at once. Changes the speed and the memory, never a result. */
  batch?: number;
  /** Called with the choices scored so far, of how many. */
  onProgress?: (done: number, total: number) => void;
  /** Called with what every model says of every choice, as it comes. */
  onScore?: (model: ModelName, question: number, choice: number, score: ContinuationScore) => void;
  /** Ends the work. */
  signal?: AbortSignal;
}

/** What one model says of all choices, in the order of the questions. */
interface ModelScores {
  /** Log-likelihood of every choice, nats: the f32 log-probabilities of its tokens, added up in f64 from the first on. */
  logLikelihood: Float64Array;
  /** 1 where every token of a choice is the likeliest. */
  greedy: Uint8Array;
}

const QUESTIONS = 256; // whose texts are put together

/**
 * Asks the questions of a task. A question is routed by the first M tokens of what its choices follow, or each choice by those of
 * context and choice; never balanced. The same questions, models and device give the same result however they are batched.
 *
 * @throws {InputError} if there are no questions, models differ in shape or tokenizer, or a log-probability isn't finite.
 */
export async function askQuestions(options: AskOptions): Promise<ZeroShotResult> {
  const { mixture, task, questions, prompts, prefix, resamples = RESAMPLES, seed = 0, signal } = options;
  const { routing = "context", fewShot = 0, published = questions.length } = options;
  if (questions.length === 0) {
    throw new InputError(`Cannot ask ${task.name} as there must be questions: there are none`);
  }
  const experts = await mixture.experts();
  const baselines = BASELINES.filter((name) => options.baselines?.includes(name));
  const starts = new Uint32Array(questions.length + 1); // of the choices of every question
  questions.forEach(({ choices }, i) => starts[i + 1] = starts[i] + choices.length);
  const mixes = mixesOf(options, await mixture.partitioner());
  const routes = await routePrompts(mixture, prompts, { prefix, routing, signal }); // of every choice
  const chosen = routes.map(({ expert }) => expert);
  mixture.closePartitioner();

  const total = starts[questions.length] * (experts + baselines.length);
  let done = 0;
  const scores = new Map<ModelName, ModelScores>();
  const check = shapeChecker(prompts);
  const mixing = mixes && createChoiceMixing(routes, mixes);
  const onScore: AskOptions["onScore"] = (model, question, choice, score) => {
    options.onScore?.(model, question, choice, score);
    if (typeof model === "number") mixing?.take(model, starts[question] + choice, score.logProbability);
  };
  for (const model of [...Array(experts).keys(), ...baselines]) {
    scores.set(
      model,
      await scoreWith(model, prompts, starts, check, { ...options, onScore }, (choices) => {
        options.onProgress?.(done += choices, total);
      }),
    );
  }
  const top: [way: ChoiceWay, scores: ModelScores][] = [];
  for (const size of mixes?.sizes ?? []) top.push([topWay(size), await scoreTogether(size)]);

  const normalisers = questions.flatMap(({ choices }) => choices.map(characters));
  const answered = (at: number, scoreOf: (choice: number) => ModelScores): Answered => {
    const choices = Array.from({ length: starts[at + 1] - starts[at] }, (_, i) => starts[at] + i);
    const { gold } = questions[at];
    const likelihoods = choices.map((choice) => scoreOf(choice).logLikelihood[choice]);
    const perCharacter = likelihoods.map((value, i) => value / normalisers[choices[i]]);
    const right = choices[gold];
    const isRight = choices.length === 1
      ? scoreOf(right).greedy[right] === 1
      : firstLargest(likelihoods) === gold;
    return {
      acc: Number(isRight),
      acc_norm: Number(firstLargest(perCharacter) === gold),
      logLikelihood: likelihoods[gold],
    };
  };
  const by = (model: ModelName) => (at: number) => answered(at, () => scores.get(model)!);
  const ids = Array.from({ length: experts }, (_, expert) => expert);
  const ways: Partial<Record<ChoiceWay, (at: number) => Answered>> = {
    mixture: (at) => answered(at, (choice) => scores.get(chosen[choice])!),
    ...Object.fromEntries(top.map(([way, own]) => [way, (at: number) => answered(at, () => own)])),
    ...Object.fromEntries(baselines.map((name) => [name, by(name)])),
    oracle(at) {
      const right = starts[at] + questions[at].gold;
      return by(firstLargest(ids.map((expert) => scores.get(expert)!.logLikelihood[right])))(at);
    },
    random(at) {
      const all = ids.map((expert) => by(expert)(at));
      const mean = (field: keyof Answered) => all.reduce((sum, one) => sum + one[field], 0) / experts;
      return { acc: mean("acc"), acc_norm: mean("acc_norm"), logLikelihood: mean("logLikelihood") };
    },
  };
  const answers = Object.fromEntries(
    Object.entries(ways).map(([way, answer]) => [way, questions.map((_, at) => answer!(at))]),
  );
  const summary = await summarizeAnswers(task, questions, answers, {
    ...{ resamples, seed, signal },
    sizes: mixes?.sizes,
  });
  const guesses = questions.map(({ choices }) => 1 / choices.length);
  return {
    format: ZERO_SHOT_FORMAT,
    task: task.name,
    questions: questions.length,
    published,
    fewShot,
    routing,
    prefix,
    experts,
    cut: prompts.filter(({ cut }) => cut).length,
    chance: guesses.every((guess) => guess === 1) ? null : guesses.reduce((a, b) => a + b) / questions.length,
    resamples,
    seed,
    ways: summary.ways,
    differences: summary.differences,
    sets: summary.sets,
    shares: ids.map((expert) => chosen.filter((id) => id === expert).length / chosen.length),
    ...mixes && { mixing: { temperature: mixes.temperature, differences: summary.mixed } },
  };

  /** What so many experts say together. */
  async function scoreTogether(size: number): Promise<ModelScores> {
    const logLikelihood = mixing!.logLikelihood(size);
    const greedy = new Uint8Array(logLikelihood.length);
    const alone = [...questions.keys()].filter((at) => questions[at].choices.length === 1);
    const of = <Value>(values: ArrayLike<Value>) => alone.map((at) => values[at]);
    const places = of(starts);
    const written = size === 1
      ? places.map((choice) => scores.get(chosen[choice])!.greedy[choice] === 1)
      : await writesGreedily(mixture, of(prompts), places.map((choice) => routes[choice]), {
        ...{ mix: size, temperature: mixes!.temperature, prefix, signal },
      });
    places.forEach((choice, i) => greedy[choice] = Number(written[i]));
    return { logLikelihood, greedy };
  }
}

/** Gives the index of the largest value, the first among equals. */
function firstLargest(values: readonly number[]): number {
  return values.reduce((best, value, i) => value > values[best] ? i : best, 0);
}

/** Routes every choice, by its context or by context and choice. */
async function routePrompts(
  mixture: Mixture,
  prompts: readonly EncodedPrompt[],
  { prefix, routing, signal }: { prefix: number; routing: Routing; signal?: AbortSignal },
): Promise<Route[]> {
  if (routing === "context") {
    const routes = await mixture.routeAll(prompts.map(({ context }) => context), prefix, [], signal);
    return prompts.flatMap(({ choices }, i) => choices.map(() => routes[i]));
  }
  const texts = prompts.flatMap(({ choices }) =>
    choices.map(({ context, continuation }) => Uint32Array.of(...context, ...continuation))
  );
  return await mixture.routeAll(texts, prefix, [], signal);
}

/**
 * Makes the function that checks models one after another. Those that were trained with the run must have one
 * shape, except baselines that may have their own. Models of other trainers must be able to read the longest
 * choice and know every token.
 */
function shapeChecker(prompts: readonly EncodedPrompt[]): (model: ModelName, loaded: LoadedModel) => void {
  let [longest, highest] = [1, 0];
  for (const { choices } of prompts) {
    for (const { context, continuation } of choices) {
      longest = Math.max(longest, context.length + continuation.length - 1); // the last token is not read
      for (const ids of [context, continuation]) for (const id of ids) highest = Math.max(highest, id);
    }
  }
  let like: ModelConfig | undefined;
  let whose: string;
  return (model, loaded) => {
    const name = nameOf(model);
    if (loaded.notes.adopted !== undefined) {
      checkShape(loaded, { vocabulary: highest + 1, context: longest }, name, { whose: "the task" });
      return;
    }
    const textAlone = hasOwnShape(model);
    if (!textAlone && like === undefined) [like, whose] = [loaded.config, name];
    if (like) checkShape(loaded, like, name, { whose, textAlone });
  };
}

/** Scores all choices with one model. */
async function scoreWith(
  model: ModelName,
  prompts: readonly EncodedPrompt[],
  starts: Uint32Array,
  check: (model: ModelName, loaded: LoadedModel) => void,
  { mixture, batch, signal, onScore }: AskOptions,
  onChoices: (choices: number) => void,
): Promise<ModelScores> {
  signal?.throwIfAborted();
  const name = nameOf(model);
  using lease = await mixture.lease(model, branching({ batch }), signal);
  check(model, lease.value);
  const choices = starts[prompts.length];
  const scores = { logLikelihood: new Float64Array(choices), greedy: new Uint8Array(choices) };
  for (let first = 0; first < prompts.length; first += QUESTIONS) {
    signal?.throwIfAborted();
    const last = Math.min(prompts.length, first + QUESTIONS);
    const { texts, at } = branchesOf(prompts.slice(first, last));
    const results = await lease.value.branches.score(texts, signal);
    for (const [text, places] of at.entries()) {
      for (const [i, [prompt, choice]] of places.entries()) {
        const score = results[text][i];
        const sum = score.logProbability.reduce((a, b) => a + b, 0);
        if (!Number.isFinite(sum)) {
          throw new InputError(
            `Cannot ask a question as every log-probability must be finite: one of ${name} is not`,
            { remedy: `train ${name} again at a lower rate` },
          );
        }
        const place = starts[first + prompt] + choice;
        scores.logLikelihood[place] = sum;
        scores.greedy[place] = Number(score.greedy);
        onScore?.(model, first + prompt, choice, score);
      }
    }
    onChoices(starts[last] - starts[first]);
  }
  return scores;
}
