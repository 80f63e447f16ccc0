/**
 * From the data of a zero-shot task to the tokens that are scored. Data sets lie in a folder as
 * they are published: `TASK.jsonl` or `TASK.parquet`; examples may come from `TASK_few_shot.jsonl`
 * or `.parquet` next to it.
 *
 * Examples and questions become tokens as the LM Evaluation Harness makes them. Spaces at the end
 * of a context move to its continuations. Context and continuation are encoded as one text; the
 * continuation is what follows as many tokens as the context has when it is encoded alone. A
 * context without a token becomes EOS. Only the last S + 1 tokens are kept; the last one of these
 * is only predicted.
 */

import { ensure, InputError, say, setting } from "../../../kernels/errors.ts";
import { indexOfText, randomBits } from "../../random.ts";
import { joinTokens } from "../../rows/columns.ts";
import { exists, unreadable } from "../../graph/files.ts";
import { readRecords } from "../../text/readers.ts";
import type { Tokenizer } from "../../text/tokenizer.ts";
import { type ChoiceTask, listContinuations, type Question, TASKS, writeContext } from "./tasks.ts";

/**
 * Finds the questions of a task in a folder, or what examples are taken from (`TASK_few_shot`):
 * JSON lines, else Parquet.
 */
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

/**
 * Encodes questions for models with a context of S tokens. `contexts` are the texts before their
 * choices, examples included. Throws an `InputError` where a choice has no token, or more than S.
 */
export async function encodeQuestions(
  tokenizer: Tokenizer,
  questions: readonly Question[],
  contexts: readonly string[],
  longest: number,
): Promise<EncodedPrompt[]> {
  const encoded: EncodedPrompt[] = [];
  for (const [i, question] of questions.entries()) {
    const before = contexts[i].trimEnd();
    const texts = [before, ...listContinuations(question).map((choice) => contexts[i] + choice)];
    const [context, ...wholes] = (await tokenizer.encode(texts))
      .map((ids) => before === "" ? joinTokens([Uint32Array.of(tokenizer.eos), ids]) : ids);
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
    const texts = listContinuations(question).map((choice) => question.context + choice);
    const ids = await tokenizer.encode(texts);
    if (ids.every(({ length }) => length <= longest + 1)) fitting.push(question);
  }
  return fitting;
}

/**
 * Gives each question the text before its choices, which begins with `count` examples. If there is
 * a pool, these are its first ones from the set of the question. Otherwise they are others of the
 * questions that are asked, drawn anew for each by its text. Throws an `InputError` where the task
 * takes no examples, or there are too few.
 */
export function withExamples(
  { name, examples }: Pick<ChoiceTask, "name" | "examples">,
  questions: readonly Question[],
  count: number,
  pool?: readonly Question[],
): string[] {
  const cannot = `Cannot put examples before ${name} as`;
  const rule = say`${
    setting("fewShot")
  } must be 0 for it, as its questions have no text: it is ${count}`;
  ensure(count === 0 || examples, say`${cannot} ${rule}`);
  const bySet = Map.groupBy(pool ?? questions, ({ set }) => set);
  return questions.map((question) => {
    const known = bySet.get(question.set) ?? [];
    const others = pool ? known.slice(0, count) : draw(question, known, count);
    if (others.length === count) return writeContext(question, others);
    const whose = question.set === "" ? name : `"${question.set}" of ${name}`;
    const among = pool ? "" : "among those asked ";
    const fact = `there are ${others.length} ${among}of ${whose}, ${count} are wanted`;
    const file = TASKS.has(name) ? `, or put examples into ${name}_few_shot.jsonl` : "";
    throw new InputError(say`${cannot} there must be ${setting("fewShot")} of them: ${fact}`, {
      remedy: pool
        ? "put more into its file"
        : say`ask more with a larger ${setting("limit")}${file}`,
    });
  });
}

/**
 * Draws other questions. Those with the same context are left out, because they would give the
 * answer away.
 */
function draw(question: Question, known: readonly Question[], count: number): Question[] {
  const seed = Number(indexOfText(question.context) % 2n ** 52n);
  const drawn: Question[] = [];
  for (let i = 0; drawn.length < Math.min(count, known.length) && i < 20 * count; i++) {
    const other = known[Number(randomBits(seed, "few-shot examples", i) % BigInt(known.length))];
    if (other.context !== question.context && !drawn.includes(other)) drawn.push(other);
  }
  return drawn;
}
