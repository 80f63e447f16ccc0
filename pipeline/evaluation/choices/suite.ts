/**
 * Zero-shot tasks of our own, for small models: questions made of a run's held-out documents, which no model of it has seen. The
 * same documents make the same questions.
 *
 * | task | the choices after a passage |
 * |---|---|
 * | last_word | a word that the passage has already had, and three that such passages elsewhere end with |
 * | shuffled_words | the sentence that follows, and three times its words in another order |
 * | next_sentence | the sentence that follows, and three from elsewhere: other documents of the same source where there are some |
 */

import { indexOfText, randomBits } from "../../random.ts";
import type { HeldOutDocument } from "./held_out.ts";
import { characters } from "./python_text.ts";
import type { Question } from "./question.ts";
import type { ZeroShotTask } from "./tasks.ts";

/** A task whose questions are made. */
export interface MadeTask extends ZeroShotTask {
  /** Makes its questions from passages. */
  make(passages: readonly Passage[]): Question[];
}

/** A sentence, or a line, and the text before it in its document. */
export interface Passage {
  /** Number of the document. */
  document: number;
  /** Its source. */
  source: string;
  /** Whole sentences before it, up to 240 characters. */
  context: string;
  /** White space between them. */
  delimiter: string;
  /** The sentence. */
  sentence: string;
}

/** Most questions of a task. */
export const MOST_QUESTIONS = 200;

const CHOICES = 4;
const LONGEST_CONTEXT = 240; // characters: about 80 tokens of a small vocabulary
const LONGEST_SENTENCE = 120;
const SHORTEST_SENTENCE = 20;
const CONTEXT_SHARE = 0.6; // of the tokens that a model reads
const SENTENCE_SHARE = 0.4;
const FREQUENT_WORDS = 150; // words that any passage may end with
const SEED = 0;

/**
 * Cuts documents into sentences, each with the text before it: as much as models with a context of `longest`
 * tokens can probably read together with a sentence.
 */
export function passagesOf(documents: readonly HeldOutDocument[], longest = Infinity): Passage[] {
  const passages: Passage[] = [];
  const sum = (of: (document: HeldOutDocument) => number) =>
    documents.reduce((total, document) => total + of(document), 0);
  const readable = longest * sum(({ text }) => text.length) / sum(({ tokens }) => tokens); // in characters
  const most = Math.min(LONGEST_CONTEXT, CONTEXT_SHARE * readable);
  const longestSentence = Math.min(LONGEST_SENTENCE, SENTENCE_SHARE * readable);
  for (const [document, { text, source }] of documents.entries()) {
    // A sentence ends with its mark and white space, or with its line.
    const sentences = [...text.matchAll(/[^\s](?:[^\n]*?[.!?]["')\]]*(?=\s)|[^\n]*)/g)]
      .map(({ index, 0: sentence }) => ({ start: index, end: index + sentence.trimEnd().length }));
    for (let i = 1, first = 0; i < sentences.length; i++) {
      const { start, end } = sentences[i];
      const before = sentences[i - 1].end;
      while (before - sentences[first].start > most && first < i - 1) first++;
      const context = text.slice(sentences[first].start, before);
      const isFit = context.length >= most / 4 && context.length <= most;
      if (!isFit || end - start < SHORTEST_SENTENCE || end - start > longestSentence) continue;
      passages.push({
        ...{ document, source, context },
        delimiter: text.slice(before, start),
        sentence: text.slice(start, end),
      });
    }
  }
  return passages;
}

/** What a question is made of: the right choice, and texts that may be wrong choices. */
interface Candidate extends Pick<Passage, "document" | "source" | "context" | "delimiter"> {
  right: string;
}

const indexOf = ({ context, right }: Candidate) => indexOfText(`${context}\0${right}`);

/** Takes at most {@linkcode MOST_QUESTIONS} candidates, by a hash of their text; of equal ones the first. */
function take(purpose: string, candidates: readonly Candidate[]): Candidate[] {
  const keyed = new Map<bigint, Candidate>();
  for (const candidate of candidates) {
    const key = randomBits(SEED, purpose, indexOf(candidate));
    if (!keyed.has(key)) keyed.set(key, candidate);
  }
  return [...keyed].sort(([a], [b]) => a < b ? -1 : 1).slice(0, MOST_QUESTIONS).map(([, one]) => one);
}

/** Gives a wrong choice for 64 random bits, or undefined. */
type Draw = (candidate: Candidate, bits: bigint) => string | undefined;

/** Makes a question if there are enough wrong choices; `draw` gives one for a number, or undefined. */
function ask(
  purpose: string,
  candidate: Candidate,
  draw: (bits: bigint) => string | undefined,
): Question | undefined {
  const { context, delimiter, right, source, document } = candidate;
  const seed = Number(indexOf(candidate) % 2n ** 52n);
  const wrong = new Set<string>();
  for (let i = 0; wrong.size < CHOICES - 1 && i < 50; i++) {
    const choice = draw(randomBits(seed, purpose, i));
    if (choice !== undefined && choice !== right) wrong.add(choice);
  }
  if (wrong.size < CHOICES - 1) return undefined;
  const gold = Number(randomBits(seed, `place in ${purpose}`, 0) % BigInt(CHOICES));
  const choices = [...wrong].toSpliced(gold, 0, right);
  return { description: "", context, choices, delimiter, gold, set: source, document };
}

/**
 * Draws the right choice of another candidate: from another document of the same source if there is one,
 * otherwise from any other document, otherwise from the same one.
 */
function fromOthers(candidates: readonly Candidate[]): Draw {
  const others = new Map<number, readonly Candidate[]>(); // by document
  const find = ({ source, document }: Candidate) => {
    const elsewhere = candidates.filter((other) => other.document !== document);
    const same = elsewhere.filter((other) => other.source === source);
    return [same, elsewhere].find(({ length }) => length > 0) ?? candidates;
  };
  return (candidate, bits) => {
    const { document, context } = candidate;
    if (!others.has(document)) others.set(document, find(candidate));
    const known = others.get(document)!;
    const { right } = known[Number(bits % BigInt(known.length))];
    return context.includes(right) ? undefined : right;
  };
}

const WORD = /[\p{L}\p{M}]+/gu;
const wordsOf = (text: string): string[] => text.match(WORD) ?? [];

/**
 * Makes a task from a rule that says what is right after which passages, and one that says what is wrong
 * there.
 */
function define(
  name: string,
  about: string,
  candidatesOf: (passages: readonly Passage[]) => Candidate[],
  drawOf: (candidates: readonly Candidate[]) => Draw,
): MadeTask {
  return {
    ...{ name, about, metrics: ["acc", "acc_norm"], alike: "questions", examples: false },
    make(passages) {
      const candidates = candidatesOf(passages);
      const draw = drawOf(candidates);
      return take(name, candidates)
        .map((candidate) => ask(name, candidate, (bits) => draw(candidate, bits)))
        .filter((question) => question !== undefined);
    },
  };
}

/** The sentences after passages that `isFit` takes. */
const sentences = (isFit: (sentence: string) => boolean) => (passages: readonly Passage[]): Candidate[] =>
  passages.filter(({ sentence }) => isFit(sentence)).map(({ sentence, ...rest }) => ({
    ...rest,
    right: sentence,
  }));

/** The tasks of our own, by name. */
export const MADE_TASKS: ReadonlyMap<string, MadeTask> = new Map(
  [
    define(
      "last_word",
      "the last word of a held-out passage that has had it before, against those of other passages",
      lastWords,
      (candidates) => {
        const draw = fromOthers(candidates);
        return (candidate, bits) => {
          const word = draw(candidate, bits);
          return word === undefined || wordsOf(candidate.context).includes(word) ? undefined : word;
        };
      },
    ),
    define(
      "shuffled_words",
      "the sentence that follows a held-out passage, against its own words in other orders",
      sentences((sentence) => {
        const words = sentence.split(" ");
        return words.length >= 5 && words.length <= 16 && !words.includes("");
      }),
      () => ({ right }, bits) => shuffled(right.split(" "), bits).join(" "),
    ),
    define(
      "next_sentence",
      "the sentence that follows a held-out passage, against sentences of other documents",
      sentences((sentence) => wordsOf(sentence).length >= 3),
      fromOthers,
    ),
  ].map((task) => [task.name, task]),
);

/** Finds passages that end within a sentence with a word that they have had before, and that few others have. */
function lastWords(passages: readonly Passage[]): Candidate[] {
  const counts = new Map<string, number>();
  for (const { sentence } of passages) {
    for (const word of wordsOf(sentence)) counts.set(word, (counts.get(word) ?? 0) + 1);
  }
  const sorted = [...counts].sort(([a, some], [b, others]) => others - some || (a < b ? -1 : 1));
  const frequent = new Set(
    sorted.slice(0, Math.min(FREQUENT_WORDS, sorted.length >> 3)).map(([word]) => word),
  );
  return passages.flatMap(({ context, delimiter, sentence, ...passage }): Candidate[] => {
    const known = new Set(wordsOf(context));
    for (const { index, 0: word } of [...sentence.matchAll(WORD)].reverse()) {
      const isLast = index > 1 && sentence[index - 1] === " " && /[^ ]/.test(sentence[index - 2]);
      if (!isLast || characters(word) < 4 || frequent.has(word) || !known.has(word)) continue;
      const before = context + delimiter + sentence.slice(0, index - 1);
      return [{ ...passage, context: before, delimiter: " ", right: word }];
    }
    return [];
  });
}

/** Puts words into an order that 64 random bits say (Fisher and Yates). */
function shuffled(words: readonly string[], bits: bigint): string[] {
  const order = [...words];
  for (let i = order.length - 1; i > 0; i--) {
    const j = Number(bits % BigInt(i + 1));
    bits /= BigInt(i + 1);
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}
