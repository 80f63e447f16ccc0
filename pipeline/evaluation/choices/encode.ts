/**
 * Turns questions into tokens as the LM Evaluation Harness does. Spaces at the end of a context move to its
 * continuations. Context and continuation are encoded as one text; the continuation is what follows as many
 * tokens as the context has when it is encoded alone. A context without a token becomes EOS. Only the last S
 * + 1 tokens are kept; the last one of these is only predicted.
 */

import { InputError } from "../../../kernels/errors.ts";
import type { Branching } from "../../model/branch_scorer.ts";
import type { Tokenizer } from "../../text/tokenizer.ts";
import { stripEnd } from "./python_text.ts";
import { continuationsOf, type Question } from "./question.ts";

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
    const part = questions.slice(first, first + QUESTIONS).map((question, i) => {
      const before = stripEnd(contexts[first + i]);
      const spaces = contexts[first + i].slice(before.length);
      return {
        before,
        texts: continuationsOf(question).map((continuation) => before + spaces + continuation),
      };
    });
    const ids = await tokenizer.encode(part.flatMap(({ before, texts }) => [before, ...texts]));
    let at = 0;
    for (const { before, texts } of part) {
      const context = ids[at++];
      const wholes = ids.slice(at, at += texts.length);
      const start = before === "" ? Uint32Array.of(tokenizer.eos) : new Uint32Array();
      encoded.push(encode(start, context, wholes, longest, encoded.length));
    }
  }
  return encoded;
}

/** Leaves out questions of which a model of a context of S tokens cannot read all. */
export async function fittingQuestions(
  tokenizer: Tokenizer,
  questions: readonly Question[],
  longest: number,
): Promise<Question[]> {
  const texts = questions.map((question) =>
    continuationsOf(question).map((choice) => question.context + choice)
  );
  const ids = await tokenizer.encode(texts.flat());
  return questions.filter((_, i) =>
    ids.splice(0, texts[i].length).every(({ length }) => length <= longest + 1)
  );
}

/** Joins tokens: a long text has more of them than a function takes arguments. */
function joined(start: Uint32Array, ids: Uint32Array): Uint32Array {
  const all = new Uint32Array(start.length + ids.length);
  all.set(start);
  all.set(ids, start.length);
  return all;
}

/** Separates the tokens of a context from those of each continuation. `start` stands before both. */
function encode(
  start: Uint32Array,
  context: Uint32Array,
  wholes: readonly Uint32Array[],
  longest: number,
  question: number,
): EncodedPrompt {
  let most = 0; // the largest number of tokens that a choice loses
  const choices = wholes.map((ids) => {
    const whole = joined(start, ids);
    const length = start.length + context.length;
    const continuation = whole.slice(length);
    if (continuation.length === 0 || continuation.length > longest) {
      throw new InputError(
        `Cannot ask question ${
          question + 1
        } as each of its choices must have 1 to ${longest} tokens: one has ${continuation.length}`,
      );
    }
    const lost = Math.max(0, whole.length - longest - 1);
    most = Math.max(most, lost);
    return { context: whole.slice(lost, length), continuation };
  });
  return {
    context: joined(start, context).subarray(most),
    choices,
    cut: most > 0,
  };
}

/**
 * Groups choices that follow the same tokens, so that a model reads these once. `at` says which choice each
 * of them is.
 */
export function branchesOf(
  prompts: readonly EncodedPrompt[],
): { texts: Branching[]; at: [number, number][][] } {
  const texts: (Branching & { continuations: Uint32Array[] })[] = [];
  const at: [prompt: number, choice: number][][] = [];
  for (const [prompt, { choices }] of prompts.entries()) {
    const groups = Map.groupBy(choices.keys(), (i) => choices[i].context.join());
    for (const group of groups.values()) {
      texts.push({
        context: choices[group[0]].context,
        continuations: group.map((i) => choices[i].continuation),
      });
      at.push(group.map((i) => [prompt, i]));
    }
  }
  return { texts, at };
}
