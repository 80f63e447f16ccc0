/**
 * Names experts by their training text: the words that set an expert's sequences apart, its
 * likeliest and least likely texts.
 *
 * A word's log-odds are those of the event that a sequence holds it, in one expert's sequences
 * against the rest. The prior is the share of all sequences that hold it (after Monroe, Colaresi
 * and Quinn, "Fightin' Words", Political Analysis 2008). A sequence counts once, however often it
 * repeats a word.
 *
 * Everything comes from a random sample of each part. Its size is bounded, and so are time and
 * memory.
 */

import * as v from "valibot";
import { exists } from "../graph/files.ts";
import { NAMES } from "../graph/node.ts";
import { count, finite, readJson, share } from "../graph/schema.ts";
import { prefixTokens } from "../model/span.ts";
import type { Lineage } from "../rows/lineage.ts";
import type { Tokenizer } from "../text/tokenizer.ts";

/** A word that sets an expert apart, or two tokens that stand side by side. */
export interface TellingTerm {
  /**
   * The word in lower case, or the text of the two tokens in quotes, which escape what no screen
   * shows.
   */
  text: string;
  /**
   * Natural logarithm of the ratio of the odds that a sequence of the expert, and one of the
   * others, holds it.
   */
  logOdds: number;
  /** Share of the expert's sampled sequences that hold it. */
  share: number;
  /**
   * A word that a larger share of the other sequences holds says nothing to a person, such as
   * "the".
   */
  shareOfRest: number;
}

/** A training sequence of an expert. */
export interface SampledText {
  /** Id of the sequence. */
  sequence: string;
  /** Source, "" if none. */
  source: string;
  /**
   * What it costs the expert: nats per predicted token of the prefix, or the cost of the whole
   * sequence.
   */
  cost: number;
  /** The beginning of its text. */
  text: string;
}

/** What sets an expert apart. */
export interface ExpertName {
  /** Id of the expert. */
  expert: number;
  /** Sequences that were sampled. */
  sampled: number;
  /**
   * Words, or pairs of tokens if no word sets it apart; the most telling first, none if nothing
   * sets it apart.
   */
  terms: TellingTerm[];
  /** The sampled sequences that cost least, the cheapest first; none if all cost the same. */
  likeliest: SampledText[];
  /** Those that cost most, the dearest first. */
  leastLikely: SampledText[];
}

/** Words that an expert is called after, of those that set it apart: the first ones. */
export const CALLED_WORDS = 4;

const SAMPLE = 8192; // sequences that are sampled of all experts together
const [LEAST_SAMPLE, MOST_SAMPLE] = [128, 512]; // of one expert
const SAMPLE_TOKENS = 256; // of a sampled sequence that are read
const LEAST_SEQUENCES = 3; // that must hold a word before it can tell anything
// Standard errors by which log-odds must exceed 0: chance must lift none of thousands of words.
const ERRORS = 4.5;
const PRIOR = 10; // sequences that the prior counts as
/**
 * Largest share of the other experts' sequences: a more common word, such as "the", tells nothing.
 */
const COMMON = 1 / 3;
const MOST_CHARACTERS = 400; // of a text
const IDS = 2 ** 26; // ids below it fit a pair into one number, exactly

/** Returns how many sequences of each expert are sampled. */
export const sampledRows = (experts: number): number =>
  Math.min(MOST_SAMPLE, Math.max(LEAST_SAMPLE, Math.floor(SAMPLE / experts)));

/** Names experts by a sample of each. */
export async function nameSamples(
  samples: Sample[],
  tokenizer: Tokenizer,
  most = 8,
  texts = 3,
): Promise<ExpertName[]> {
  const words = telling(samples.map(({ words }) => countTerms(words)), most);
  const needPairs = samples.length > 1 && words.some((terms) => terms.length === 0);
  const pairs = needPairs ? await tellingPairs(samples, tokenizer, most) : [];
  return samples.map((sample, expert) => ({
    expert,
    sampled: sample.ids.length,
    terms: words[expert].length > 0 ? words[expert] : pairs[expert] ?? [],
    ...takeEnds(sample.costs, texts),
  }));
}

/** A part's sampled sequences. */
interface Sample {
  /** Ids that were read. */
  ids: (Uint16Array | Uint32Array)[];
  /** The words of each. */
  words: string[][];
  /** Those whose cost is known, and whether they are as long as the prefix. */
  costs: (SampledText & { whole: boolean })[];
}

/** A training sequence that is sampled. */
interface SampledRow extends Pick<SampledText, "source"> {
  /** Its id. */
  sequence: bigint;
  /** Its real tokens. */
  ids: Uint16Array | Uint32Array;
  /**
   * What it costs its expert, where that is known: the sum over the prefix, or the cost of the
   * whole sequence.
   */
  cost?: number;
  /** How many of its tokens may route, where a prompt alone does. */
  routed?: number;
}

/** Makes an empty sample. */
export const newSample = (): Sample => ({ ids: [], words: [], costs: [] });

/** Adds a sequence to the sample of its expert, in place. */
export async function addRow(
  sample: Sample,
  { sequence, source, cost, ids, routed = ids.length }: SampledRow,
  { prefix, costs }: Pick<Lineage, "prefix" | "costs">,
  tokenizer: Tokenizer,
): Promise<void> {
  const begin = ids.subarray(0, SAMPLE_TOKENS);
  const most = prefix ?? ids.length;
  const text = await decodeText(begin, tokenizer);
  sample.ids.push(begin), sample.words.push(listWords(text));
  const predicted = costs === undefined ? prefixTokens(routed, most) : 1;
  if (cost === undefined || predicted < 1) return;
  sample.costs.push({
    sequence: String(sequence),
    source,
    cost: cost / predicted,
    text: shorten(text),
    whole: ids.length >= most,
  });
}

/** Decodes ids; documents that end among them stand on lines of their own. */
async function decodeText(
  ids: Uint16Array | Uint32Array,
  { eos, decode }: Tokenizer,
): Promise<string> {
  const texts: string[] = [];
  for (let begin = 0; begin < ids.length;) {
    const eosAt = ids.indexOf(eos, begin);
    const end = eosAt === -1 ? ids.length : eosAt;
    if (end > begin) texts.push(await decode(ids.subarray(begin, end)));
    begin = end + 1;
  }
  return texts.join("\n");
}

/**
 * Takes the cheapest and the dearest texts, only of sequences as long as the prefix unless there
 * are too few of these.
 */
function takeEnds(
  costs: Sample["costs"],
  most: number,
): Pick<ExpertName, "likeliest" | "leastLikely"> {
  const long = costs.filter(({ whole }) => whole);
  const sorted = (long.length >= 2 * most ? long : costs).sort((a, b) => a.cost - b.cost)
    .map(({ whole: _, ...text }) => text);
  // None is likelier.
  if (sorted[0]?.cost === sorted.at(-1)?.cost) return { likeliest: [], leastLikely: [] };
  const likeliest = sorted.slice(0, Math.min(most, Math.ceil(sorted.length / 2)));
  return { likeliest, leastLikely: sorted.slice(likeliest.length).slice(-most).reverse() };
}

function shorten(text: string): string {
  const characters = [...text];
  return characters.length <= MOST_CHARACTERS
    ? text
    : `${characters.slice(0, MOST_CHARACTERS).join("")}…`;
}

const WORD = /\p{L}[\p{L}\p{M}\p{N}_]*(?:['’]\p{L}+)*/gu;
/** Scripts that put no space between words. */
const UNSPACED = new RegExp(
  ["Han", "Hiragana", "Katakana", "Thai", "Lao", "Khmer", "Myanmar"]
    .map((script) => String.raw`\p{Script=${script}}`).join("|"),
  "u",
);
// Loaded only for such texts: it costs some time and memory.
let segmenter: Intl.Segmenter | undefined;

/**
 * Lists the words of a text in lower case. A single letter is no word, unless its script has words
 * of one letter.
 */
function listWords(text: string): string[] {
  return (text.match(WORD) ?? []).flatMap((run) => {
    if (UNSPACED.test(run)) {
      segmenter ??= new Intl.Segmenter("en", { granularity: "word" });
      return Array.from(segmenter.segment(run), ({ segment }) => segment);
    }
    return run.length > 1 ? [run.toLowerCase()] : [];
  });
}

/** Numbers of sequences that hold each term. */
interface TermCounts {
  /** Sequences that were looked at. */
  sequences: number;
  /** Those that hold a term. */
  holding: Map<string, number>;
}

function countTerms(sequences: string[][]): TermCounts {
  const holding = new Map<string, number>();
  for (const terms of sequences) {
    for (const term of new Set(terms)) holding.set(term, (holding.get(term) ?? 0) + 1);
  }
  return { sequences: sequences.length, holding };
}

/** Lists the telling terms of every part, the most telling first. */
export function telling(parts: TermCounts[], most: number): TellingTerm[][] {
  const all: TermCounts = { sequences: 0, holding: new Map() };
  for (const { sequences, holding } of parts) {
    all.sequences += sequences;
    for (const [term, count] of holding) {
      all.holding.set(term, (all.holding.get(term) ?? 0) + count);
    }
  }
  return parts.map(({ sequences, holding }) => {
    const restSequences = all.sequences - sequences;
    if (sequences === 0 || restSequences === 0) return [];
    const terms = [...holding].filter(([, count]) => count >= LEAST_SEQUENCES).map(
      ([text, count]) => {
        const restCount = all.holding.get(text)! - count;
        const prior = (all.holding.get(text)! / all.sequences) * PRIOR;
        const { logOdds, error } = computeLogOdds(
          [count, sequences],
          [restCount, restSequences],
          prior,
        );
        const shares = { share: count / sequences, shareOfRest: restCount / restSequences };
        return { text, logOdds, ...shares, least: logOdds - ERRORS * error };
      },
    );
    return terms.filter(({ least, shareOfRest }) => least > 0 && shareOfRest < COMMON)
      .sort((a, b) => b.least - a.least || (a.text < b.text ? -1 : 1))
      .slice(0, most).map(({ least: _, ...term }) => term);
  });
}

/**
 * Gives the log-odds ratio of an event that happened `[times, of so many]` in one group and in
 * another, and its standard error. The prior adds {@linkcode PRIOR} sequences to either group, of
 * which `prior` had the event.
 */
function computeLogOdds(
  [partTimes, partTotal]: [times: number, of: number],
  [restTimes, restTotal]: [times: number, of: number],
  prior: number,
): { logOdds: number; error: number } {
  const cells = [
    partTimes + prior,
    partTotal - partTimes + PRIOR - prior,
    restTimes + prior,
    restTotal - restTimes + PRIOR - prior,
  ];
  const [a, b, c, d] = cells;
  return {
    logOdds: Math.log(a / b) - Math.log(c / d),
    error: Math.sqrt(cells.reduce((sum, cell) => sum + 1 / cell, 0)),
  };
}

/** Lists the telling pairs of tokens that stand side by side, with their texts. */
async function tellingPairs(
  samples: Sample[],
  tokenizer: Tokenizer,
  most: number,
): Promise<TellingTerm[][]> {
  const { eos, decode } = tokenizer;
  const listPairs = (ids: Uint16Array | Uint32Array) =>
    Array.from(
      ids.subarray(1),
      (id, i) => id === eos || ids[i] === eos ? "" : String(ids[i] * IDS + id),
    )
      .filter(Boolean);
  const parts = samples.map(({ ids }) => countTerms(ids.map(listPairs)));
  return await Promise.all(
    telling(parts, most).map((terms) =>
      Promise.all(terms.map(async ({ text, ...reported }) => {
        const pair = await decode([Math.floor(Number(text) / IDS), Number(text) % IDS]);
        return { text: quoted(pair), ...reported };
      }))
    ),
  );
}

/**
 * Quotes a text as JSON does, and escapes line ends, control characters, marks of direction and
 * code points without a character.
 */
function quoted(text: string): string {
  const escape = (character: string) =>
    `\\u${character.codePointAt(0)!.toString(16).padStart(4, "0")}`;
  return JSON.stringify(text.toWellFormed()).replace(/[\p{C}\p{Zl}\p{Zp}]/gu, escape);
}

/** The file of a run's folder of names. */
export const NAMES_FILE = "names.json";

const SAMPLED_TEXT = v.object({
  sequence: v.string(),
  source: v.string(),
  cost: finite,
  text: v.string(),
});
const EXPERT_NAMES: v.GenericSchema<unknown, ExpertName[]> = v.array(v.object({
  expert: count,
  sampled: count,
  likeliest: v.array(SAMPLED_TEXT),
  leastLikely: v.array(SAMPLED_TEXT),
  terms: v.array(v.object({ text: v.string(), logOdds: finite, share, shareOfRest: share })),
}));

/**
 * Reads what sets the experts of a run apart; null where nobody has named them, or the names were
 * not copied with the run. Throws an `InputError` where the file is damaged.
 */
export async function expertNames(run: string): Promise<ExpertName[] | null> {
  const path = `${run}/${NAMES}/${NAMES_FILE}`;
  return await exists(path) ? await readJson(path, EXPERT_NAMES, "names of experts") : null;
}

const EXAMPLE = 80; // characters of an example at most

/**
 * Gives the beginning of a text that costs an expert little, from one word to another; null where
 * there is none.
 */
export function exampleOf({ likeliest: [sampled] }: ExpertName): string | null {
  if (!sampled) return null;
  const start = sampled.text.replace(/^\S*\s+/, "").trim(); // it may begin within a word
  return start.length <= EXAMPLE ? start : start.slice(0, EXAMPLE).replace(/\s+\S*$/, "");
}
