/**
 * Writes a corpus of known topics by a seeded grammar: topics of a domain share words, all topics
 * share those that hold sentences together. It shows whether hundreds of experts find what is
 * there.
 *
 *   deno run --allow-write tests/studies/topics.ts FOLDER [TOPICS [DOCUMENTS]]
 *   deno task partition --run RUN --input FOLDER/topics.jsonl --source-field source --experts 16x16 --start ctbm \
 *     --round-sequences 64
 *   deno task partition --run RUN --input FOLDER/topics.jsonl --source-field source --experts 256 --partitioner ctbm
 */

import { uniform } from "../../pipeline/random.ts";

const SYLLABLES = "ka lo mi ten ru sal vo pre dor wi gan chu fel zor bi nas".split(" ");
const [DOMAINS, SENTENCES] = [16, 24];

/** Draws whole numbers below a bound. */
type Below = (bound: number) => number;

/** Draws by a xorshift of 32 bits, which begins where the purpose says. */
const drawer = (purpose: string): Below => {
  let state = 1 + Math.floor(uniform(7, purpose, 0) * (2 ** 32 - 2)) | 0;
  return (bound) => {
    state ^= state << 13, state ^= state >>> 17, state ^= state << 5;
    return (state >>> 0) % bound;
  };
};

/** Makes words of two to four syllables. */
const listWords = (below: Below, count: number): string[] =>
  Array.from(
    { length: count },
    () => Array.from({ length: 2 + below(3) }, () => SYLLABLES[below(SYLLABLES.length)]).join(""),
  );

/**
 * Words by part of speech: of all text, of a domain, or of a topic; a third of a text's words come
 * from each.
 */
interface Lexicon {
  noun: string[];
  verb: string[];
  adjective: string[];
}

const lexicon = (name: string, [noun, verb, adjective]: number[]): Lexicon => {
  const below = drawer(name);
  return {
    noun: listWords(below, noun),
    verb: listWords(below, verb),
    adjective: listWords(below, adjective),
  };
};

const PATTERNS = [
  "the adjective noun verb a noun .",
  "a noun of the noun verb with the adjective noun .",
  "when noun verb , the noun verb the noun .",
  "it verb that no adjective noun verb under the noun .",
];

/** Writes documents of every topic, as lines of JSON with the topic as their source. */
export function* topicLines(topics = 256, documents = 24): Generator<string> {
  const common = lexicon("common", [40, 25, 20]);
  const domains = Array.from({ length: DOMAINS }, (_, i) => lexicon(`domain ${i}`, [30, 15, 12]));
  const own = Array.from({ length: topics }, (_, i) => lexicon(`topic ${i}`, [20, 8, 8]));
  for (let document = 0; document < documents; document++) {
    for (let topic = 0; topic < topics; topic++) {
      const below = drawer(`document ${document} of ${topic}`);
      const from = [common, domains[topic % DOMAINS], own[topic]];
      const sentences = Array.from(
        { length: SENTENCES },
        () =>
          PATTERNS[below(PATTERNS.length)].replace(/noun|verb|adjective/g, (part) => {
            const words = from[below(from.length)][part as keyof Lexicon];
            return words[below(words.length)];
          }),
      );
      const source = `topic-${String(topic).padStart(3, "0")}`;
      yield JSON.stringify({ text: sentences.join(" "), source }) + "\n";
    }
  }
}

if (import.meta.main) {
  const [folder, topics, documents] = Deno.args;
  await Deno.mkdir(folder, { recursive: true });
  const lines = topicLines(
    topics ? Number(topics) : undefined,
    documents ? Number(documents) : undefined,
  );
  await Deno.writeTextFile(`${folder}/topics.jsonl`, ReadableStream.from(lines));
}
