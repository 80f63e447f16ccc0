import { assertEquals } from "@std/assert";
import { outcome, setupsFor, study } from "../support.ts";

Deno.test("the study of short prompts tells of 32 tokens and fewer, and whether mixed lengths help the shortest", () => {
  const [long, short, mixed] = setupsFor("short");
  const findings = (ofMixed: number, more: Record<number, number> = {}) =>
    study("short").findings([
      outcome(long, { prefixes: { 1: 60, 2: 50, 4: 40, 32: 33, 64: 30, ...more } }),
      outcome(short, { prefixes: { 1: 60, 2: 49, 4: 38, 32: 34, 64: 33 } }),
      outcome(mixed, {
        prefixes: { 1: 60, 2: 48, 4: ofMixed, 32: 33, 64: 31 },
        reliability: [0.7, 0.4, 0.9],
      }),
    ]);
  const { claims, table } = findings(37);
  // The first run was evaluated by hand with one more length: nothing is told of that.
  assertEquals(findings(37, { 16: 35 }).table, table);
  assertEquals([claims[0].holds, claims[0].here], [
    true,
    "mixed lengths 37.00 [36.00, 38.00], 64 tokens 40.00 [39.00, 41.00]",
  ]);
  assertEquals(setupsFor("short").map(({ choices }) => choices), Array(3).fill({ routeLengths: [1, 2] }));
  assertEquals(table.head.slice(1, 6), [
    ...[
      "1 token: perplexity",
      "same expert as at the length of training",
      "2 tokens: perplexity",
      "same expert as at the length of training",
    ],
    "4 tokens: perplexity",
  ]);
  assertEquals(table.rows[2], [
    ...["trained with mixed lengths", "60.00", "75.0%", "48.00", "75.0%", "37.00", "75.0%", "33.00", "75.0%"],
    ...["70.0%", "90.0%", "40.0%"],
  ]);
  assertEquals(table.rows[0].slice(-3), [null, null, null]);
  // Routers that were trained with 8 tokens have no longer prefix of their own to go by.
  assertEquals(table.rows[1].slice(5, 9), ["38.00", "75.0%", "34.00", null]);
  assertEquals([findings(39), findings(41), findings(43)].map(({ claims }) => claims[0].holds), [
    ...[null, null, false], // intervals have a part in common, or not
  ]);
});
