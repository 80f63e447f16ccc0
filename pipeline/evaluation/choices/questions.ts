/**
 * From the data of a zero-shot task to the tokens that are scored. Data sets lie in a folder as
 * they are published: `TASK.jsonl` or `TASK.parquet`.
 *
 * Questions become tokens as the LM Evaluation Harness makes them. Spaces at the end of a context
 * move to its continuations. Context and continuation are encoded as one text; the continuation is
 * what follows as many tokens as the context has when it is encoded alone. A context without a
 * token becomes EOS. Only the last S + 1 tokens are kept; the last one of these is only predicted.
 */

import { InputError } from "../../../kernels/errors.ts";
import { joinTokens } from "../../rows/columns.ts";
import { exists, unreadable } from "../../graph/files.ts";
import { readRecords } from "../../text/readers.ts";
import type { Tokenizer } from "../../text/tokenizer.ts";
import { type ChoiceTask, listContinuations, type Question } from "./tasks.ts";

/** Finds the file of a task's questions in a folder: JSON lines, else Parquet. */
export async function findData(folder: string, name: string): Promise<string | undefined> {
  for (const path of ["jsonl", "parquet"].map((ending) => `${folder}/${name}.${ending}`)) {
    if (await exists(path)) return path;
  }
}

/**
 * Reads the questions of a file. Throws an `InputError` with line or row where a question lacks a
 * field or has an empty choice. Also where it names a right choice that it does not have, and where
 * there is no question.
 */
export async function readQuestions(path: string, task: ChoiceTask): Promise<Question[]> {
  const questions: Question[] = [];
  for await (const { record, place } of readRecords(path)) {
    try {
      questions.push(task.ask(record));
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
      throw unreadable(place, `it must be a question of ${task.name}`, error.message, {
        cause: error,
      });
    }
  }
  if (questions.length > 0) return questions;
  throw unreadable(`"${path}"`, `it must hold questions of ${task.name}`, "it holds none", {
    where: path,
  });
}

/** A question in tokens, cut to the length that a model reads. */
export interface EncodedPrompt {
  /** Tokens of the context that all continuations share: a prompt is routed by them. */
  context: Uint32Array;
  /** Context and continuation for each choice. */
  choices: { context: Uint32Array; continuation: Uint32Array }[];
  /** Whether a choice lost tokens at the left. */
  cut: boolean;
}

/** Gives context and continuation of each choice as one text. */
const listTexts = (question: Question): string[] =>
  listContinuations(question).map((continuation) => question.context + continuation);

/**
 * Encodes questions for models with a context of S tokens. Throws an `InputError` where a choice
 * has no token, or more than S.
 */
export async function encodeQuestions(
  tokenizer: Tokenizer,
  questions: readonly Question[],
  longest: number,
): Promise<EncodedPrompt[]> {
  const encoded: EncodedPrompt[] = [];
  for (const [i, question] of questions.entries()) {
    const trimmed = question.context.trimEnd();
    const texts = [trimmed, ...listTexts(question)];
    const [context, ...wholes] = (await tokenizer.encode(texts))
      .map((ids) => trimmed === "" ? joinTokens([Uint32Array.of(tokenizer.eos), ids]) : ids);
    // Lost at the left.
    const most = Math.max(0, ...wholes.map(({ length }) => length - longest - 1));
    const choices = wholes.map((whole) => {
      const continuation = whole.slice(context.length);
      const { length } = continuation;
      if (length > 0 && length <= longest) {
        return {
          context: whole.slice(Math.max(0, whole.length - longest - 1), context.length),
          continuation,
        };
      }
      const rule = `each of its choices must have 1 to ${longest} tokens: one has ${length}`;
      throw new InputError(`Cannot ask question ${i + 1} as ${rule}`);
    });
    encoded.push({ context: context.subarray(most), choices, cut: most > 0 });
  }
  return encoded;
}

/** Leaves out questions of which a model of a context of S tokens cannot read all. */
export async function fittingQuestions(
  tokenizer: Tokenizer,
  questions: readonly Question[],
  longest: number,
): Promise<Question[]> {
  const fitting: Question[] = [];
  for (const question of questions) {
    const ids = await tokenizer.encode(listTexts(question));
    if (ids.every(({ length }) => length <= longest + 1)) fitting.push(question);
  }
  return fitting;
}
