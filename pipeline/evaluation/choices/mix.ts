/**
 * Several experts that answer the questions of a zero-shot task together. The probability of a token is
 * Σ_e w_e p_e. The weights are those of the K experts that the routing prefix costs least, as in an
 * evaluation. Models score one after another, so the log-probabilities of the tokens of every choice are kept
 * for the experts that answer it.
 */

import { answer } from "../../serving/generate.ts";
import { answeringOf, logSumExp } from "../../serving/mixing.ts";
import type { Mixture } from "../../serving/mixture.ts";
import type { Route } from "../../serving/route.ts";
import type { Mixes } from "../mix.ts";
import type { EncodedPrompt } from "./encode.ts";

/** Collects what experts say of choices, and mixes it. */
export interface ChoiceMixing {
  /** Keeps the log-probabilities of the tokens of a choice, nats `[tokens]`, if the expert answers it. */
  take(expert: number, choice: number, logProbability: Float32Array): void;
  /**
   * Returns the log-likelihood of every choice if `size` experts answer, nats f64 `[choices]`. All experts must
   * have scored before.
   */
  logLikelihood(size: number): Float64Array;
}

/** Makes an empty collection for choices that are routed so `[choices]`. */
export function createChoiceMixing(
  routes: readonly Route[],
  { sizes, temperature }: Pick<Mixes, "sizes" | "temperature">,
): ChoiceMixing {
  const widest = routes.map((route) =>
    answeringOf(route, sizes.at(-1)!, temperature).map(({ expert }) => expert)
  );
  const said = routes.map(() => new Map<number, Float32Array>());
  return {
    take(expert, choice, logProbability) {
      if (widest[choice].includes(expert)) said[choice].set(expert, logProbability);
    },
    logLikelihood: (size) =>
      Float64Array.from(routes, (route, choice) => {
        const answering = answeringOf(route, size, temperature);
        const own = answering.map(({ expert }) => said[choice].get(expert)!);
        const logWeights = answering.map(({ weight }) => Math.log(weight));
        let sum = 0;
        for (let token = 0; token < own[0].length; token++) {
          sum += logSumExp(Float64Array.from(own, (values, i) => logWeights[i] + values[token]));
        }
        return sum;
      }),
  };
}

/** Questions that are continued at once. */
const AT_ONCE = 8;

/**
 * Says for each question whether greedy decoding by the `mix` likeliest experts writes its only choice.
 * `routes` of the questions give the weights. The experts of a question are held together while they
 * continue it.
 */
export async function writesGreedily(
  mixture: Mixture,
  prompts: readonly EncodedPrompt[],
  routes: readonly Route[],
  { mix, temperature, prefix, signal }: {
    mix: number;
    temperature: number;
    prefix: number;
    signal?: AbortSignal;
  },
): Promise<boolean[]> {
  const written = new Array<boolean>(prompts.length);
  const writes = async (question: number): Promise<void> => {
    const [{ context, continuation }] = prompts[question].choices;
    const generation = await answer(mixture, {
      ...{ prompt: context, route: routes[question], mix, routingTemperature: temperature, prefix, signal },
      ...{ temperature: 0, maxNewTokens: continuation.length },
    });
    await Array.fromAsync(generation); // its tokens count, not its text
    written[question] = String(generation.tokens) === String(continuation);
  };
  // Questions of the same experts follow one another, so that these are loaded once.
  const expertsOf = (question: number) =>
    answeringOf(routes[question], mix, temperature).map(({ expert }) => expert).sort((a, b) => a - b).join();
  for (const questions of Map.groupBy(prompts.keys(), expertsOf).values()) {
    for (let first = 0; first < questions.length; first += AT_ONCE) {
      await Promise.all(questions.slice(first, first + AT_ONCE).map(writes));
    }
  }
  return written;
}
