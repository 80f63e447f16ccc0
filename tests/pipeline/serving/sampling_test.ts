import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { InputError } from "../../../kernels/errors.ts";
import {
  candidates,
  sampleToken,
  SAMPLING,
  settingsAmong,
} from "../../../pipeline/serving/sampling.ts";

/** Few distinct values, so that ties are common; steps of 1/4, so that f32 holds them. */
const logitsOf = fc.array(fc.integer({ min: -12, max: 12 }).map((value) => value / 4), {
  minLength: 1,
  maxLength: 12,
}).map((values) => Float32Array.from(values));

/** The distribution in the plainest words: every token's probability, 0 where it is left out. */
function bruteForce(
  logits: Float32Array,
  temperature: number,
  topK: number,
  topP: number,
): number[] {
  const powers = [...logits].map((logit) => Math.exp(logit / temperature));
  const better = (a: number, b: number) =>
    logits[a] > logits[b] || (logits[a] === logits[b] && a < b);
  const rank = powers.map((_, id) => powers.filter((_, other) => better(other, id)).length);
  const allowed = powers.map((power, id) => topK === 0 || rank[id] < topK ? power : 0);
  const total = allowed.reduce((a, b) => a + b);
  const kept = allowed.map((power, id) => {
    const before = allowed.filter((_, other) => rank[other] < rank[id]).reduce((a, b) => a + b, 0);
    return topP === 1 || before < topP * total ? power : 0;
  });
  const sum = kept.reduce((a, b) => a + b);
  return kept.map((power) => power / sum);
}

Deno.test("candidates() is the distribution by brute force, for any temperature, top-k and top-p", () => {
  fc.assert(
    fc.property(
      logitsOf,
      fc.constantFrom(0.3, 0.8, 1, 2.5),
      fc.integer({ min: 0, max: 13 }),
      fc.constantFrom(0.013, 0.31, 0.637, 0.951, 1),
      (logits, temperature, topK, topP) => {
        const expected = bruteForce(logits, temperature, topK, topP);
        const { ids, probabilities } = candidates(logits, { temperature, topK, topP });
        const actual = new Array(logits.length).fill(0);
        ids.forEach((id, i) => actual[id] += probabilities[i]);
        assertEquals(ids.length, expected.filter((p) => p > 0).length);
        expected.forEach((p, id) =>
          assert(Math.abs(actual[id] - p) < 1e-12, `token ${id} of ${logits}`)
        );
      },
    ),
    { numRuns: 500 },
  );
});

Deno.test("sampleToken() gives each candidate as much of [0, 1) as its probability, and never takes what has none", () => {
  const [grid, sampling] = [10_000, { temperature: 0.7, topK: 4, topP: 0.99 }];
  const logits = Float32Array.of(0.5, -1, 2, 2, 0.25);
  const { ids, probabilities } = candidates(logits, sampling);
  const counts = new Map<number, number>();
  for (let i = 0; i < grid; i++) {
    const id = sampleToken(logits, sampling, (i + 0.5) / grid);
    counts.set(id, (counts.get(id) ?? 0) + 1);
  }
  assertEquals([...counts.keys()].sort(), [...ids].sort());
  ids.forEach((id, i) =>
    assert(Math.abs(counts.get(id)! / grid - probabilities[i]) <= 1 / grid, `token ${id}`)
  );
  const some = Float32Array.of(-Infinity, 1, -Infinity, 1, -Infinity);
  for (const draw of [0, 0.49, 0.51, 1 - 2 ** -53, 1]) {
    assertEquals(sampleToken(some, { temperature: 1, topK: 0, topP: 1 }, draw), draw < 0.5 ? 1 : 3);
  }
});

Deno.test("candidates() and settingsAmong() refuse logits that are no numbers, and settings that are impossible", () => {
  for (const logit of [NaN, Infinity]) {
    const logits = Float32Array.of(1, logit);
    const text = `that of token 1 is ${logit}`;
    assertThrows(() => candidates(logits, { temperature: 1, topK: 0, topP: 1 }), InputError, text);
  }
  const cases: [wrong: Record<string, number>, text: string][] = [
    [{ temperature: NaN }, "use temperature as it must be a number from 0 to 1000: it is NaN"],
    [{ topK: 1.5 }, "topK as it must be an integer of at least 0: it is 1.5"],
    [{ topP: 0 }, "topP as it must be a number from 1e-9 to 1: it is 0"],
  ];
  for (const [wrong, text] of cases) {
    assertThrows(() => settingsAmong(SAMPLING, wrong), InputError, text);
  }
});
