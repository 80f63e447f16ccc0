import { assertEquals, assertThrows } from "@std/assert";
import { InputError } from "../../../../kernels/errors.ts";
import { listContinuations, TASKS } from "../../../../pipeline/evaluation/choices/tasks.ts";
import { GOLDEN } from "./support.ts";

Deno.test("ask() makes the requests that the harness makes of every data set's documents", () => {
  assertEquals(Object.keys(GOLDEN).sort(), [...TASKS.keys()].sort());
  for (const [name, requests] of Object.entries(GOLDEN)) {
    for (
      const { doc, context, continuations, gold, normalise_by_characters: lengths } of requests
    ) {
      const question = TASKS.get(name)!.ask(doc);
      assertEquals(question.context, context);
      assertEquals(listContinuations(question), continuations);
      assertEquals(question.gold, gold);
      if (lengths) assertEquals(question.choices.map((choice) => [...choice].length), lengths);
    }
  }
});

Deno.test("ask() removes what stands in brackets on one line, and leaves brackets without an end, however many", () => {
  const { choices } = TASKS.get("hellaswag")!.ask({
    ...GOLDEN.hellaswag[0].doc,
    endings: [
      "a [b]c] [d [e] f [g\n] h [i]\rj [k",
      "[".repeat(200_000),
      "[".repeat(200_000) + "]x",
      "d",
    ],
    label: 0,
  });
  assertEquals(choices, ["a c] f [g\n] h \rj [k", "[".repeat(200_000), "x", "d"]);
});

Deno.test("ask() names sets, and takes labels as numbers and as their texts", () => {
  const set = (name: string) => TASKS.get(name)!.ask(GOLDEN[name][0].doc).set;
  assertEquals([set("mmlu"), set("blimp"), set("piqa")], [
    "elementary_mathematics",
    "distractor_agreement_relational_noun",
    "",
  ]);
  const hellaswag = GOLDEN.hellaswag[0].doc;
  assertEquals(TASKS.get("hellaswag")!.ask({ ...hellaswag, label: 2 }).gold, 2);
  assertEquals(TASKS.get("hellaswag")!.ask({ ...hellaswag, label: "2" }).gold, 2);
});

Deno.test("ask() refuses documents whose fields are missing, of another kind, or contradict each other", () => {
  const of = (name: string, change: Record<string, unknown>) => () =>
    TASKS.get(name)!.ask({ ...GOLDEN[name][0].doc, ...change });
  const cases: [() => unknown, string][] = [
    [of("arc_easy", { question: 7 }), "question: "],
    [of("arc_easy", { choices: ["a"] }), "choices"],
    [
      of("arc_easy", { answerKey: "E" }),
      'answerKey must be one of the labels A, B, C, D: it is "E"',
    ],
    [
      of("arc_easy", { choices: { text: ["a"], label: ["A", "B"] } }),
      "there are 1 choices, 2 labels",
    ],
    [of("hellaswag", { label: "" }), "label: "],
    [of("hellaswag", { label: 4 }), "the right choice must be one of 4: it is number 4, from 0 on"],
    [of("piqa", { label: -1 }), "must be one of 2: it is number -1"],
    [of("piqa", { label: 0.5 }), "label: "],
    [of("piqa", { sol2: " " }), "no choice must be empty: number 1, from 0 on, is"],
    [of("mmlu", { choices: ["1", "2", "3"] }), "choices: "],
    [of("mmlu", { answer: "B" }), "answer: "],
    [of("sciq", { support: null }), "support: "],
    [of("lambada_openai", { text: "it ends with a space " }), "no choice must be empty"],
    [of("blimp", { sentence_bad: "" }), "no choice must be empty: number 1"],
  ];
  for (const [call, message] of cases) assertThrows(call, InputError, message);
});
