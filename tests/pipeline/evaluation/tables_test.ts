import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import type { Baseline } from "../../../pipeline/evaluation/baselines.ts";
import type { Kept, Routed } from "../../../pipeline/evaluation/routes.ts";
import { createTables, figuresOf, summarize } from "../../../pipeline/evaluation/tables.ts";

const PREFIXES = [4, 6, 12];
const E = 2;
const SOURCES = ["sea", "code"];
const BASELINES: Baseline[] = ["dense"];
const NAMES = [...PREFIXES, "random", "oracle", "dense"];

/** One sequence: all that is kept of it, and its NLL in every column. */
const ROWS = Array.from({ length: 12 }, (_, row) => ({
  document: Math.floor(row / 3),
  source: Math.floor(row / 6),
  predicted: 5 + row % 4,
  routes: [row % 2, Number(row > 3), Number(row > 7)],
  nll: NAMES.map((_, column) => 10 + row * (column + 1) % 7),
}));

/** The rows in blocks. */
function routedOf(sizes: number[]): Routed {
  let before = 0;
  const blocks = sizes.map((size): Kept => {
    const rows = ROWS.slice(before, before += size);
    return {
      rows: size,
      document: Uint32Array.from(rows, ({ document }) => document),
      source: Uint32Array.from(rows, ({ source }) => source),
      predicted: Uint32Array.from(rows, ({ predicted }) => predicted),
      routes: Uint16Array.from(rows.flatMap(({ routes }) => routes)),
      margin: new Float64Array(size),
      nll: new Float32Array(size * E),
    };
  });
  return {
    sequenceLength: 12,
    prefixes: PREFIXES,
    blocks,
    documents: 4,
    ids: [0n, 1n, 2n, 3n],
    sources: SOURCES,
    documentsOf: [2, 2],
    unknown: 0,
  };
}

/** Fills tables with the rows. */
function fill(sizes = [12]) {
  const routed = routedOf(sizes);
  const tables = createTables(routed, { prefix: 6, experts: E, baselines: BASELINES });
  let row = 0;
  for (const block of routed.blocks) {
    for (let own = 0; own < block.rows; own++, row++) {
      ROWS[row].nll.forEach((nll, column) => tables.add(block, own, column, nll));
    }
  }
  return { routed, tables };
}

type Row = typeof ROWS[number];
const sum = (values: number[]) => values.reduce((total, value) => total + value, 0);
const perToken = (rows: Row[], column: number) =>
  sum(rows.map(({ nll }) => nll[column])) / sum(rows.map(({ predicted }) => predicted));

Deno.test("createTables() sums up by document, source and chosen expert, however rows come in blocks", () => {
  const { tables } = fill();
  assertEquals(tables.columns, { mixture: 1, random: 3, oracle: 4, dense: 5 });
  const kinds = [
    [tables.byDocument, 4, ({ document }: Row) => document],
    [tables.bySource, 2, ({ source }: Row) => source],
    [tables.bySegment, E, ({ routes }: Row) => routes[1]],
  ] as const;
  for (const [sums, count, kindOf] of kinds) {
    for (let kind = 0; kind < count; kind++) {
      const own = ROWS.filter((row) => kindOf(row) === kind);
      assertEquals(sums.sequences[kind], own.length);
      assertEquals(sums.tokens[kind], sum(own.map(({ predicted }) => predicted)));
      const nlls = NAMES.map((_, column) => sum(own.map(({ nll }) => nll[column])));
      assertEquals([...sums.nll.slice(kind * tables.width, (kind + 1) * tables.width)], nlls);
    }
  }
  const { add: _, ...whole } = tables;
  const { add: __, ...parts } = fill([5, 1, 6]).tables;
  assertEquals(parts, whole);
});

Deno.test("summarize() says perplexities, gains and shares of what the tables hold", () => {
  const { routed, tables } = fill();
  const draws = Float64Array.from({ length: 3 * tables.width }, (_, i) => 1 + (i * 5 % 7) / 10);
  const { scores, gains, sources, segments, prefixes } = summarize(
    routed,
    tables,
    figuresOf(tables, draws),
  );
  for (const [way, column] of Object.entries({ mixture: 1, random: 3, oracle: 4, dense: 5 })) {
    const { nllPerToken, perplexity, low, high } = scores[way as "mixture"]!;
    assertAlmostEquals(nllPerToken, perToken(ROWS, column), 1e-12);
    assertAlmostEquals(perplexity, Math.exp(nllPerToken), 1e-9);
    const own = [0, 1, 2].map((draw) => Math.exp(draws[draw * tables.width + column]));
    assert(low >= Math.min(...own) && high <= Math.max(...own) && low <= high, way);
  }
  assertEquals(gains.map(({ baseline }) => baseline), BASELINES);
  const ratio = Math.exp(perToken(ROWS, 1)) / Math.exp(perToken(ROWS, 5));
  assertAlmostEquals(gains[0].percent, 100 * (1 - ratio), 1e-9);

  assertEquals(sources.map(({ source }) => source), ["code", "sea"], "by label, not by number");
  const ofCode = ROWS.filter(({ source }) => source === 1);
  assertAlmostEquals(sources[0].perplexity.dense!, Math.exp(perToken(ofCode, 5)), 1e-9);
  assertEquals(sources[0].shares, [0, 1], "M sends all of it to expert 1");
  assertEquals(segments.map(({ share }) => share), [4 / 12, 8 / 12]);
  const ofSecond = ROWS.filter(({ routes }) => routes[1] === 1);
  assertAlmostEquals(segments[1].perplexity.mixture!, Math.exp(perToken(ofSecond, 1)), 1e-9);
  prefixes.forEach(({ prefix, perplexity, agreement }, column) => {
    assertEquals(prefix, PREFIXES[column]);
    assertAlmostEquals(perplexity, Math.exp(perToken(ROWS, column)), 1e-9);
    assertAlmostEquals(
      agreement,
      ROWS.filter(({ routes }) => routes[column] === routes[1]).length / 12,
      1e-12,
    );
  });
});

Deno.test("summarize() gives no perplexity of an expert to which nothing goes", () => {
  const { routed } = fill();
  const tables = createTables(routed, { prefix: 6, experts: 3, baselines: BASELINES });
  const { segments } = summarize(routed, tables, figuresOf(tables, new Float64Array(tables.width)));
  assertEquals([segments[2].sequences, segments[2].perplexity.mixture], [0, null]);
});
