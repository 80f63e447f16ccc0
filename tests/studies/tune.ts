/**
 * Tells whether the gain of a mixture survives tuning: perplexities of held-out responses by the
 * mixture and both dense models, before and after all are tuned on pairs (`pairs.ts`), with the
 * routers of the run and with fresh ones. Also if the two likeliest experts answer together, or the
 * dense model takes the prompts whose expert is least sure. Gains with their intervals over pairs; and how pairs
 * divide among experts, for all and for each kind. Takes minutes a run; what is made is not made
 * again.
 *
 *   deno run -A --no-lock tests/studies/tune.ts FOLDER RUN…      runs with experts, dense and dense-steps; what is made lies in FOLDER
 */

import { openGpu } from "../../kernels/device/gpu.ts";
import { derive } from "../../mod.ts";
import { mixingWeights } from "../../pipeline/partition/mixing.ts";
import { drawEstimates } from "../../pipeline/evaluation/bootstrap.ts";
import { encodeQuestions, fittingQuestions } from "../../pipeline/evaluation/choices/questions.ts";
import { scoreChoices } from "../../pipeline/evaluation/choices/score.ts";
import type { Question } from "../../pipeline/evaluation/choices/tasks.ts";
import { indexOfText } from "../../pipeline/random.ts";
import { loadTokenizer } from "../../pipeline/text/tokenizer.ts";
import { openMixture } from "../../pipeline/serving/mixture.ts";
import type { ModelName } from "../../pipeline/serving/models.ts";
import { needConfiguration } from "../../pipeline/stages/parts.ts";
import { benchPairs } from "./pairs.ts";

const [folder, ...runs] = Deno.args;
const HELD_OUT = 10n; // one of so many pairs
const DENSE = ["dense", "dense-steps"] as const;
const SENT = [0.1, 0.5]; // shares of the pairs, the least sure, that the dense model answers

const questions: Question[] = (await benchPairs()).map(
  ({ prompt: context, response, source: set }) => {
    return { context, choices: [response], delimiter: "", gold: 0, set };
  },
);
const isHeld = ({ context, choices }: Question) =>
  indexOfText(context + choices[0]) % HELD_OUT === 0n;

const gpu = await openGpu({});

/**
 * Scores the held-out responses by the models of a run, each routed by its prompt, and prints what
 * came out.
 */
async function score(run: string, about: Record<string, unknown>): Promise<void> {
  const mixture = await openMixture({ run, gpu, models: 1 });
  const tokenizer = await mixture.tokenizer();
  const { sequenceLength } = await needConfiguration(run);
  const questions = (await fitting(run)).filter(isHeld);
  const prompts = await encodeQuestions(tokenizer, questions, sequenceLength);
  const routes = await mixture.routeAll(prompts.map(({ context }) => context));
  mixture.closePartitioner();
  const experts = [...Array(await mixture.experts()).keys()];
  const by = new Map<ModelName, number[]>();
  const byToken = new Map<ModelName, Float32Array[]>(); // log-probabilities
  for (const model of [...experts, ...DENSE]) {
    const scores = await scoreChoices(model, { mixture, prompts, keepsTokens: true });
    by.set(model, scores.map(([{ logLikelihood }]) => -logLikelihood));
    byToken.set(model, scores.map(([{ tokens }]) => tokens!));
  }
  mixture.close();
  const tokens = prompts.map(({ choices: [{ continuation }] }) => continuation.length);
  const routed = routes.map(({ expert }, i) => by.get(expert)![i]);
  const nll = {
    mixture: routed,
    two: routes.map(({ scores }, i) => {
      const weights = mixingWeights(scores.map((score) => -score), 2, 1);
      const answering = experts.filter((expert) => weights[expert] > 0);
      let sum = 0;
      for (let at = 0; at < tokens[i]; at++) {
        const shares = answering.map((expert) =>
          weights[expert] * Math.exp(byToken.get(expert)![i][at])
        );
        sum -= Math.log(shares.reduce((a, b) => a + b));
      }
      return sum;
    }),
    ...Object.fromEntries(SENT.map((share) => {
      const margins = routes.map(({ margin }) => margin).sort((a, b) => a - b);
      const limit = margins[Math.floor(share * margins.length)];
      const isUnsure = ({ margin }: { margin: number }) => margin < limit;
      const own = routes.map((route, i) => isUnsure(route) ? by.get("dense")![i] : routed[i]);
      return [`dense for ${100 * share}%`, own];
    })),
    best: routes.map((_, i) => Math.min(...experts.map((expert) => by.get(expert)![i]))),
    ...Object.fromEntries(DENSE.map((name) => [name, by.get(name)!])),
  };
  const round = ({ value, low, high }: Record<"value" | "low" | "high", number>, factor = 1) =>
    [value, low, high].map((one) => +(factor * one).toFixed(2));
  const measure = async (rows: number[]) => {
    const take = (values: readonly number[]) => Float64Array.from(rows, (i) => values[i]);
    const own = Object.fromEntries(
      Object.entries(nll).map(([name, values]) => [name, take(values)]),
    );
    const { estimate } = await drawEstimates({ tokens: take(tokens), nll: own }, {
      resamples: 1000,
      seed: 0,
    });
    return {
      pairs: rows.length,
      ...Object.fromEntries(
        Object.keys(nll).map((name) => [name, round(estimate((mean) => Math.exp(mean(name))))]),
      ),
      gains: Object.fromEntries(
        Object.keys(nll).filter((way) => !(DENSE as readonly string[]).includes(way)).map((way) => [
          way,
          Object.fromEntries(DENSE.map((name) => {
            return [name, round(estimate((mean) => 1 - Math.exp(mean(way) - mean(name))), 100)];
          })),
        ]),
      ),
      shares: experts.map((expert) =>
        rows.filter((i) => routes[i].expert === expert).length / rows.length
      )
        .map((share) => +share.toFixed(2)),
    };
  };
  const sets = Map.groupBy(routes.keys(), (i) => questions[i].set);
  const all = { run, ...about, ...await measure([...routes.keys()]) };
  const kinds: Record<string, unknown> = {};
  for (const [set, rows] of sets) kinds[set] = await measure([...rows]);
  console.log(JSON.stringify({ ...all, kinds }));
}

/** Gives the pairs that a sequence of a run has room for. */
async function fitting(run: string): Promise<Question[]> {
  const tokenizer = await loadTokenizer(`${run}/tokenizer.json`);
  const { sequenceLength } = await needConfiguration(run);
  return await fittingQuestions(tokenizer, questions, sequenceLength - 1);
}

for (const from of runs) {
  await score(from, { tuned: "no" });
  const name = from.split("/").at(-1);
  const pairs = `${folder}/${name}.jsonl`;
  const train = (await fitting(from)).filter((pair) => !isHeld(pair))
    .map(({ context: prompt, choices: [response], set: source }) =>
      JSON.stringify({ prompt, response, source })
    );
  await Deno.mkdir(folder, { recursive: true });
  await Deno.writeTextFile(pairs, `${train.join("\n")}\n`);
  for (const router of ["experts", "fresh"] as const) {
    const run = `${folder}/${name}-${router}`;
    await derive({ run, from, tune: [pairs], router, gpu });
    await score(run, { tuned: router });
  }
}
gpu.close();
