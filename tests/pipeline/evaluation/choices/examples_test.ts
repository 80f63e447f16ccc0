import { assert, assertEquals, assertThrows } from "@std/assert";
import { InputError, wordText } from "../../../../kernels/errors.ts";
import { withExamples } from "../../../../pipeline/evaluation/choices/examples.ts";
import type { Question } from "../../../../pipeline/evaluation/choices/question.ts";
import { TASKS, type ZeroShotTask } from "../../../../pipeline/evaluation/choices/tasks.ts";

const TASK = TASKS.get("piqa")!;
const questions = Array.from({ length: 12 }, (_, i): Question => ({
  ...{ description: "", delimiter: " ", choices: [`right ${i}`, "wrong"], gold: 0 },
  context: `question ${i}`,
  set: i % 2 ? "odd" : "even",
}));
const shownOf = (context: string) =>
  [...context.matchAll(/question (\d+) right \1/g)].map(([, i]) => Number(i));

Deno.test("withExamples() draws other questions of the same set, each with its answer, the same each time", () => {
  const contexts = withExamples(TASK, questions, 3);
  assertEquals(withExamples(TASK, questions, 3), contexts);
  contexts.forEach((context, i) => {
    const shown = shownOf(context);
    assertEquals([shown.length, new Set(shown).size], [3, 3]);
    assert(shown.every((other) => other !== i && other % 2 === i % 2), context);
    assert(context.endsWith(`\n\nquestion ${i}`));
  });
  assert(new Set(contexts.map((context) => shownOf(context).join())).size > 6); // drawn anew for each
  assertEquals(withExamples(TASK, questions, 0), questions.map(({ context }) => context));
});

Deno.test("withExamples() takes the first ones of a pool, of the question's set", () => {
  const pool = questions.slice(4);
  const contexts = withExamples(TASK, questions.slice(0, 2), 2, pool);
  assertEquals(contexts.map(shownOf), [[4, 6], [5, 7]]);
});

Deno.test("withExamples() leaves out questions with the same text: they would say the answer", () => {
  const twice = [questions[0], { ...questions[0] }, questions[2]];
  assertEquals(shownOf(withExamples(TASK, twice, 1)[0]), [2]);
  assertThrows(
    () => withExamples(TASK, twice, 2),
    InputError,
    'there are 1 among those asked of "even" of piqa, 2 are wanted',
  );
});

Deno.test("withExamples() refuses tasks whose questions have no text, and more examples than there are", () => {
  assertThrows(() => withExamples(TASKS.get("blimp")!, questions, 1), InputError, "fewShot must be 0 for it");
  assertThrows(
    () => withExamples(TASK, questions, 6),
    InputError,
    "Cannot put examples before piqa as there must be fewShot of them: there are 5",
  );
  const remedyOf = (more: Partial<ZeroShotTask>, pool?: Question[]) => {
    const { remedy } = assertThrows(() => withExamples({ ...TASK, ...more }, questions, 6, pool), InputError);
    return wordText(remedy!);
  };
  assertEquals(remedyOf({}), "ask more with a larger limit, or put examples into piqa_few_shot.jsonl");
  assertEquals(remedyOf({ name: "of our own" }), "ask more with a larger limit");
  assertEquals(remedyOf({}, questions.slice(0, 3)), "put more into its file");
  assertThrows(() => withExamples(TASK, questions, 3, questions.slice(0, 3)), InputError, "there are 2 of");
});
