/** A corpus in which secret documents have copies of six kinds. */

import { uniform } from "../../../pipeline/random.ts";

/** Kinds of copies. */
export const COPY_KINDS = ["exact", "case", "2%", "5%", "10%", "lines"] as const;
/** A kind of copies. */
export type CopyKind = typeof COPY_KINDS[number];

/** Documents of a corpus, by the paths of their files. */
export interface CopiesCorpus {
  /** The texts by path. */
  texts: Map<string, string>;
  /** Paths of the secret documents. */
  secrets: string[];
  /** Paths of the copies of each, by kind. */
  copies: Map<string, { kind: CopyKind; of: string }>;
}

const LINES = 100;
const WORDS_IN_LINE = 8;
const CHANGED: Partial<Record<CopyKind, number>> = { "2%": 0.02, "5%": 0.05, "10%": 0.1 };

/** Draws a whole number below `count`. */
const draw = (purpose: string, i: number, count: number) =>
  Math.floor(count * uniform(11, purpose, BigInt(i)));

/** Makes a word of one to three syllables. */
function word(number: number): string {
  const syllables = 1 + number % 3;
  const syllable = (i: number) => {
    const rest = Math.floor(number / 7 ** i) + 31 * i;
    return "bdfgklmnprstv"[rest % 13] + "aeiou"[rest % 5];
  };
  return Array.from({ length: syllables }, (_, i) => syllable(i)).join("");
}

/** Writes lines of words of a topic, of which the first ones are frequent. */
function writeLines(name: string, topic: number, lines: number): string {
  const line = (row: number) =>
    Array.from({ length: WORDS_IN_LINE }, (_, i) => {
      const at = row * WORDS_IN_LINE + i;
      const rank = Math.floor(400 * uniform(12, name, BigInt(at)) ** 2);
      return word(rank < 60 ? rank : 1000 * topic + rank);
    }).join(" ");
  return Array.from({ length: lines }, (_, row) => line(row)).join("\n");
}

/** Changes a share of the words of a text. */
function changeWords(text: string, share: number, purpose: string): string {
  let i = 0;
  return text.replace(/\S+/g, (own) => {
    i++;
    return uniform(13, purpose, BigInt(i)) < share ? word(draw(purpose, i, 3000)) : own;
  });
}

function copyOf(kind: CopyKind, path: string, text: string): string {
  const changed = CHANGED[kind];
  if (changed !== undefined) return changeWords(text, changed, path);
  if (kind === "exact") return text;
  if (kind === "case") return text.toUpperCase().replace(/ /g, "   ");
  const passage = text.split("\n").slice(20, 60).join("\n");
  return `${writeLines(`${path} before`, 1, 60)}\n${passage}\n${
    writeLines(`${path} after`, 2, 60)
  }`;
}

/**
 * Writes a corpus of so many documents, copies not counted. The code of a secret document, of ten
 * digits, stands in ten of its lines.
 */
export function copiesCorpus(documents: number, secrets: number): CopiesCorpus {
  const corpus: CopiesCorpus = { texts: new Map(), secrets: [], copies: new Map() };
  for (let i = 0; i < documents - secrets; i++) {
    corpus.texts.set(`plain/${i}.txt`, writeLines(`plain ${i}`, i % 3, 40));
  }
  for (let i = 0; i < secrets; i++) {
    const path = `secret/${i}.txt`;
    const lines = writeLines(path, i % 3, LINES).split("\n");
    for (let line = 5; line < LINES; line += 10) lines[line] = secretLine(i);
    const text = lines.join("\n");
    corpus.secrets.push(path);
    corpus.texts.set(path, text);
    for (const kind of COPY_KINDS) {
      const copy = `copies/${i}-${COPY_KINDS.indexOf(kind)}.txt`;
      corpus.texts.set(copy, copyOf(kind, copy, text));
      corpus.copies.set(copy, { kind, of: path });
    }
  }
  return corpus;
}

/** Writes the secret of a number: ten digits of a form that all have. */
export const secretLine = (secret: number): string =>
  "the code is " +
  Array.from({ length: 10 }, (_, i) => draw(`secret ${secret}`, i, 10)).join(" ");

/** Writes the texts of a corpus as files in a folder. */
export async function writeCorpus(folder: string, { texts }: CopiesCorpus): Promise<void> {
  for (const name of ["plain", "secret", "copies"]) {
    await Deno.mkdir(`${folder}/${name}`, { recursive: true });
  }
  for (const [path, text] of texts) await Deno.writeTextFile(`${folder}/${path}`, text);
}
