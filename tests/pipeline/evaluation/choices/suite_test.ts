import { assert, assertEquals, assertNotEquals } from "@std/assert";
import {
  cutPassages,
  type HeldOutDocument,
  heldOutDocuments,
  MADE_TASKS,
} from "../../../../pipeline/evaluation/choices/suite.ts";
import { chooseSide, type Packing, tokenizeDocuments } from "../../../../pipeline/text/tokenize.ts";
import { embeddedCorpus } from "../../../../pipeline/text/corpora/corpus.ts";
import { CHARACTERS } from "./support.ts";

/** Documents of the embedded corpus that a run with seed 0 holds out. */
const held: HeldOutDocument[] = [];
for await (const document of embeddedCorpus("default", 400_000)) {
  const { text } = document;
  if (chooseSide(text, 0, 0.1) === "test") {
    held.push({ ...document, tokens: Math.ceil(text.length / 3) });
  }
}

const made = (documents: HeldOutDocument[], longest?: number) => {
  const passages = cutPassages(documents, longest);
  return new Map([...MADE_TASKS].map(([name, { make }]) => [name, make(passages)]));
};
const tasks = made(held);

Deno.test("cutPassages() cuts documents into sentences and lines, each with what stands before it", () => {
  const text =
    'One sentence stands here. Another one follows, as they do. It is "quoted." And this one\'s the ' +
    "fourth of its kind!\n\tA line of its own stands after a break\nshort\n\nThe end of the whole document.";
  const passages = cutPassages([{ text, source: "tales", tokens: text.length / 3 }]);
  assertEquals(passages.map(({ sentence, delimiter }) => [delimiter, sentence]), [
    [" ", "And this one's the fourth of its kind!"],
    ["\n\t", "A line of its own stands after a break"],
    ["\n\n", "The end of the whole document."],
  ]);
  for (const { context, delimiter, sentence, document, source } of passages) {
    assert(text.includes(context + delimiter + sentence));
    assert(text.startsWith(context)); // all of it is short enough
    assertEquals([document, source], [0, "tales"]);
  }
});

Deno.test("the suite makes several hundred questions of the held-out documents of the embedded corpus, the same each time", () => {
  const counts = [...tasks].map(([name, questions]) => [name, questions.length]);
  for (const [name, count] of counts) {
    assert(Number(count) >= 100 && Number(count) <= 200, `${name}: ${count}`);
  }
  assertEquals(made(held), tasks);
  const known = held.map(({ text }) => text);
  for (const questions of tasks.values()) {
    assertEquals(new Set(questions.map((one) => JSON.stringify(one))).size, questions.length);
    const places = [0, 1, 2, 3].map((gold) => questions.filter((one) => one.gold === gold).length);
    assert(Math.min(...places) > questions.length / 8, `${places}`); // no place of the right choice says anything
    for (const { context, choices, gold, delimiter, set } of questions) {
      assertEquals([choices.length, new Set(choices).size], [4, 4]);
      assert(
        known.some((text) => text.includes(context + delimiter + choices[gold])),
        "held-out text says the answer",
      );
      assert(held.some(({ source }) => source === set));
      assertEquals(context, context.trimEnd());
    }
  }
});

Deno.test("wrong choices are wrong: new words, other orders, sentences of other documents of the source", () => {
  for (const { context, choices, gold } of tasks.get("last_word")!) {
    const words = context.match(/[\p{L}\p{M}]+/gu)!;
    choices.forEach((choice, i) => assertEquals(words.includes(choice), i === gold, choice));
  }
  const sorted = (text: string) => text.split(" ").sort().join(" ");
  for (const { choices, gold } of tasks.get("shuffled_words")!) {
    for (const wrong of choices.toSpliced(gold, 1)) {
      assertEquals(sorted(wrong), sorted(choices[gold]));
      assertNotEquals(wrong, choices[gold]);
    }
  }
  for (const { choices, gold, set, context, delimiter } of tasks.get("next_sentence")!) {
    const own = held.filter(({ text }) => text.includes(context + delimiter + choices[gold]));
    const others = held.filter((document) => document.source === set && !own.includes(document));
    if (others.length === 0) continue;
    for (const wrong of choices.toSpliced(gold, 1)) {
      assert(others.some(({ text }) => text.includes(wrong)), wrong);
    }
  }
});

const TEXTS = [
  "a text",
  "another one, of several sequences",
  "x",
  "sixteen letters.",
  "",
  "the last one",
];

/** The documents that are read back from rows of 8 tokens. */
async function readBack(packing: Packing) {
  const documents = TEXTS.map((text, i) => ({ text, source: i % 2 ? "odd" : "even" }));
  const rows = tokenizeDocuments(ReadableStream.from(documents), CHARACTERS, {
    sequenceLength: 8,
    packing,
  });
  const batches = async function* () {
    for await (const { batch } of rows) yield batch;
  };
  return await Array.fromAsync(heldOutDocuments(batches(), CHARACTERS, packing));
}

Deno.test("heldOutDocuments() reads documents back from their rows, however they are packed", async () => {
  const documents = await readBack("document");
  assertEquals(documents.map(({ text }) => text), TEXTS.filter((text) => text !== ""));
  assertEquals(documents.map(({ tokens }) => tokens), documents.map(({ text }) => text.length));
  assertEquals(documents.map(({ source }) => source), ["even", "odd", "even", "odd", "odd"]);
  // Of a document whose EOS alone is left for a row of its own, as for one of 16 letters, the row
  // was dropped.
  const concatenated = await readBack("concat");
  assertEquals(concatenated.map(({ text }) => text), TEXTS.filter((text) => text !== ""));
});
