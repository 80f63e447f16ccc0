import { assertEquals, assertFalse, assertStringIncludes } from "@std/assert";
import type { ZeroShotResult } from "../../pipeline/evaluation/mod.ts";
import { zeroShotText } from "../../tasks/zero_shot_text.ts";

const measure = (value: number) => ({ value, low: value - 0.1, high: value + 0.1, standardError: 0.05 });
const difference = (value: number, metric: "acc" | "perplexity" = "acc") =>
  ({ baseline: "dense", metric, value, low: value - 0.1, high: value + 0.1 }) as const;
const result = (task: string, more: Partial<ZeroShotResult>): ZeroShotResult => ({
  format: 1,
  task,
  questions: 1200,
  published: 1200,
  fewShot: 0,
  routing: "context",
  prefix: 64,
  experts: 2,
  cut: 0,
  chance: 0.25,
  resamples: 1000,
  seed: 0,
  ways: {},
  differences: [],
  shares: [0.5, 0.5],
  sets: [],
  ...more,
});
const set = (name: string, value: number) => ({
  set: name,
  questions: 3,
  ways: {},
  differences: [difference(value)],
});

Deno.test("zeroShotText() tells every metric next to guessing, each difference with its verdict, and wins by task and by set", () => {
  const text = zeroShotText("runs/a", [
    result("arc_easy", {
      ways: { mixture: { acc: measure(0.5), acc_norm: measure(0.4) }, dense: { acc: measure(0.3) } },
      differences: [difference(0.2)],
    }),
    result("lambada_openai", {
      chance: null,
      ways: { mixture: { acc: measure(0.1), perplexity: measure(1234.5) }, dense: { acc: measure(0.15) } },
      differences: [difference(-0.05), difference(2, "perplexity")],
    }),
    result("mmlu", {
      ways: { mixture: { acc: measure(0.25) }, dense: { acc: measure(0.5) } },
      differences: [difference(-0.25)],
      sets: [set("a", 0.3), set("b", 0.3), set("c", 0), set("d", -0.3), set("e", 0.05)],
    }),
  ]);
  const rows = text.split("\n").map((line) => line.trim().split(/ {2,}/));
  const row = (...start: string[]) => rows.find((row) => start.every((cell, i) => row[i] === cell));
  assertEquals(row("task", "questions"), [
    ...["task", "questions", "guessing", "answered by", "acc", "95% interval", "acc_norm", "95% interval"],
    ...["perplexity", "95% interval"],
  ]);
  assertEquals(row("arc_easy", "1,200"), [
    ...["arc_easy", "1,200", "25.0%", "mixture", "50.0%", "40.0% to 60.0%", "40.0%", "30.0% to 50.0%", "-"],
  ]);
  assertEquals(row("dense"), ["dense", "30.0%", "20.0% to 40.0%", "-", "-"]);
  assertEquals(row("lambada_openai", "1,200")!.slice(2), [
    ...["-", "mixture", "10.0%", "0.0% to 20.0%", "-", "1235", "1234 to 1235"],
  ]);
  assertEquals(row("arc_easy", "acc", "dense"), [
    ...["arc_easy", "acc", "dense", "+20.0", "+10.0 to +30.0", "better"],
  ]);
  assertEquals(row("lambada_openai", "acc", "dense")!.at(-1), "equal");
  assertEquals(row("lambada_openai", "perplexity", "dense")!.slice(3), ["+2.00", "+1.90 to +2.10", "worse"]);
  assertStringIncludes(
    text,
    "mixture against dense by acc, of 3 tasks: better on 1, worse on 1, no difference beyond the interval on 1",
  );
  assertStringIncludes(
    text,
    "mixture against dense by acc, of 5 sets of mmlu: better on 2, worse on 1, no difference beyond the interval on 2",
  );
  assertStringIncludes(text, "routed by the text before the choices, 64 tokens at most; no examples");
  assertFalse(text.includes("  a  ")); // sets of a task that has many are counted alone
});
