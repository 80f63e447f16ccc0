import { assertEquals, assertStringIncludes } from "@std/assert";
import { outcome, setupsFor, study } from "../support.ts";

const [SETUP] = setupsFor("segments");

Deno.test("the study of segments names the expert that is behind, with its text, and the smallest share", () => {
  const { findings } = study("segments");
  const all = findings([
    outcome(SETUP, { segments: [[30, 40, 36, 0.4], [20, 25, 19, 0.3], [9, 10, 9, 0.2], [9, 12, 9, 0.1]] }),
  ]);
  assertEquals(all.claims.map(({ holds }) => holds), [true, true]);
  assertStringIncludes(all.claims[0].here, "all 4, the least by 10.0%");
  assertEquals(all.claims[1].here, "0.40 to 1.60 equal shares");
  assertEquals(all.table.rows[1].slice(-2), ["20.0%", "-5.3%"]);
  const behind = findings([outcome(SETUP, { segments: [[30, 40, 36, 0.95], [22, 20, 19, 0.05]] })]);
  assertEquals(behind.claims.map(({ holds }) => holds), [false, false]);
  assertStringIncludes(behind.claims[0].here, "expert 1 (trained on kind 1 90%, other 10%) is 10.0% behind");
  // An expert that gets nothing beats nobody.
  const whole = outcome(SETUP, { segments: [[30, 40, 36, 1], [9, 10, 9, 0]] });
  Object.assign(whole.evaluation.segments[1], {
    tokens: 0,
    sequences: 0,
    perplexity: { mixture: null, dense: null },
  });
  const silent = findings([whole]);
  assertEquals(silent.claims.map(({ holds }) => holds), [false, false]);
  assertEquals(silent.claims[0].here, "4 experts, expert 1 (trained on kind 1 90%, other 10%) gets no text");
  assertEquals(silent.table.rows[1].slice(-3), [null, null, null]);
  // Nor is one ahead of a model that is not there. Two kinds are named, more of a tenth each, and none without labels.
  const alone = outcome(SETUP, { segments: [[30, 40, 36, 1]] });
  Object.assign(alone.evaluation.segments[0].perplexity, { dense: undefined });
  for (
    const [sources, told] of [
      [{ some: 95, few: 4, fewest: 1 }, " (trained on some 95%, few 4%)"],
      [{ a: 30, b: 20, c: 11, d: 9, e: 9, f: 9, g: 9 }, " (trained on a 30%, b 20%, c 11%)"],
      [{ a: 17, b: 17, c: 17, d: 17, e: 16, f: 16 }, " (trained on a 17%, b 17%, c 17%, d 17%)"],
      [{ "": 100 }, ""],
    ] as const
  ) {
    Object.assign(alone.partition.experts[0], { sources });
    assertEquals(findings([alone]).claims[0].here, `4 experts, expert 0${told} has no such model beside it`);
  }
  // The plot shows the models of this study, whatever another one has trained beside them.
  Object.assign(whole.evaluation.scores, { switch: whole.evaluation.scores.dense });
  const names = (models: typeof SETUP.models) =>
    findings([{ ...whole, setup: { ...SETUP, models } }]).plots[0].table.head.slice(4);
  assertEquals(names(SETUP.models).length, 3);
  assertEquals(names([...SETUP.models, "switch"]).length, 4);
});
