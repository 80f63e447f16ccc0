import { assertAlmostEquals, assertEquals } from "@std/assert";
import { countRow, newTally, partCounts, partitionCounts } from "../../../pipeline/partition/counts.ts";
import { normalizedMutualInformation, tokenImbalance } from "../../../pipeline/partition/metrics.ts";

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
    assertEquals(counts, { sequences: ofSource.length, tokens: sum(ofSource.map(({ tokens }) => tokens)) });
  }
  assertEquals(sum(Object.values(sources).map(({ sequences }) => sequences)), own.length);
});

Deno.test("partitionCounts() are what all rows come to, by the measures of whole lists", () => {
  const counts = partitionCounts(tallies());
  assertEquals([counts.sequences, counts.tokens], [60, sum(ROWS.map(({ tokens }) => tokens))]);
  assertAlmostEquals(counts.nllPerToken!, sum(ROWS.map(({ cost }) => cost)) / 420, 1e-12);
  assertAlmostEquals(counts.regret!, sum(ROWS.map(({ cost, lowest }) => cost - lowest)) / 420, 1e-12);
  assertAlmostEquals(
    counts.nmi!,
    normalizedMutualInformation(ROWS.map(({ expert }) => expert), ROWS.map(({ source }) => source)),
    1e-12,
  );
  const loads = [0, 1, 2].map((e) =>
    sum(ROWS.filter(({ expert }) => expert === e).map(({ tokens }) => tokens))
  );
  assertAlmostEquals(counts.tokenImbalance, tokenImbalance(loads), 1e-12);
  assertEquals(counts.shares, [0, 1, 2].map((e) => ROWS.filter(({ best }) => best === e).length / 60));
});

Deno.test("counts are null, not 0, where M or a second source is unknown, and 0 where there are no rows", () => {
  const unknown = partitionCounts(tallies(ROWS, false));
  assertEquals([unknown.nllPerToken, unknown.regret], [null, null]);
  assertEquals(partitionCounts(tallies(ROWS.map((row) => ({ ...row, source: "one" })))).nmi, null);
  const none = partitionCounts(tallies([]));
  assertEquals([none.sequences, none.nllPerToken, none.regret, none.shares], [0, 0, 0, [0, 0, 0]]);
});
