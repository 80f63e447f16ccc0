/**
 * The zero-shot tasks of the LM Evaluation Harness, a row each: the fields of a document as its
 * data set publishes them, the prompt and the choices that are made of them, and what is measured.
 * All other tasks go through the harness itself, over `serve`.
 */

import * as v from "valibot";
import { ensure } from "../../../kernels/errors.ts";
import { conform } from "../../graph/schema.ts";

/** A question: a text, and what may follow it. */
export interface Question {
  /** The text that the choices follow; "" for none. */
  context: string;
  /** The choices. A task without choices has only the right answer. */
  choices: readonly string[];
  /** Text between context and choice. */
  delimiter: string;
  /** Index of the right choice. */
  gold: number;
  /** The set of the task that it belongs to, such as a subject; "" where there are none. */
  set: string;
  /** The document that it was made of, where several questions are made of one. */
  document?: number;
}

/** Gives the text that follows the context: the separator and a choice. */
export function listContinuations({ choices, delimiter }: Question): string[] {
  return choices.map((choice) => delimiter + choice);
}

/** All metrics, in the order in which they are shown. */
export const METRICS = ["acc", "acc_norm", "perplexity"] as const;

/**
 * What is measured. `acc`: how often the likeliest choice is the right one; without choices, how
 * often every token of the answer is the likeliest. `acc_norm`: how often the right choice is the
 * likeliest per character. `perplexity`: that of the right answer.
 */
export type Metric = typeof METRICS[number];

/** A zero-shot task, without its data. */
export interface ZeroShotTask {
  /** Its name: that of its data file, its results and its stage. */
  name: string;
  /** What is measured. */
  metrics: readonly Metric[];
  /** What has equal weight: every question, or every set, whatever its number of questions. */
  alike: "questions" | "sets";
}

/** A task whose questions a data set publishes. */
export interface ChoiceTask extends ZeroShotTask {
  /**
   * Makes a question of a document with the data set's own fields. Throws an `InputError` that
   * names the field that is wrong.
   */
  ask(document: Record<string, unknown>): Question;
}

/** Makes a task of the fields of its documents, and a function that makes a question of one. */
function task<Fields extends v.ObjectEntries>(
  fields: Fields,
  ask: (document: v.InferOutput<v.ObjectSchema<Fields, undefined>>) => Partial<Question>,
  options: Partial<ZeroShotTask> = {},
): Omit<ChoiceTask, "name"> {
  return {
    metrics: ["acc", "acc_norm"],
    alike: "questions",
    ...options,
    ask: (document) => makeQuestion(ask(conform(v.object(fields), document))),
  };
}

/**
 * Makes a question. Throws an `InputError` where a choice is empty or the right one is none of
 * them.
 */
function makeQuestion(
  { context = "", choices = [], gold = 0, delimiter = " ", set = "" }: Partial<Question>,
): Question {
  const fact = `it is number ${gold}, from 0 on`;
  ensure(gold in choices, `the right choice must be one of ${choices.length}: ${fact}`);
  const empty = choices.findIndex((choice) => choice.trim() === "");
  ensure(empty < 0, `no choice must be empty: number ${empty}, from 0 on, is`);
  return { context, choices, delimiter, gold, set };
}

const text = v.string();
/** Reads a whole number, or the text of one: data sets contain both. */
const index = v.pipe(
  v.union([v.number(), v.pipe(text, v.regex(/^\d+$/), v.transform(Number))]),
  v.safeInteger(),
);

/** The form of ARC, SciQ and PIQA. */
const answering = (question: string) => `Question: ${question}\nAnswer:`;

const arc = task(
  {
    question: text,
    choices: v.object({ text: v.array(text), label: v.array(text) }),
    answerKey: text,
  },
  ({ question, choices: { text, label }, answerKey }) => {
    const fact = `there are ${text.length} choices, ${label.length} labels`;
    ensure(label.length === text.length, `every choice must have a label: ${fact}`);
    const gold = label.indexOf(answerKey);
    ensure(
      gold >= 0,
      `answerKey must be one of the labels ${label.join(", ")}: it is "${answerKey}"`,
    );
    return { context: answering(question), choices: text, gold };
  },
);

/** Removes the marks of steps from instructions. */
const withoutMarks = (text: string): string =>
  text.trim().replaceAll(" [title]", ". ").replace(/.+/g, withoutBrackets).replaceAll("  ", " ");

/**
 * Removes what stands in brackets from a line. Behind its last "]" the search would take quadratic
 * time to find nothing.
 */
function withoutBrackets(line: string): string {
  const end = line.lastIndexOf("]") + 1;
  return line.slice(0, end).replace(/\[.*?\]/g, "") + line.slice(end);
}

const capitalize = ([first = "", ...letters]: string) =>
  first.toUpperCase() + letters.join("").toLowerCase();

const LETTERS = ["A", "B", "C", "D"];

const TABLE = {
  arc_easy: arc, // school science: questions that are easily looked up
  arc_challenge: arc, // and those that are not
  hellaswag: task( // what happens next in a scene of everyday life
    { activity_label: text, ctx_a: text, ctx_b: text, endings: v.array(text), label: index },
    ({ activity_label, ctx_a, ctx_b, endings, label }) => ({
      context: withoutMarks(`${activity_label}: ${ctx_a} ${capitalize(ctx_b)}`),
      choices: endings.map(withoutMarks),
      gold: label,
    }),
  ),
  sciq: task( // science, with a text that says the answer
    v.entriesFromList(
      ["question", "support", "correct_answer", "distractor1", "distractor2", "distractor3"],
      text,
    ),
    ({ question, support, distractor1, distractor2, distractor3, correct_answer }) => ({
      context: `${support.trimStart()}\n${answering(question)}`,
      choices: [distractor1, distractor2, distractor3, correct_answer],
      gold: 3,
    }),
  ),
  piqa: task( // which of two ways to do something works
    { goal: text, sol1: text, sol2: text, label: index },
    ({ goal, sol1, sol2, label }) => ({
      context: answering(goal),
      choices: [sol1, sol2],
      gold: label,
    }),
  ),
  mmlu: task( // exams in 57 subjects
    { question: text, choices: v.pipe(v.array(text), v.length(4)), answer: index, subject: text },
    ({ question, choices, answer, subject }) => {
      const topic = subject.replaceAll("_", " ");
      const listed = choices.map((choice, i) => `${LETTERS[i]}. ${choice}`);
      return {
        context: [
          `The following are multiple choice questions (with answers) about ${topic}.\n`,
          question.trim(),
          ...listed,
          "Answer:",
        ].join("\n"),
        choices: LETTERS,
        gold: answer,
        set: subject,
      };
    },
    { metrics: ["acc"] },
  ),
  lambada_openai: task( // the last word of a passage
    { text },
    ({ text }) => {
      const words = text.split(" ");
      return { context: words.slice(0, -1).join(" "), choices: words.slice(-1) };
    },
    { metrics: ["acc", "perplexity"] },
  ),
  blimp: task( // which of two sentences is grammatical, in 67 sets
    { sentence_good: text, sentence_bad: text, UID: text },
    ({ sentence_good, sentence_bad, UID }) => ({
      choices: [sentence_good, sentence_bad],
      set: UID,
    }),
    { metrics: ["acc"], alike: "sets" },
  ),
};

/** The tasks of the harness, by name. */
export const TASKS: ReadonlyMap<string, ChoiceTask> = new Map(
  Object.entries(TABLE).map(([name, task]) => [name, { name, ...task }]),
);
