import { assertEquals } from "@std/assert";
import { outcome, setupsFor, study } from "./support.ts";

Deno.test("the study of short prompts tells of 32 tokens and fewer, and whether mixed lengths help the shortest", () => {
  const [long, short, mixed] = setupsFor("short");
  const findings = (ofMixed: number) =>
    study("short").findings([
      outcome(long, { prefixes: { 4: 40, 32: 33, 64: 30 } }),
      outcome(short, { prefixes: { 4: 38, 32: 34, 64: 33 } }),
      outcome(mixed, { prefixes: { 4: ofMixed, 32: 33, 64: 31 } }),
    ]);
  const { claims, table } = findings(37);
  assertEquals([claims[0].holds, claims[0].here], [true, "37.00 and 40.00"]);
  assertEquals(table.rows[2], ["trained with mixed lengths", "37.00", "75.0%", "33.00", "75.0%"]);
  assertEquals(findings(41).claims[0].holds, false);
});
