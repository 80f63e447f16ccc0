import { assert, assertEquals } from "@std/assert";
import { mixedNll, tokensRun } from "../../../pipeline/evaluation/mix.ts";
import { readGoldenCase } from "../../../pipeline/doctor/golden.ts";
import { createScorer } from "../../../pipeline/model/scorer.ts";
import { mixingWeights } from "../../../pipeline/partition/mixing.ts";
import { assertClose, gpu } from "../../kernels/support.ts";
import { logitsReference, sequenceNll } from "../model/reference.ts";
import { anyWeights } from "../model/support.ts";
import {
  anyRouters,
  anyRows,
  assertAlike,
  E,
  evaluateRows,
  EXPERTS,
  M,
  MODEL,
  plainFigures,
  referenceNll,
  ROUTER,
} from "./support.ts";

/**
 * Probabilities of a sequence's predicted tokens under every expert `[tokens][E]`, by the f64
 * model.
 */
function probabilities(sequence: number[]): number[][] {
  const byExpert = EXPERTS.map((name) =>
    logitsReference(MODEL, anyWeights(MODEL, name), sequence.slice(0, -1)).map((logits, i) => {
      const powers = logits.map(Math.exp);
      return powers[sequence[i + 1]] / powers.reduce((a, b) => a + b);
    })
  );
  return byExpert[0].map((_, token) => byExpert.map((of) => of[token]));
}

const costs = new Map<string, number[]>();

/** What tokens cost every expert, by the f64 model. */
function costsReference(tokens: number[]): number[] {
  const known = costs.get(tokens.join()) ??
    anyRouters(E).models.map((weights) =>
      tokens.length > 1 ? sequenceNll(ROUTER, weights, tokens) : 0
    );
  costs.set(tokens.join(), known);
  return known;
}

/** Weights as the method says them: exp(−cost / τ), the `size` largest kept and normalised. */
function weightsReference(tokens: number[], size: number, temperature: number): number[] {
  const costs = costsReference(tokens);
  const kept = costs.map((cost) => {
    const better = costs.filter((other) => other < cost).length;
    return better < size ? Math.exp(-cost / temperature) : 0;
  });
  return kept.map((weight) => weight / kept.reduce((a, b) => a + b));
}

/**
 * NLL of a sequence from position `first` on and the tokens that experts run for, in plain words.
 */
function mixReference(
  sequence: number[],
  p: number[][],
  size: number,
  temperature: number,
  every = Infinity,
  first = 1,
) {
  const read = new Map<number, number>();
  let nll = 0;
  for (let position = 1; position < sequence.length; position++) {
    let end = M;
    while (end + every <= position) end += every;
    const weights = weightsReference(sequence.slice(end - M, end), size, temperature);
    if (position >= first) {
      nll -= Math.log(weights.reduce((sum, w, expert) => sum + w * p[position - 1][expert], 0));
    }
    weights.forEach((w, expert) => w > 0 && read.set(expert, position));
  }
  return { nll, run: read.values().reduce((a, b) => a + b, 0) };
}

Deno.test("evaluate() mixes probabilities as an f64 model does, once and again every few tokens, with intervals on the same draws", async () => {
  const rows = anyRows(24);
  const { sequences, all, tokens, score, gain } = plainFigures(rows);
  const p = sequences.map(probabilities);
  const dense = ["dense", "dense-steps"].map((name) =>
    [name, referenceNll(MODEL, anyWeights(MODEL, name), sequences)] as const
  );
  for (const [routingTemperature, reroute] of [[undefined, 2], [0.7, 1], [3, 4]] as const) {
    const { mixing, scores } = await evaluateRows(rows, {
      mix: [3, 1, 2, 2],
      routingTemperature,
      reroute,
    });
    const { temperature, mixes } = mixing!;
    assertEquals(temperature, routingTemperature ?? 1);
    const kinds = mixes.map(({ experts, reroute }) => [experts, reroute]);
    assertEquals(kinds, [[1, null], [2, null], [3, null], [1, reroute], [2, reroute], [
      3,
      reroute,
    ]]);
    const again = sequences.map(({ length }) =>
      Math.max(0, Math.floor((length - 1 - M) / reroute))
    );
    const one = sequences.map((sequence, row) =>
      mixReference(sequence, p[row], 1, temperature).nll
    );
    for (const { prefixes: _, nllPerToken, ...mix } of mixes) {
      const expected = sequences.map((sequence, row) =>
        mixReference(sequence, p[row], mix.experts, temperature, mix.reroute ?? undefined)
      );
      const nll = expected.map(({ nll }) => nll);
      assertAlike({ ...mix, gain: mix.gain.percent / 100 }, {
        experts: mix.experts,
        reroute: mix.reroute,
        ...score(nll),
        expertsPerToken: expected.reduce((sum, { run }) => sum + run, 0) / tokens(all),
        routings: 1 + (mix.reroute === null ? 0 : again.reduce((a, b) => a + b) / rows.rows),
        gain: gain(nll, one).percent / 100,
        gains: dense.map(([baseline, than]) => ({ baseline, ...gain(nll, than) })),
      }, `${mix.experts} experts, reroute ${mix.reroute}, τ ${temperature}`);
      assertAlike(nllPerToken, nll.reduce((a, b) => a + b) / tokens(all));
    }
    assertAlike(mixes[0].nllPerToken, scores.mixture!.nllPerToken);
  }
});

Deno.test("evaluate() reports of one expert what it says of the mixture, of all prefixes, and nothing else than without, all to the bit", async () => {
  const rows = anyRows(60);
  const { mixing: none, ...before } = await evaluateRows(rows);
  const { mixing, ...after } = await evaluateRows(rows, { mix: [1, 2] });
  assertEquals(none, undefined);
  assertEquals(after, before);
  const [{ nllPerToken, perplexity, low, high, gains, gain, prefixes }, two] = mixing!.mixes;
  assertEquals({ nllPerToken, perplexity, low, high }, before.scores.mixture);
  assertEquals(gains, before.gains);
  assertEquals(gain, { percent: 0, low: 0, high: 0 });
  assertEquals(
    prefixes,
    before.prefixes.map(({ prefix, perplexity, low, high }) => ({ prefix, perplexity, low, high })),
  );
  const own = two.prefixes.find(({ prefix }) => prefix === M)!;
  assertEquals([own.perplexity, own.low, own.high], [two.perplexity, two.low, two.high]);
  assert(two.perplexity !== perplexity);
});

Deno.test("evaluate() mixes to the same bits, however sequences are cut into batches and parts", async () => {
  const rows = anyRows(1100, 40);
  const options = { mix: [1, 3], reroute: 3, dense: {}, resamples: 5 };
  const expected = await evaluateRows(rows, options, 1100);
  for (const valuesAtOnce of [1, 20_000]) {
    const done: number[] = [];
    const onProgress = (rows: number) => done.push(rows);
    assertEquals(await evaluateRows(rows, { ...options, valuesAtOnce, onProgress }, 64), expected);
    assertEquals(done.at(-1), (1 + 1 + E) * 1100);
  }
});

for (const name of ["tiny", "odd"]) {
  Deno.test(`mixedNll() gives the golden ensembles of ${name}, weighted and of the best two`, async () => {
    const { config, batch: { tokens, lengths }, tensors, json } = readGoldenCase(name);
    const length = config.context;
    const { ensemble } = json("spans.json") as {
      ensemble:
        & Record<"weights" | "top2_weights", number[][]>
        & Record<"nll" | "top2_nll", number[]>;
    };
    const logs: Float32Array[] = [];
    let starts: ArrayLike<number> = [];
    for (const expert of ensemble.weights[0].keys()) {
      const models = [tensors(`model-0${expert}.safetensors`)];
      const scorer = createScorer(gpu, { config, models, batch: 2, length });
      const scores = await scorer.scoreTokens(tokens, length, lengths);
      [starts, logs[expert]] = [scores.starts, scores.logProbability];
      scorer.close();
    }
    for (
      const [kept, nll, size] of [["weights", "nll", logs.length], [
        "top2_weights",
        "top2_nll",
        2,
      ]] as const
    ) {
      lengths.forEach((length: number, row: number) => {
        const costs = ensemble.weights[row].map((weight: number) => -Math.log(weight));
        const weights = mixingWeights(costs, size, 1);
        assertClose(weights, ensemble[kept][row], { atol: 1e-9, rtol: 1e-9 });
        const actual = mixedNll(logs, starts[row], [{ weights, end: length - 1 }]);
        assertClose(
          [actual],
          [ensemble[nll][row]],
          { atol: 0, rtol: 1e-4 },
          `${kept} of row ${row}`,
        );
      });
    }
  });
}

Deno.test("mixedNll() gives one expert's own bits, and follows the weights from stretch to stretch", () => {
  // By expert.
  const logs = [[-9, -0.1, -3.3, -1e-3], [-9, -2, -0.7, -40]].map((own) => Float32Array.from(own));
  const own = (expert: number) =>
    [1, 2, 3].reduce((sum, token) => Math.fround(sum - logs[expert][token]), 0);
  for (const expert of [0, 1]) {
    const weights = Float64Array.of(1 - expert, expert);
    assertEquals(mixedNll(logs, 1, [{ weights, end: 3 }]), own(expert));
  }
  const [first, second, both] = [[1, 0], [0, 1], [0.25, 0.75]].map((weights) =>
    Float64Array.from(weights)
  );
  const stretches = [{ weights: first, end: 1 }, { weights: second, end: 2 }, {
    weights: both,
    end: 3,
  }];
  const last = -Math.log(0.25 * Math.exp(logs[0][3]) + 0.75 * Math.exp(logs[1][3]));
  assertClose([mixedNll(logs, 1, stretches)], [0.1 + 0.7 + last], { atol: 1e-6, rtol: 0 });
  assertEquals(tokensRun(stretches), 3 + 3); // both answer for the last token
  assertEquals(tokensRun(stretches.slice(0, 2)), 1 + 2);
  assertEquals([mixedNll(logs, 0, [{ weights: both, end: 0 }]), tokensRun([])], [0, 0]);
  // Whose probabilities are no f64.
  const hopeless = [Float32Array.of(-900), Float32Array.of(-1000)];
  const nll = mixedNll(hopeless, 0, [{ weights: both, end: 1 }]);
  assertClose([nll], [900 - Math.log(0.25)], { atol: 1e-4, rtol: 0 });
});

Deno.test("evaluate() chooses experts anew at the same positions where a response alone counts", async () => {
  const rows = anyRows(24);
  const { sequences } = plainFigures(rows);
  const begin = rows.length.map((length) => length > M + 4 ? M + 3 : 0);
  const { mixing } = await evaluateRows({ ...rows, begin }, { mix: [2], reroute: 2 });
  const p = sequences.map(probabilities);
  const firsts = Array.from(begin, (begin) => Math.max(1, begin));
  const tokens = sequences.reduce((sum, { length }, row) => sum + length - firsts[row], 0);
  for (const { nllPerToken, reroute } of mixing!.mixes) {
    const nll = sequences.map((sequence, row) =>
      mixReference(sequence, p[row], 2, mixing!.temperature, reroute ?? undefined, firsts[row]).nll
    );
    assertAlike(nllPerToken, nll.reduce((a, b) => a + b) / tokens);
  }
});
