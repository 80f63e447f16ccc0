/**
 * The zero-shot tasks of the LM Evaluation Harness. Their data are read as the data sets publish them; here
 * is how a document becomes a question, and what is measured.
 */

import * as v from "valibot";
import { InputError } from "../../../kernels/errors.ts";
import { conform } from "../../run/schema.ts";
import { capitalize, strip, stripStart } from "./python_text.ts";
import type { Question } from "./question.ts";

/**
 * What is measured: how often the likeliest choice is the right one (`acc`; without choices, how often every token of the answer is
 * the likeliest), how often it is the likeliest per character (`acc_norm`), and the perplexity of the right answer.
 */
export type Metric = typeof METRICS[number];

/** All metrics, in the order in which they are shown. */
export const METRICS = ["acc", "acc_norm", "perplexity"] as const;

/** A zero-shot task, without its data. */
export interface ZeroShotTask {
  /** Its name: that of its data file, its results and its stage. */
  name: string;
  /** What it asks, in a few words. */
  about: string;
  /** What is measured. */
  metrics: readonly Metric[];
  /** What has equal weight: every question, or every set, whatever its number of questions. */
  alike: "questions" | "sets";
  /** Whether examples may stand before a question. */
  examples: boolean;
}

/** A task whose questions a data set publishes. */
export interface ChoiceTask extends ZeroShotTask {
  /** Makes a question of a document with the data set's own fields. Throws an `InputError` that names the field that is wrong. */
  ask(document: Record<string, unknown>): Question;
}

const CHOICES = ["acc", "acc_norm"] as const;
const text = v.string();
/** Reads a whole number, or the text of one: data sets contain both. */
const index = v.pipe(
  v.union([v.number(), v.pipe(v.string(), v.regex(/^\d+$/), v.transform(Number))]),
  v.safeInteger(),
);

/** Makes a task from the schema of its documents and a function that turns one into a question. */
function define<Document>(
  { schema, question, ...task }:
    & ZeroShotTask
    & {
      schema: v.GenericSchema<unknown, Document>;
      question: (document: Document) => Pick<Question, "context" | "choices" | "gold"> & Partial<Question>;
    },
): ChoiceTask {
  return {
    ...task,
    ask: (document) =>
      checkQuestion({ description: "", delimiter: " ", set: "", ...question(conform(schema, document)) }),
  };
}

/** Throws an `InputError` where a choice is empty or the right one is none of them. */
function checkQuestion(question: Question): Question {
  const { choices, gold } = question;
  if (!Number.isSafeInteger(gold) || gold < 0 || gold >= choices.length) {
    throw new InputError(
      `the right choice must be one of ${choices.length}: it is number ${gold}, from 0 on`,
    );
  }
  const empty = choices.findIndex((choice) => strip(choice) === "");
  if (empty >= 0) throw new InputError(`no choice must be empty: number ${empty}, from 0 on, is`);
  return question;
}

const ARC = v.object({
  question: text,
  choices: v.object({ text: v.array(text), label: v.array(text) }),
  answerKey: text,
});

const arc = (name: string, about: string) =>
  define({
    ...{ name, about, metrics: CHOICES, alike: "questions", examples: true, schema: ARC },
    question({ question, choices: { text, label }, answerKey }) {
      if (label.length !== text.length) {
        throw new InputError(
          `every choice must have a label: there are ${text.length} choices, ${label.length} labels`,
        );
      }
      const gold = label.indexOf(answerKey);
      if (gold < 0) {
        throw new InputError(`answerKey must be one of the labels ${label.join(", ")}: it is "${answerKey}"`);
      }
      return { context: `Question: ${question}\nAnswer:`, choices: text, gold };
    },
  });

/** Removes the marks of steps from instructions. */
function withoutMarks(text: string): string {
  return strip(text).replaceAll(" [title]", ". ").replace(/.+/g, withoutBrackets).replaceAll("  ", " ");
}

/** Removes what stands in brackets from a line. Behind its last "]" the search would take quadratic time to find nothing. */
function withoutBrackets(line: string): string {
  const end = line.lastIndexOf("]") + 1;
  return line.slice(0, end).replace(/\[.*?\]/g, "") + line.slice(end);
}

const LETTERS = ["A", "B", "C", "D"];

/** The tasks of the harness, by name. */
export const TASKS: ReadonlyMap<string, ChoiceTask> = new Map(
  [
    arc("arc_easy", "school science, questions that are easily looked up (ARC)"),
    arc("arc_challenge", "school science, questions that are not (ARC)"),
    define({
      name: "hellaswag",
      about: "what happens next in a scene of everyday life",
      ...{ metrics: CHOICES, alike: "questions", examples: true },
      schema: v.object({
        activity_label: text,
        ctx_a: text,
        ctx_b: text,
        endings: v.array(text),
        label: index,
      }),
      question: ({ activity_label, ctx_a, ctx_b, endings, label }) => ({
        context: withoutMarks(`${activity_label}: ${ctx_a} ${capitalize(ctx_b)}`),
        choices: endings.map(withoutMarks),
        gold: label,
      }),
    }),
    define({
      name: "sciq",
      about: "science, with a text that says the answer",
      ...{ metrics: CHOICES, alike: "questions", examples: true },
      schema: v.object({
        question: text,
        distractor1: text,
        distractor2: text,
        distractor3: text,
        correct_answer: text,
        support: text,
      }),
      question: ({ question, support, distractor1, distractor2, distractor3, correct_answer }) => ({
        context: `${stripStart(support)}\nQuestion: ${question}\nAnswer:`,
        choices: [distractor1, distractor2, distractor3, correct_answer],
        gold: 3,
      }),
    }),
    define({
      name: "piqa",
      about: "which of two ways to do something works",
      ...{ metrics: CHOICES, alike: "questions", examples: true },
      schema: v.object({ goal: text, sol1: text, sol2: text, label: index }),
      question: ({ goal, sol1, sol2, label }) => ({
        context: `Question: ${goal}\nAnswer:`,
        choices: [sol1, sol2],
        gold: label,
      }),
    }),
    define({
      name: "mmlu",
      about: "exams in 57 subjects",
      ...{ metrics: ["acc"], alike: "questions", examples: true },
      schema: v.object({
        question: text,
        choices: v.pipe(v.array(text), v.length(LETTERS.length)),
        answer: index,
        subject: text,
      }),
      question({ question, choices, answer, subject }) {
        const about = subject.replaceAll("_", " ");
        const listed = choices.map((choice, i) => `${LETTERS[i]}. ${choice}\n`);
        return {
          description: `The following are multiple choice questions (with answers) about ${about}.\n\n`,
          context: `${strip(question)}\n${listed.join("")}Answer:`,
          choices: LETTERS,
          gold: answer,
          set: subject,
        };
      },
    }),
    define({
      name: "lambada_openai",
      about: "the last word of a passage",
      ...{ metrics: ["acc", "perplexity"], alike: "questions", examples: true },
      schema: v.object({ text }),
      question({ text }) {
        const words = text.split(" ");
        return { context: words.slice(0, -1).join(" "), choices: words.slice(-1), gold: 0 };
      },
    }),
    define({
      name: "blimp",
      about: "which of two sentences is grammatical, in 67 sets",
      ...{ metrics: ["acc"], alike: "sets", examples: false },
      schema: v.object({ sentence_good: text, sentence_bad: text, UID: text }),
      question: ({ sentence_good, sentence_bad, UID }) => ({
        context: "",
        choices: [sentence_good, sentence_bad],
        gold: 0,
        set: UID,
      }),
    }),
  ].map((task) => [task.name, task]),
);
