/** Chooses the examples that stand before a question. */

import { InputError, say, setting } from "../../../kernels/errors.ts";
import { indexOfText, randomBits } from "../../random.ts";
import { TASKS, type ZeroShotTask } from "./tasks.ts";
import { contextOf, type Question } from "./question.ts";

/**
 * Gives each question the text before its choices, which begins with `count` examples. If there is a pool,
 * these are its first ones from the set of the question. Otherwise they are others of the questions that are asked,
 * drawn anew for each by its text. Throws an `InputError` where the task takes no examples, or there are too few.
 */
export function withExamples(
  task: ZeroShotTask,
  questions: readonly Question[],
  count: number,
  pool?: readonly Question[],
): string[] {
  if (count === 0) return questions.map((question) => contextOf(question));
  if (!task.examples) {
    throw new InputError(
      say`Cannot put examples before ${task.name} as ${
        setting("fewShot")
      } must be 0 for it, as its questions have no text: it is ${count}`,
    );
  }
  const bySet = Map.groupBy((pool ?? questions).keys(), (i) => (pool ?? questions)[i].set);
  return questions.map((question, at) => {
    const known = bySet.get(question.set) ?? [];
    const others = pool ? known.slice(0, count).map((i) => pool[i]) : draw(question, at, known);
    if (others.length === count) return contextOf(question, others);
    const whose = question.set === "" ? task.name : `"${question.set}" of ${task.name}`;
    const from = pool ? "" : "among those asked ";
    const file = TASKS.has(task.name) ? `, or put examples into ${task.name}_few_shot.jsonl` : "";
    throw new InputError(
      say`Cannot put examples before ${task.name} as there must be ${
        setting("fewShot")
      } of them: there are ${others.length} ${from}of ${whose}, ${count} are wanted`,
      { remedy: pool ? "put more into its file" : say`ask more with a larger ${setting("limit")}${file}` },
    );
  });

  /** Draws other questions. Those with the same context are left out, as they would give the answer away. */
  function draw(question: Question, at: number, known: readonly number[]): Question[] {
    const seed = Number(indexOfText(question.context) % 2n ** 52n);
    const drawn: Question[] = [];
    for (let i = 0; drawn.length < Math.min(count, known.length) && i < 20 * count; i++) {
      const other = known[Number(randomBits(seed, "few-shot examples", i) % BigInt(known.length))];
      const example = questions[other];
      if (other === at || example.context === question.context || drawn.includes(example)) continue;
      drawn.push(example);
    }
    return drawn;
  }
}
