/**
 * Zero-shot tasks of our own, for small models: questions made of a run's held-out documents, which
 * no model of it has seen. The same documents make the same questions. The choices after a passage:
 *
 * - `last_word`: a word that the passage has already had, and three that such passages elsewhere
 *   end with.
 * - `shuffled_words`: the sentence that follows, and three times its words in another order.
 * - `next_sentence`: the sentence that follows, and three from elsewhere: other documents of the
 *   same source where there are some.
 */

import { indexOfText, randomBits } from "../../random.ts";
import { fromBatch, type RecordBatch } from "../../rows/arrow.ts";
import { rowTexts } from "../../rows/export/texts.ts";
import { checkLineage } from "../../rows/lineage.ts";
import type { Document } from "../../text/readers.ts";
import type { Packing } from "../../text/tokenize.ts";
import type { Tokenizer } from "../../text/tokenizer.ts";
import { type Question, TASKS, type ZeroShotTask } from "./tasks.ts";

/** A held-out document, and the number of its tokens. */
export type HeldOutDocument = Omit<Document, "tokens"> & { tokens: number };

/** Characters that are read, at most: enough for many times the questions that are made of them. */
const MOST_CHARACTERS = 4e6;

/**
 * Yields the documents of token rows, in their order, up to some four million characters. A
 * document ends with EOS; where sequences never cross documents, it ends with its last row. Throws
 * an `InputError` where rows are of another tokenizer.
 */
export async function* heldOutDocuments(
  batches: AsyncIterable<RecordBatch>,
  tokenizer: Tokenizer,
  packing: Packing,
): AsyncGenerator<HeldOutDocument> {
  const { eos, sha256, vocabulary } = tokenizer;
  let ids: number[] = [];
  let characters = 0;
  let open = { document: -1n, source: "" };
  const close = async function* (): AsyncGenerator<HeldOutDocument> {
    const tokens = ids.length;
    const text = tokens > 0 ? await tokenizer.decode(ids) : "";
    [ids, characters] = [[], characters + text.length];
    if (text !== "") yield { text, source: open.source, tokens };
  };
  for await (const batch of batches) {
    checkLineage(batch, { tokenizer: sha256, vocabulary }, "the tokenizer");
    const columns = fromBatch(batch);
    const { document = columns.sequence } = columns;
    for (const [row, { ids: rowIds, source }] of rowTexts(columns).entries()) {
      if (characters >= MOST_CHARACTERS) return;
      if (packing === "document" && open.document !== document[row]) yield* close();
      open = { document: document[row], source };
      for (const id of rowIds) {
        if (id === eos) yield* close();
        else ids.push(id);
      }
    }
  }
  if (characters < MOST_CHARACTERS) yield* close();
}

/**
 * A sentence, or a line, of a document and its source. `context` is the whole sentences before it,
 * up to 240 characters, and `delimiter` the white space between them.
 */
export type Passage = Record<"source" | "context" | "delimiter" | "sentence", string> & {
  document: number;
};

/** Most questions of a task. */
const MOST_QUESTIONS = 200;

const CHOICES = 4;
// Characters: about 80 tokens of a small vocabulary, and 40.
const LONGEST = { context: 240, sentence: 120 };
const SHORTEST_SENTENCE = 20;
const SHARES = { context: 0.6, sentence: 0.4 }; // of the tokens that a model reads
const FREQUENT_WORDS = 150; // words that any passage may end with
const SEED = 0;

/**
 * Cuts documents into sentences, each with the text before it: as much as models with a context of
 * `longest` tokens can probably read together with a sentence.
 */
export function cutPassages(documents: readonly HeldOutDocument[], longest = Infinity): Passage[] {
  const sum = (count: (document: HeldOutDocument) => number) =>
    documents.reduce((total, document) => total + count(document), 0);
  // In characters.
  const readable = longest * sum(({ text }) => text.length) / sum(({ tokens }) => tokens);
  const most = Math.min(LONGEST.context, SHARES.context * readable);
  const mostOfSentence = Math.min(LONGEST.sentence, SHARES.sentence * readable);
  return documents.flatMap(({ text, source }, document) => {
    // A sentence ends with its mark and white space, or with its line.
    const sentences = [...text.matchAll(/[^\s](?:[^\n]*?[.!?]["')\]]*(?=\s)|[^\n]*)/g)]
      .map(({ index, 0: sentence }) => ({ start: index, end: index + sentence.trimEnd().length }));
    let first = 0;
    return sentences.slice(1).flatMap(({ start, end }, i): Passage[] => {
      const contextEnd = sentences[i].end;
      while (contextEnd - sentences[first].start > most && first < i) first++;
      const context = text.slice(sentences[first].start, contextEnd);
      const fits = context.length >= most / 4 && context.length <= most;
      if (!fits || end - start < SHORTEST_SENTENCE || end - start > mostOfSentence) return [];
      const delimiter = text.slice(contextEnd, start);
      return [{ document, source, context, delimiter, sentence: text.slice(start, end) }];
    });
  });
}

/** What a question is made of: a passage with the right choice in place of its sentence. */
type Candidate = Omit<Passage, "sentence"> & { right: string };

/** Gives a wrong choice for 64 random bits, or undefined. */
type Draw = (candidate: Candidate, bits: bigint) => string | undefined;

/** A task whose questions are made. */
export interface MadeTask extends ZeroShotTask {
  /** Makes its questions from passages. */
  make(passages: readonly Passage[]): Question[];
}

/**
 * Makes a task from a rule that gives what is right after passages, and one that gives what is
 * wrong there.
 */
function task(
  name: string,
  candidatesOf: (passages: readonly Passage[]) => Candidate[],
  drawOf: (candidates: readonly Candidate[]) => Draw,
): MadeTask {
  return {
    name,
    metrics: ["acc", "acc_norm"],
    alike: "questions",
    make(passages) {
      const candidates = candidatesOf(passages);
      const draw = drawOf(candidates);
      // By a hash of their text; of equal ones the first.
      const keyed = new Map<bigint, Candidate>();
      for (const candidate of candidates.toReversed()) {
        keyed.set(randomBits(SEED, name, indexCandidate(candidate)), candidate);
      }
      const taken = [...keyed].sort(([a], [b]) => a < b ? -1 : 1).slice(0, MOST_QUESTIONS);
      return taken.flatMap(([, candidate]) => ask(name, candidate, draw));
    },
  };
}

const indexCandidate = ({ context, right }: Candidate) => indexOfText(`${context}\0${right}`);

/** Makes a question, if there are enough wrong choices. */
function ask(purpose: string, candidate: Candidate, draw: Draw): Question[] {
  const { context, delimiter, right, source, document } = candidate;
  const seed = Number(indexCandidate(candidate) % 2n ** 52n);
  const wrong = new Set<string>();
  for (let i = 0; wrong.size < CHOICES - 1 && i < 50; i++) {
    const choice = draw(candidate, randomBits(seed, purpose, i));
    if (choice !== undefined && choice !== right) wrong.add(choice);
  }
  if (wrong.size < CHOICES - 1) return [];
  const gold = Number(randomBits(seed, `place in ${purpose}`, 0) % BigInt(CHOICES));
  const choices = [...wrong].toSpliced(gold, 0, right);
  return [{ context, choices, delimiter, gold, set: source, document }];
}

/**
 * Draws the right choice of another candidate: of another document of the same source, else of any
 * other, else of any.
 */
function fromOthers(candidates: readonly Candidate[]): Draw {
  const pools = new Map<number, readonly Candidate[]>(); // by document
  return ({ document, source, context }, bits) => {
    const pool = pools.getOrInsertComputed(document, () => {
      const elsewhere = candidates.filter((candidate) => candidate.document !== document);
      const same = elsewhere.filter((candidate) => candidate.source === source);
      return [same, elsewhere, candidates].find(({ length }) => length > 0)!;
    });
    const { right } = pool[Number(bits % BigInt(pool.length))];
    return context.includes(right) ? undefined : right;
  };
}

/** Takes the sentences after passages that `fits` takes. */
const sentences =
  (fits: (sentence: string) => boolean) => (passages: readonly Passage[]): Candidate[] =>
    passages.flatMap(({ sentence: right, ...passage }) =>
      fits(right) ? [{ ...passage, right }] : []
    );

const WORD = /[\p{L}\p{M}]+/gu;
const words = (text: string): string[] => text.match(WORD) ?? [];

/**
 * Finds passages that end within a sentence with a word that they have had before, and that few
 * others have.
 */
function lastWords(passages: readonly Passage[]): Candidate[] {
  const counts = Map.groupBy(passages.flatMap(({ sentence }) => words(sentence)), (word) => word);
  const sorted = [...counts].sort(([a, places], [b, otherPlaces]) =>
    otherPlaces.length - places.length || (a < b ? -1 : 1)
  );
  const most = Math.min(FREQUENT_WORDS, sorted.length >> 3);
  const frequent = new Set(sorted.slice(0, most).map(([word]) => word));
  return passages.flatMap(({ context, delimiter, sentence, ...passage }): Candidate[] => {
    const contextWords = words(context);
    const last = [...sentence.matchAll(WORD)].findLast(({ index, 0: word }) =>
      index > 1 && sentence[index - 1] === " " && sentence[index - 2] !== " " &&
      [...word].length >= 4 && !frequent.has(word) && contextWords.includes(word)
    );
    if (!last) return [];
    const contextToWord = context + delimiter + sentence.slice(0, last.index - 1);
    return [{ ...passage, context: contextToWord, delimiter: " ", right: last[0] }];
  });
}

/** Puts words into an order that 64 random bits give (Fisher and Yates). */
function shuffled(words: readonly string[], bits: bigint): string[] {
  const order = [...words];
  for (let i = order.length - 1; i > 0; i--) {
    const j = Number(bits % BigInt(i + 1));
    bits /= BigInt(i + 1);
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}

/** The tasks of our own, by name. */
export const MADE_TASKS: ReadonlyMap<string, MadeTask> = new Map(
  [
    task("last_word", lastWords, (candidates) => {
      const draw = fromOthers(candidates);
      return (candidate, bits) => {
        const word = draw(candidate, bits);
        return word === undefined || words(candidate.context).includes(word) ? undefined : word;
      };
    }),
    task(
      "shuffled_words",
      sentences((sentence) => /^[^ ]+( [^ ]+){4,15}$/.test(sentence)),
      () => ({ right }, bits) => shuffled(right.split(" "), bits).join(" "),
    ),
    task("next_sentence", sentences((sentence) => words(sentence).length >= 3), fromOthers),
  ].map((task) => [task.name, task]),
);

/** Names the tasks of our own, which need no data. */
export const MADE_ZERO_SHOT: readonly string[] = [...MADE_TASKS.keys()];

/** Names every task, those of our own first. */
export const zeroShotTasks = (): string[] => [...MADE_ZERO_SHOT, ...TASKS.keys()];
