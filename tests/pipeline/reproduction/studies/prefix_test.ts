import { assertEquals } from "@std/assert";
import { outcome, setupsFor, study } from "../support.ts";

const [LONG, SHORT, MIXED] = setupsFor("prefix");

Deno.test("the study of prefixes compares routers trained with M, M/8 and mixed lengths at M/8 and at M", () => {
  assertEquals([SHORT.settings.prefix, MIXED.settings.prefixLengths], [8, [8, 16, 32, 64]]);
  const found = (long: Record<number, number>, short: Record<number, number>) =>
    study("prefix").findings([
      outcome(LONG, { prefixes: long }),
      outcome(SHORT, { prefixes: short }),
      outcome(MIXED, { prefixes: long }),
    ]);
  const { claims, table } = found({ 1: 90, 8: 35, 64: 28 }, { 1: 90, 8: 32, 64: 31 }); // one token is not told
  assertEquals(claims.map(({ holds }) => holds), [true, true, true]); // as the paper has it
  assertEquals(claims[0].here, "12.5% lower [4.0%, 6.0%]");
  assertEquals(claims[1].here, "trained with 8: 32.00 [31.00, 33.00], with 64: 35.00 [34.00, 36.00]");
  assertEquals(table.rows[1], ["trained with 8", "32.00 [31.00, 33.00]", "31.00 [30.00, 32.00]"]);
  assertEquals(found({ 8: 39.5, 64: 32 }, { 8: 42, 64: 29 }).claims.map(({ holds }) => holds), [
    false,
    false,
    false,
  ]);
  // Two mixtures whose intervals have a part in common are not told apart.
  const close = found({ 8: 33, 64: 30 }, { 8: 32, 64: 31 }).claims.slice(1);
  assertEquals(close.map(({ holds }) => holds), [null, null]);
});
