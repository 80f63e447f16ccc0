/**
 * How much of the tokenizers library's own rate is left when documents become sequences?
 *
 *   deno task bench:tokenize [--vocab-size 1024] [--characters 500000] [--rounds 7] [--workers 2] [--megabytes 60]
 *
 * On the embedded corpus (`characters` of each of its six sources), with a tokenizer trained on it.
 * The library alone encodes on all cores: all texts in one call, or in calls of about a million
 * characters, its ids never read or, in the third way, read with `getIds()`, the one way to them
 * from JavaScript; in the fourth way it encodes text by text on one core and its ids are read.
 * `tokenizeDocuments()` keeps to one core, too, and also splits the corpus, cuts sequences and
 * makes Arrow batches. The library's results are freed by V8's collector, so every way ends with a
 * collection, and none leaves its garbage to the next. The ways take turns; medians of the rounds,
 * of time on the clock and of processor time, which other processes disturb less.
 *
 * Then one worker takes turns with two, and four, up to `workers`, on a file of `megabytes` that
 * never stop bringing new words: with one the process reads, encodes and packs in turn, on one
 * core; with more workers it encodes in so many threads in parallel with the one that reads and
 * packs.
 */

import { type Encoding, Tokenizer as Library } from "tokenizers";
import { embeddedCorpus } from "../../pipeline/text/corpora/corpus.ts";
import { type Document, readDocuments } from "../../pipeline/text/readers.ts";
import { tokenizeDocuments } from "../../pipeline/text/tokenize.ts";
import { collector, loadTokenizer, trainTokenizer } from "../../pipeline/text/tokenizer.ts";
import { benchFlags } from "./flags.ts";
import { columns } from "./text.ts";
import { writeTexts } from "./many_texts.ts";
import { median, type Seconds } from "../../kernels/device/time.ts";
import { takeTurns } from "./work.ts";

const flags = benchFlags(
  "Compares tokenizing with what the tokenizers library reaches alone.",
  { "vocab-size": 1024, characters: 500_000, rounds: 7, workers: 2, megabytes: 60 },
);
const documents: Document[] = await Array.fromAsync(embeddedCorpus("default", flags.characters));
const bytes = documents.reduce((sum, { text }) => sum + new TextEncoder().encode(text).length, 0);
const source = async function* () {
  for (const document of documents) yield await Promise.resolve(document);
};
const folder = await Deno.makeTempDir();
const many = `${folder}/many.jsonl`;
await writeTexts(many, 1e6 * flags.megabytes);
const manyBytes = Deno.statSync(many).size;
const tokenizer = await trainTokenizer(source(), {
  vocabularySize: flags["vocab-size"],
  sample: 10_000_000,
});
const path = `${folder}/tokenizer.json`;
await Deno.writeTextFile(path, tokenizer.json);
const library = Library.fromString(tokenizer.json);

/** Texts in groups of about so many characters. */
function inGroups(characters: number): string[][] {
  const groups: string[][] = [[]];
  let held = 0;
  for (const { text } of documents) {
    if (held >= characters) groups.push([]);
    held = (held >= characters ? 0 : held) + text.length;
    groups.at(-1)!.push(text);
  }
  return groups;
}

const alone = (groups: string[][], read = (_: Encoding) => {}) => async () => {
  for (const group of groups) {
    (await library.encodeBatch(group, { addSpecialTokens: false })).forEach(read);
  }
};
const ways: Record<string, () => Promise<void>> = {
  "library, one call": alone(inGroups(Infinity)),
  "library, million a call": alone(inGroups(1e6)),
  "library, ids read": alone(inGroups(1e6), (encoding) => void encoding.getIds()),
  "library, one core": async () => {
    for (const { text } of documents) {
      (await library.encode(text, null, { addSpecialTokens: false })).getIds();
    }
  },
  "tokenizeDocuments()": () => tokenize(1, source()),
};

async function tokenize(workers: number, texts: AsyncIterable<Document>): Promise<void> {
  const fresh = await loadTokenizer(path); // no word of an earlier round is known to it
  const options = { sequenceLength: 128, holdout: 0.1, workers, workersAfter: 0 };
  for await (const _ of tokenizeDocuments(texts, fresh, options));
}

/**
 * Frees what a way left behind: the library's results are freed in a task that follows the
 * collection.
 */
async function collect(): Promise<void> {
  (await collector())();
  await new Promise((resolve) => setTimeout(resolve, 0));
}

const counts = [1, 2, 4, 8, 16, 32, 64].filter((workers) => workers <= flags.workers);
const byWorkers = Object.fromEntries(
  counts.map((workers) => [`${workers}`, () => tokenize(workers, readDocuments([many]))]),
);
let seconds: Map<string, Seconds>;
let scaling: Map<string, Seconds>;
try {
  seconds = await takeTurns(ways, flags.rounds, collect);
  scaling = await takeTurns(byWorkers, Math.ceil(flags.rounds / 2), collect);
} finally {
  await Deno.remove(folder, { recursive: true });
}

console.log(
  `${
    (bytes / 1e6).toFixed(1)
  } MB of text, ${tokenizer.vocabulary} ids, ${navigator.hardwareConcurrency} cores, Deno ${Deno.version.deno}`,
);
const best = (kind: "clock" | "processor") =>
  Math.min(
    ...[...seconds].filter(([name]) => name.startsWith("library")).map(([, s]) => median(s[kind])),
  );
const rate = (bytes: number, clock: number[]) => (bytes / 1e6 / median(clock)).toFixed(2);
const percent = (share: number) => `${(100 * share).toFixed(0)}%`;
console.log(columns([
  ["", "MB/s", "of the best alone", "processor s", "of the least alone"],
  ...Array.from(seconds, ([name, { clock, processor }]) => [
    ...[
      name,
      rate(bytes, clock),
      percent(best("clock") / median(clock)),
      median(processor).toFixed(2),
    ],
    percent(best("processor") / median(processor)),
  ]),
], "lrrrr"));
console.log(`\n${(manyBytes / 1e6).toFixed(0)} MB of text with new words`);
const { clock: oneWorker } = scaling.get("1")!;
console.log(columns([
  ["workers", "MB/s", "of one worker", "processor s", "cores busy"],
  ...Array.from(scaling, ([workers, { clock, processor }]) => [
    ...[workers, rate(manyBytes, clock), `${(median(oneWorker) / median(clock)).toFixed(2)}×`],
    ...[median(processor).toFixed(2), (median(processor) / median(clock)).toFixed(2)],
  ]),
], "rrrrr"));
Deno.exit(0); // the library's threads would outlive the text
