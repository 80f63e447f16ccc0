// Another way to the same: words by a regular expression, shingles and runs as texts in sets, all
// pairs by an inverted index.

import { uniform } from "../../../pipeline/random.ts";
import { embeddedCorpus } from "../../../pipeline/text/corpora/corpus.ts";

const UNPARTED =
  "\\p{Script=Han}\\p{Script=Hiragana}\\p{Script=Katakana}\\p{Script=Thai}\\p{Script=Lao}";
const WORD = new RegExp(
  `[${UNPARTED}]|(?:(?![${UNPARTED}])[\\p{L}\\p{N}\\p{M}\u{10000}-\u{10ffff}])+`,
  "gu",
);

/** Lists the words of a text. */
export const splitWords = (text: string): string[] =>
  text.replace(/[^]/g, (unit) => unit.toLowerCase()[0]).match(WORD) ?? [];

/** Lists the runs of so many words of a text, as texts. */
export function listRuns(text: string, length: number): string[] {
  const words = splitWords(text);
  return words.slice(length - 1).map((_, at) => words.slice(at, at + length).join(" "));
}

/**
 * Gives the Jaccard index of the shingles of all pairs of texts that share one: by "first second",
 * the lower number first.
 */
export function allPairs(texts: readonly string[]): Map<string, number> {
  const sets = texts.map((text) => new Set(listRuns(text, 5)));
  const holders = new Map<string, number[]>();
  for (const [i, set] of sets.entries()) {
    for (const shingle of set) {
      const known = holders.get(shingle);
      if (known) known.push(i);
      else holders.set(shingle, [i]);
    }
  }
  const shared = new Map<number, number>();
  for (const own of holders.values()) {
    for (const [i, a] of own.entries()) {
      for (const b of own.slice(i + 1)) {
        shared.set(a * texts.length + b, (shared.get(a * texts.length + b) ?? 0) + 1);
      }
    }
  }
  return new Map(Array.from(shared, ([pair, count]) => {
    const [a, b] = [Math.floor(pair / texts.length), pair % texts.length];
    return [`${a} ${b}`, count / (sets[a].size + sets[b].size - count)];
  }));
}

/** Ways of copying a text; `draw` gives numbers from 0 to 1. */
export const COPIES: Record<string, (text: string, draw: (i: number) => number) => string> = {
  exact: (text) => text,
  "1%": (text, draw) => changed(text, draw, 0.01),
  "2%": (text, draw) => changed(text, draw, 0.02),
  "5%": (text, draw) => changed(text, draw, 0.05),
  "20%": (text, draw) => changed(text, draw, 0.2),
  "40%": (text, draw) => changed(text, draw, 0.4),
  shuffled: (text, draw) => {
    const paragraphs = text.split(/\n+/).map((paragraph, i) => ({ paragraph, key: draw(i) }));
    return paragraphs.sort((a, b) => a.key - b.key).map(({ paragraph }) => paragraph).join("\n");
  },
  half: (text) => text.slice(0, text.length / 2),
};

function changed(text: string, draw: (i: number) => number, share: number): string {
  let word = 0;
  return text.replace(
    WORD,
    (own) => draw(word++) < share ? `other${Math.floor(1e6 * draw(1e6 + word))}` : own,
  );
}

/** Gives so many documents of the wide corpus, and `copies` of each kind after them. */
export async function corpusWithCopies(count: number, copies: number): Promise<string[]> {
  const texts: string[] = [];
  for await (const { text } of embeddedCorpus("wide", 700 * count)) {
    if (texts.push(text) === count) break;
  }
  const made = Object.entries(COPIES).flatMap(([name, copy], kind) =>
    Array.from({ length: copies }, (_, i) => {
      const at = (i * 7 + kind * 3) % texts.length;
      return copy(texts[at], (draw) => uniform(i, `copy ${name}`, draw));
    })
  );
  return [...texts, ...made];
}
