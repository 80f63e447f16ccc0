import { fileURLToPath } from "node:url";
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import type { Columns } from "../../../pipeline/rows/arrow.ts";
import { evaluate } from "../../../pipeline/evaluation/evaluate.ts";
import { mixedNll, tokensRun } from "../../../pipeline/evaluation/mix.ts";
import { decodeSafetensors } from "../../../pipeline/checkpoints/safetensors.ts";
import { mixingWeights } from "../../../pipeline/partition/mixing.ts";
import type { Partitioner } from "../../../pipeline/partition/partitioner.ts";
import { createMixture } from "../../../pipeline/serving/mixture.ts";
import { assertClose, gpu } from "../../kernels/support.ts";
import { logitsReference, sequenceNll } from "../model/reference.ts";
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
  LINEAGE,
  M,
  MODEL,
  RESAMPLES,
  ROUTER,
  SEED,
  sequencesOf,
} from "./support.ts";

const SINGLE = { atol: 2e-5, rtol: 2e-5 };

/** Probabilities of a sequence's predicted tokens under every expert `[tokens][E]`, by the f64 model. */
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
    anyRouters(E).models.map((weights) => tokens.length > 1 ? sequenceNll(ROUTER, weights, tokens) : 0);
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

/** NLL of a sequence and the tokens that experts run for, in plain words. */
function mixReference(
  sequence: number[],
  p: number[][],
  size: number,
  temperature: number,
  every = Infinity,
) {
  const read = new Map<number, number>();
  let nll = 0;
  for (let position = 1; position < sequence.length; position++) {
    let end = M;
    while (end + every <= position) end += every;
    const weights = weightsReference(sequence.slice(end - M, end), size, temperature);
    nll -= Math.log(weights.reduce((sum, w, expert) => sum + w * p[position - 1][expert], 0));
    weights.forEach((w, expert) => w > 0 && read.set(expert, position));
  }
  return { nll, run: read.values().reduce((a, b) => a + b, 0) };
}

Deno.test("evaluate() mixes probabilities as an f64 model says, once and again every few tokens, with intervals on the same draws", async () => {
  const rows = anyRows(24);
  const sequences = sequencesOf(rows);
  const p = sequences.map(probabilities);
  const documents = [...new Set(rows.document!)];
  const rowsOf = documents.map((id) =>
    sequences.flatMap((_, row) => rows.document![row] === id ? [row] : [])
  );
  const tokensOf = (of: number[]) => of.reduce((sum, row) => sum + sequences[row].length - 1, 0);
  const total = tokensOf([...sequences.keys()]);
  for (const [routingTemperature, reroute] of [[undefined, 2], [0.7, 1], [3, 4]] as const) {
    const options = { mix: [3, 1, 2, 2], routingTemperature, reroute };
    const { mixing, scores } = await evaluateRows(rows, options);
    const { temperature, mixes } = mixing!;
    assertEquals(temperature, routingTemperature ?? 1);
    const kinds = mixes.map(({ experts, reroute }) => [experts, reroute]);
    assertEquals(kinds, [[1, null], [2, null], [3, null], [1, reroute], [2, reroute], [3, reroute]]);
    for (const mix of mixes) {
      const every = mix.reroute ?? undefined;
      const expected = sequences.map((sequence, row) =>
        mixReference(sequence, p[row], mix.experts, temperature, every)
      );
      const perTokenOf = (of: number[]) => of.reduce((sum, row) => sum + expected[row].nll, 0) / tokensOf(of);
      const nll = perTokenOf([...sequences.keys()]);
      const what = `${mix.experts} experts, reroute ${every}, τ ${temperature}`;
      assertClose([mix.nllPerToken, mix.perplexity], [nll, Math.exp(nll)], SINGLE, what);
      const run = expected.reduce((sum, { run }) => sum + run, 0) / total;
      assertClose([mix.expertsPerToken], [run], { atol: 1e-12, rtol: 0 }, what);
      if (every === undefined) assertEquals([mix.expertsPerToken, mix.routings], [mix.experts, 1], what);
      const draws = Array.from({ length: RESAMPLES }, (_, draw) => {
        const of = drawnDocuments(documents.length, draw, SEED).flatMap((document) => rowsOf[document]);
        return Math.exp(perTokenOf(of));
      }).sort((a, b) => a - b);
      const at = (place: number) => {
        const floor = Math.floor(place);
        return draws[floor] + (place - floor) * (draws[floor + 1] - draws[floor]);
      };
      const ends = [at(0.025 * (RESAMPLES - 1)), at(0.975 * (RESAMPLES - 1))];
      assertClose([mix.low, mix.high], ends, SINGLE, `interval of ${what}`);
      const gain = 100 * (1 - Math.exp(nll - scores.mixture!.nllPerToken));
      assertClose([mix.gain.percent], [gain], { atol: 5e-3, rtol: 0 }, `gain of ${what}`);
      assertEquals(mix.gains.map(({ baseline }) => baseline), ["dense", "dense-steps"]);
    }
    const routings = sequences.map(({ length }) => 1 + Math.max(0, Math.floor((length - 1 - M) / reroute)));
    assertClose(
      mixes.slice(3).map(({ routings }) => routings),
      Array(3).fill(routings.reduce((a, b) => a + b) / rows.rows),
      { atol: 1e-12, rtol: 0 },
    );
  }
});

Deno.test("evaluate() says of one expert what it says of the mixture, of all prefixes, and nothing else than without, all to the bit", async () => {
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

Deno.test("evaluate() with the weight of one expert alone gives that expert, to the bit, for any number of experts", async () => {
  const rows = anyRows(30);
  // Weights of other experts vanish, so that all experts together are the one that routing chooses.
  const { scores, mixing } = await evaluateRows(rows, { mix: [2, 3], routingTemperature: 1e-6, reroute: 12 });
  for (const { nllPerToken, perplexity, low, high, expertsPerToken } of mixing!.mixes) {
    assertEquals({ nllPerToken, perplexity, low, high }, scores.mixture);
    assertEquals(expertsPerToken, 1);
  }
  const one = { routers: anyRouters(1), experts: [anyModel("a")] };
  const alone = await evaluateRows(rows, { ...one, mix: [1], reroute: 3 });
  const [routed, rerouted] = alone.mixing!.mixes;
  assertEquals(routed.nllPerToken, alone.scores.mixture!.nllPerToken);
  assertEquals(rerouted.nllPerToken, alone.scores.mixture!.nllPerToken);
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

/** A mixture of a golden bank; what a sequence costs is minus the logarithm of the weight that the golden values give it. */
function goldenMixture(name: string, kind: "weights" | "top2_weights") {
  const folder = new URL(`../../../fixtures/golden/${name}/`, import.meta.url);
  const read = (file: string) => JSON.parse(Deno.readTextFileSync(new URL(file, folder)));
  const { config, tokens, lengths } = read("expected.json");
  const { ensemble } = read("spans.json");
  const weights: number[][] = ensemble.weights;
  const shape = {
    vocabulary: config.vocab_size,
    hidden: config.hidden_size,
    layers: config.num_hidden_layers,
    heads: config.num_attention_heads,
    context: tokens[0].length,
  };
  const load = (expert: number | string) => {
    const path = fileURLToPath(new URL(`model-0${expert}.safetensors`, folder));
    const tensors = [...decodeSafetensors(Deno.readFileSync(path), path)];
    const own = new Map(tensors.map(([key, { values }]) => [key, values]));
    return Promise.resolve({ config: shape, weights: own, notes: {}, sha256: "" });
  };
  const rowOf = new Map(tokens.map((row: number[], i: number) => [row.slice(0, 4).join(), i]));
  const partitioner: Partitioner = {
    kind: "golden",
    experts: weights[0].length,
    sha256: "",
    prefix: 4,
    vocabulary: shape.vocabulary,
    costs: ({ tokens, sequenceLength, length }, prefixes) =>
      Promise.resolve(Float32Array.from(prefixes.flatMap(() =>
        [...length.keys()].flatMap((row) => {
          const first = tokens.subarray(row * sequenceLength, row * sequenceLength + 4);
          return weights[rowOf.get(first.join()) as number].map((weight) => -Math.log(weight));
        })
      ))),
    close() {},
  };
  const rows: Columns = {
    rows: tokens.length,
    sequence: BigUint64Array.from(lengths, (_, i) => BigInt(i)),
    document: BigUint64Array.from(lengths, (_, i) => BigInt(i)),
    source: lengths.map(() => ""),
    tokens: Uint16Array.from(tokens.flat()),
    length: Uint32Array.from(lengths),
  };
  const mixture = createMixture({
    name: (model) => `expert ${model}`,
    partitioner: () => Promise.resolve(partitioner),
    tokenizer: () => Promise.reject(new Error("an evaluation needs no tokenizer")),
    describe: load,
    load,
  }, { gpu, models: 1 });
  const lineage = { ...LINEAGE, sequenceLength: shape.context, vocabulary: shape.vocabulary };
  return { mixture, rows, lineage, weights, kept: ensemble[kind] as number[][], nll: ensemble };
}

for (const name of ["tiny", "odd"]) {
  Deno.test(`evaluate() gives the golden ensembles of ${name}, weighted and of the best two`, async () => {
    for (const kind of ["weights", "top2_weights"] as const) {
      const { mixture, rows, lineage, weights, kept, nll } = goldenMixture(name, kind);
      const size = kind === "weights" ? weights[0].length : 2;
      weights.forEach((of, row) => {
        const costs = of.map((weight) => -Math.log(weight));
        assertClose(mixingWeights(costs, size, 1), kept[row], { atol: 1e-9, rtol: 1e-9 });
      });
      for (let row = 0; row < rows.rows; row++) { // a sequence at a time: each one's own NLL is golden
        const one = Object.fromEntries(
          Object.entries(rows).map(([column, values]) => {
            if (column === "rows") return [column, 1];
            const width = column === "tokens" ? lineage.sequenceLength! : 1;
            return [column, values.slice(row * width, (row + 1) * width)];
          }),
        ) as unknown as Columns;
        const { mixing, tokens } = await evaluate({
          mixture,
          prefix: 4,
          open: () => batchesOf(one, 1, { ...lineage, tokenizer: undefined }),
          mix: [size],
          resamples: 1,
        });
        const expected: number = nll[kind === "weights" ? "nll" : "top2_nll"][row];
        const actual = mixing!.mixes[0].nllPerToken * tokens;
        assertClose([actual], [expected], { atol: 0, rtol: 1e-4 }, `row ${row} by ${kind}`);
      }
      mixture.close();
    }
  });
}

Deno.test("mixedNll() gives one expert's own bits, and follows the weights from stretch to stretch", () => {
  const logs = Float32Array.of(-0.1, -2, -3.3, -0.7, -1e-3, -40); // [3 tokens, 2 experts]
  const own = (expert: number) =>
    [0, 1, 2].reduce((sum, token) => Math.fround(sum - logs[token * 2 + expert]), 0);
  for (const expert of [0, 1]) {
    const weights = Float64Array.of(1 - expert, expert);
    assertEquals(mixedNll(logs, [{ weights, end: 3 }]), own(expert));
  }
  const [first, second, both] = [[1, 0], [0, 1], [0.25, 0.75]].map((weights) => Float64Array.from(weights));
  const stretches = [{ weights: first, end: 1 }, { weights: second, end: 2 }, { weights: both, end: 3 }];
  const last = -Math.log(0.25 * Math.exp(logs[4]) + 0.75 * Math.exp(logs[5]));
  assertClose([mixedNll(logs, stretches)], [0.1 + 0.7 + last], { atol: 1e-6, rtol: 0 });
  assertEquals(tokensRun(stretches), 3 + 3); // both answer for the last token
  assertEquals(tokensRun(stretches.slice(0, 2)), 1 + 2);
  assertEquals([mixedNll(logs, [{ weights: both, end: 0 }]), tokensRun([])], [0, 0]);
  const hopeless = Float32Array.of(-900, -1000); // whose probabilities are no f64
  assertClose([mixedNll(hopeless, [{ weights: both, end: 1 }])], [900 - Math.log(0.25)], {
    atol: 1e-4,
    rtol: 0,
  });
});

Deno.test("evaluate() refuses mixtures that cannot be, with what must hold", async () => {
  const rows = anyRows(8);
  const refusals: [Parameters<typeof evaluateRows>[1], RegExp][] = [
    [{ mix: [2, 4] }, /mix must be from 1 to the number of experts, 3: it is 4$/],
    [{ mix: [0] }, /use mix as it must be an integer from 1 to 65535: it is 0$/],
    [{ mix: [1.5] }, /it is 1.5$/],
    [{ mix: [2], routingTemperature: 0 }, /routingTemperature as it must be a number from .*: it is 0$/],
    [{ mix: [2], routingTemperature: NaN }, /routingTemperature as it must be a number from .*: it is NaN$/],
    [{ mix: [2], routingTemperature: Infinity }, /must be a number from .*: it is Infinity$/],
    [
      { routingTemperature: 2 },
      /belongs to experts that answer together: it is 2, and none do; say how many with mix$/,
    ],
    [{ mix: [1], reroute: 8, routingTemperature: 2 }, /belongs to experts that answer together: it is 2, /],
    [{ reroute: 0 }, /reroute as it must be an integer from .*: it is 0$/],
    [{ mix: [2], reroute: NaN }, /reroute as it must be an integer from .*: it is NaN$/],
  ];
  for (const [options, message] of refusals) {
    assertMatch((await assertRejects(() => evaluateRows(rows, options), InputError)).message, message);
  }
});
