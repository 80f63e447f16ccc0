/**
 * Puts examples before questions, and turns both into tokens as the LM Evaluation Harness does. Spaces at the end of a context move to its
 * continuations. Context and continuation are encoded as one text; the continuation is what follows as many
 * tokens as the context has when it is encoded alone. A context without a token becomes EOS. Only the last S
 * + 1 tokens are kept; the last one of these is only predicted.
 */

import { InputError, say, setting } from "../../../kernels/errors.ts";
import { indexOfText, randomBits } from "../../random.ts";
import { joinTokens } from "../../rows/columns.ts";
import type { Tokenizer } from "../../text/tokenizer.ts";
import { listContinuations, type Question, TASKS, writeContext, type ZeroShotTask } from "./tasks.ts";

/** A question in tokens, cut to the length that a model reads. */
export interface EncodedPrompt {
  /** Tokens of the context that all continuations share: a prompt is routed by them. */
  context: Uint32Array;
  /** Context and continuation for each choice. */
  choices: { context: Uint32Array; continuation: Uint32Array }[];
  /** Whether a choice lost tokens at the left. */
  cut: boolean;
}

const QUESTIONS = 256; // encoded in one call

/**
 * Encodes questions for models with a context of S tokens. `contexts` are the texts before their choices,
 * examples included. Throws an `InputError` where a choice has no token, or more than S.
 */
export async function encodeQuestions(
  tokenizer: Tokenizer,
  questions: readonly Question[],
  contexts: readonly string[],
  longest: number,
): Promise<EncodedPrompt[]> {
  const encoded: EncodedPrompt[] = [];
  for (let first = 0; first < questions.length; first += QUESTIONS) {
    const texts = questions.slice(first, first + QUESTIONS).map((question, i) => {
      const context = contexts[first + i];
      return [
        context.trimEnd(),
        ...listContinuations(question).map((continuation) => context + continuation),
      ];
    });
    const ids = await tokenizer.encode(texts.flat());
    for (const { length, 0: before } of texts) {
      const [context, ...wholes] = ids.splice(0, length)
        .map((ids) => before === "" ? joinTokens([Uint32Array.of(tokenizer.eos), ids]) : ids);
      encoded.push(split(context, wholes, longest, encoded.length + 1));
    }
  }
  return encoded;
}

/** Separates the tokens of a context from those of each continuation. */
function split(
  context: Uint32Array,
  wholes: readonly Uint32Array[],
  longest: number,
  question: number,
): EncodedPrompt {
  const lost = wholes.map((whole) => Math.max(0, whole.length - longest - 1));
  const most = Math.max(0, ...lost);
  const choices = wholes.map((whole, i) => {
    const continuation = whole.slice(context.length);
    if (continuation.length > 0 && continuation.length <= longest) {
      return { context: whole.slice(lost[i], context.length), continuation };
    }
    throw new InputError(
      `Cannot ask question ${question} as each of its choices must have 1 to ${longest} tokens: one has ${continuation.length}`,
    );
  });
  return { context: context.subarray(most), choices, cut: most > 0 };
}

/** Leaves out questions of which a model of a context of S tokens cannot read all. */
export async function fittingQuestions(
  tokenizer: Tokenizer,
  questions: readonly Question[],
  longest: number,
): Promise<Question[]> {
  const texts = questions.map((question) =>
    listContinuations(question).map((choice) => question.context + choice)
  );
  const ids = await tokenizer.encode(texts.flat());
  return questions.filter((_, i) =>
    ids.splice(0, texts[i].length).every(({ length }) => length <= longest + 1)
  );
}

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
  if (count === 0) return questions.map((question) => writeContext(question));
  if (!task.examples) {
    throw new InputError(
      say`Cannot put examples before ${task.name} as ${
        setting("fewShot")
      } must be 0 for it, as its questions have no text: it is ${count}`,
    );
  }
  const bySet = Map.groupBy(pool ?? questions, ({ set }) => set);
  return questions.map((question) => {
    const known = bySet.get(question.set) ?? [];
    const others = pool ? known.slice(0, count) : draw(question, known, count);
    if (others.length === count) return writeContext(question, others);
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
}

/** Draws other questions. Those with the same context are left out, because they would give the answer away. */
function draw(question: Question, known: readonly Question[], count: number): Question[] {
  const seed = Number(indexOfText(question.context) % 2n ** 52n);
  const drawn: Question[] = [];
  for (let i = 0; drawn.length < Math.min(count, known.length) && i < 20 * count; i++) {
    const other = known[Number(randomBits(seed, "few-shot examples", i) % BigInt(known.length))];
    if (other.context !== question.context && !drawn.includes(other)) drawn.push(other);
  }
  return drawn;
}
