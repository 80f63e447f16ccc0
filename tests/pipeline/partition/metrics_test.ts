import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  countRow,
  measureRows,
  newTally,
  normalizedMutualInformation,
  partCounts,
  partitionCounts,
  tokenImbalance,
} from "../../../pipeline/partition/metrics.ts";

const TOLERANCE = 1e-12; // a handful of logarithms and sums in f64

const twoLabelings = fc.array(
  fc.tuple(fc.integer({ min: 0, max: 3 }), fc.integer({ min: 0, max: 3 })),
  {
    minLength: 1,
    maxLength: 60,
  },
);

/** Entropy in nats of the distribution of any values. */
function entropyOf(values: unknown[]): number {
  const distinct = new Set(values);
  return [...distinct].reduce<number>((sum, value) => {
    const p = values.filter((other) => other === value).length / values.length;
    return sum - p * Math.log(p);
  }, 0);
}

Deno.test("normalizedMutualInformation() is 0 for independent labels, one label and no items, 1 for other names", () => {
  assertAlmostEquals(normalizedMutualInformation([0, 0, 1, 1], [0, 1, 0, 1]), 0, TOLERANCE);
  assertEquals(normalizedMutualInformation([0, 0, 0], [0, 1, 2]), 0);
  assertEquals(normalizedMutualInformation([0, 1, 2], ["a", "a", "a"]), 0);
  assertEquals(normalizedMutualInformation([3, 3], [4, 4]), 0);
  assertEquals(normalizedMutualInformation([], []), 0);
  assertAlmostEquals(normalizedMutualInformation([0, 1, 2, 0], ["x", "y", "z", "x"]), 1, TOLERANCE);
  assertAlmostEquals(normalizedMutualInformation([1, "1"], [0, 1]), 1, TOLERANCE);
});

Deno.test("normalizedMutualInformation() agrees with H(a) + H(b) - H(a, b) over the mean entropy", () => {
  fc.assert(fc.property(twoLabelings, (pairs) => {
    const a = pairs.map(([x]) => x);
    const b = pairs.map(([, y]) => `s${y}`);
    const [ha, hb, hab] = [entropyOf(a), entropyOf(b), entropyOf(pairs.map(String))];
    const expected = ha + hb === 0 ? 0 : (ha + hb - hab) / ((ha + hb) / 2);
    const actual = normalizedMutualInformation(a, b);
    assertAlmostEquals(actual, expected, TOLERANCE);
    assertAlmostEquals(normalizedMutualInformation(b, a), actual, TOLERANCE);
    assert(actual >= 0 && actual <= 1);
  }));
});

const NLL = Float32Array.of(4, 2, 3, 1, 5, 5, 6, 8, 6); // [3, 3]

Deno.test("measureRows() gives costs and what balancing costs per predicted token, and shares without balancing", () => {
  // Each row is counted for its lowest NLL, the lower id of equals.
  const shares = [2 / 3, 1 / 3, 0];
  assertEquals(measureRows(NLL, [2, 0, 1], 3, [5, 5, 2]), {
    nllPerToken: 1,
    regret: 3 / 12,
    shares,
  });
  assertEquals(measureRows(NLL, Uint16Array.of(1, 0, 2), 3, Uint32Array.of(1, 1, 1)), {
    nllPerToken: 3,
    regret: 0,
    shares,
  });
  assertEquals(measureRows(new Float32Array(), [], 2, []), {
    nllPerToken: 0,
    regret: 0,
    shares: [0, 0],
  });
});

Deno.test("tokenImbalance() is the largest load over the mean, less one", () => {
  assertEquals(tokenImbalance([10, 20, 30]), 0.5);
  assertEquals(tokenImbalance(Uint32Array.of(7, 7)), 0);
  assertEquals(tokenImbalance([0, 0]), 0);
  assertEquals(tokenImbalance([]), 0);
});

const ROWS = Array.from({ length: 60 }, (_, i) => ({
  expert: i * 7 % 3,
  best: i * 5 % 3,
  tokens: 10 + i % 4,
  source: ["news", "law", ""][i * i % 3],
  cost: 20 + i % 11,
  lowest: 15 + i % 5,
  predicted: 7,
}));

/** Counts the rows, of which M is known or not. */
function tallies(rows = ROWS, known = true) {
  const all = [0, 1, 2].map(newTally);
  for (const row of rows) {
    countRow(all[row.expert], { ...row, predicted: known ? row.predicted : NaN });
    all[row.best].wanted++;
  }
  return all;
}

const sum = (values: number[]) => values.reduce((total, value) => total + value, 0);

Deno.test("partCounts() are what the rows of one expert come to", () => {
  const own = ROWS.filter(({ expert }) => expert === 1);
  const { sequences, tokens, nllPerToken, sources } = partCounts(tallies()[1]);
  assertEquals([sequences, tokens], [own.length, sum(own.map(({ tokens }) => tokens))]);
  assertAlmostEquals(nllPerToken!, sum(own.map(({ cost }) => cost)) / (7 * own.length), 1e-12);
  for (const [name, counts] of Object.entries(sources)) {
    const ofSource = own.filter(({ source }) => source === name);
    assertEquals(counts, {
      sequences: ofSource.length,
      tokens: sum(ofSource.map(({ tokens }) => tokens)),
    });
  }
  assertEquals(sum(Object.values(sources).map(({ sequences }) => sequences)), own.length);
});

Deno.test("partitionCounts() are what all rows come to, by the measures of whole lists", () => {
  const counts = partitionCounts(tallies());
  assertEquals([counts.sequences, counts.tokens], [60, sum(ROWS.map(({ tokens }) => tokens))]);
  assertAlmostEquals(counts.nllPerToken!, sum(ROWS.map(({ cost }) => cost)) / 420, 1e-12);
  assertAlmostEquals(
    counts.regret!,
    sum(ROWS.map(({ cost, lowest }) => cost - lowest)) / 420,
    1e-12,
  );
  assertAlmostEquals(
    counts.nmi!,
    normalizedMutualInformation(ROWS.map(({ expert }) => expert), ROWS.map(({ source }) => source)),
    1e-12,
  );
  const loads = [0, 1, 2].map((e) =>
    sum(ROWS.filter(({ expert }) => expert === e).map(({ tokens }) => tokens))
  );
  assertAlmostEquals(counts.tokenImbalance, tokenImbalance(loads), 1e-12);
  assertEquals(
    counts.shares,
    [0, 1, 2].map((e) => ROWS.filter(({ best }) => best === e).length / 60),
  );
});

Deno.test("counts are null, not 0, where M or a second source is unknown, and 0 where there are no rows", () => {
  const unknown = partitionCounts(tallies(ROWS, false));
  assertEquals([unknown.nllPerToken, unknown.regret], [null, null]);
  assertEquals(partitionCounts(tallies(ROWS.map((row) => ({ ...row, source: "one" })))).nmi, null);
  const none = partitionCounts(tallies([]));
  assertEquals([none.sequences, none.nllPerToken, none.regret, none.shares], [0, 0, 0, [0, 0, 0]]);
});
