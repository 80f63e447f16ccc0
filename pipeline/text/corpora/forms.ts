/**
 * Makes documents of the files of packages, by what is in them: prose with tags, programs, verses,
 * tables.
 *
 * @module
 */

const LONGEST = 6_000; // a document is cut where the next piece would make it longer
const WIDEST = 400; // characters of a line of text; longer ones say that a piece is data

const LICENCE = /redistribution and use|permission is hereby granted|licensed under/i;
const HEAD = /^(?:\s*\/\/[^\n]*\n|\s*\/\*[^]*?\*\/)+/; // comments at the head of a program

/**
 * Patterns of places where a text may be cut, the best first; what lies there stays with what comes
 * before.
 */
type Cuts = readonly RegExp[];

const SPEECH: Cuts = [/(?<=\n)/, /(?<=[.?!] )/];
const LINES: Cuts = [/(?<=\n)/];
const PROGRAM: Cuts = [/(?<=\n\n)(?=\S)/, /(?<=\n\n)/, /(?<=\n)/];
const PYTHON: Cuts = [
  /(?<=\n)(?=(?:class|def|async def|@|if|for|try)\b)/,
  /(?<=\n)(?= ?\S)/,
  /(?<=\n)/,
];

/**
 * Cuts a text at the best places. Pieces that are still too long are cut at the second best, and so
 * on.
 */
function cut(text: string, [best, ...furtherCuts]: Cuts): string[] {
  const pieces = text.split(best);
  if (furtherCuts.length === 0) return pieces;
  return pieces.flatMap((piece) => piece.length > LONGEST ? cut(piece, furtherCuts) : [piece]);
}

/** Joins neighbouring pieces to documents of at most `LONGEST` characters; no piece is longer. */
function join(pieces: readonly string[]): string[] {
  const documents: string[] = [];
  let open = "";
  for (const piece of pieces) {
    if (open !== "" && open.length + piece.length > LONGEST) {
      documents.push(open);
      open = "";
    }
    open += piece;
  }
  return [...documents, open].map((text) => text.replace(/^\n+/, "").trimEnd());
}

/** Removes the comments at a program's head, licences, and pieces that are data. */
function program(text: string): string[] {
  const body = text.replace(HEAD, "")
    .replace(/\/\*[^]*?\*\//g, (comment) => LICENCE.test(comment) ? "" : comment)
    .replace(/\n(?:[ \t]*\n)+/g, "\n\n");
  return join(cut(body, PROGRAM).filter((piece) => !isTable(piece)));
}

/** Returns whether a piece of a program is mostly numbers or has lines that no person wrote. */
function isTable(piece: string): boolean {
  if (piece.split("\n").some((line) => line.length > WIDEST)) return true;
  const numbers = piece.match(/\b(?:0x[\da-f]+|\d+)\b|'\\\d+'/gi)?.length ?? 0;
  return numbers > 50 && numbers * 12 > piece.length;
}

/** Removes the frames that solady draws around headings. */
function contracts(text: string): string[] {
  const lines = text.split("\n").filter((line) => !/^\s*\/\*.*[˚•´°].*\*\/\s*$/.test(line));
  return program(lines.join("\n"));
}

/**
 * Gives the chapters of a Bible whose verses are keyed by "Book chapter:verse", one verse per line.
 */
function chapters(text: string): string[] {
  const versesByChapter = new Map<string, string[]>();
  for (const [place, verse] of Object.entries<string>(JSON.parse(text))) {
    const chapter = place.slice(0, place.lastIndexOf(":"));
    // A new paragraph; words that the translators added.
    const words = verse.replace(/^# /, "").replace(/[[\]]/g, "");
    versesByChapter.set(chapter, [...versesByChapter.get(chapter) ?? [], words]);
  }
  return [...versesByChapter.values()].map((verses) => verses.join("\n"));
}

/**
 * Gives the Python modules in a script that holds them as JSON: a name, and an array of ".py" and
 * the text. Tables of encodings are left out, and so is the manual, which comes as string literals.
 */
function pythonModules(text: string): string[] {
  const json = text.slice(text.indexOf("{"), text.lastIndexOf("}") + 1);
  return Object.entries<unknown>(JSON.parse(json)).flatMap(([name, module]) => {
    if (!Array.isArray(module) || module[0] !== ".py" || /^(?:encodings|pydoc_data)\./.test(name)) {
      return [];
    }
    const source = (module[1] as string).replace(/^\s*''\n/, "").replace(/\n(?:[ \t]*\n)+/g, "\n");
    return join(cut(source, PYTHON).filter((piece) => !isTable(piece)));
  });
}

/**
 * Gives a program without the licence at its head; no text where long lines show that it is data.
 */
function sourceText(text: string): string[] {
  return text.split("\n").some((line) => line.length > 500)
    ? []
    : [text.replace(HEAD, "").trimStart()];
}

/** Makes the documents of a file, by the form that `fixtures/corpora.json` gives it. */
export const FORMS: Readonly<Record<string, (text: string) => string[]>> = {
  prose: (text) => [brownProse(text)],
  plain: (text) => [text.trim()],
  source: sourceText,
  speeches: (text) => join(cut(text, SPEECH)),
  verses: chapters,
  messages: (text) => join(cut(Object.values<string>(JSON.parse(text)).join("\n"), LINES)),
  lines: (text) => join(cut(text, LINES)),
  program,
  contracts,
  python: pythonModules,
};

const CLOSING = new Set([",", ".", ";", ":", "?", "!", ")", "]"]);
const OPENING = new Set(["(", "["]);

/**
 * Makes readable prose of the tagged text of the Brown corpus (Francis and Kučera, "A Standard
 * Corpus of Present-Day Edited American English", form C). There each line is a sentence, a slash
 * and its part of speech follow every word, and empty lines separate paragraphs. It joins words as
 * print does.
 */
function brownProse(tagged: string): string {
  const paragraphs: string[] = [];
  let sentences: string[] = [];
  const close = () => {
    if (sentences.length > 0) paragraphs.push(sentences.join(" "));
    sentences = [];
  };
  for (const line of tagged.split("\n")) {
    const tokens = line.trim().split(/\s+/).filter((token) => token !== "").map(splitTag);
    const isHeading = tokens.length > 0 && tokens.every(({ tag }) => tag.endsWith("-hl"));
    if (tokens.length === 0 || isHeading) close();
    if (tokens.length > 0) sentences.push(sentence(tokens.map(({ word }) => word)));
    if (isHeading) close();
  }
  close();
  return paragraphs.filter((text) => text !== "").join("\n\n");
}

/** "and/or/cc" is the word "and/or" with the tag "cc". */
function splitTag(token: string): { word: string; tag: string } {
  const at = token.lastIndexOf("/");
  return { word: token.slice(0, at), tag: token.slice(at + 1) };
}

/**
 * Joins the words of a sentence with the spaces that print has, and its quotes in the American
 * order.
 */
function sentence(words: string[]): string {
  let text = "";
  let glue = true; // no space before the next word
  let isQuoting = false; // within single quotes
  for (let i = 0; i < words.length; i++) {
    let word = words[i];
    if (word.startsWith("**")) continue; // a code for what could not be set
    if (word === words[i - 1] && ";:?!".includes(word)) continue; // the corpus doubles these
    const isSingle = word === "'";
    const closes = CLOSING.has(word) || word === "''" || (isSingle && isQuoting);
    const opens = OPENING.has(word) || word === "``" || (isSingle && !isQuoting);
    if (isSingle) isQuoting = !isQuoting;
    if (word === "''" || word === "``") word = '"';
    if (closes && `"'`.includes(word) && ",.?!".includes(words[i + 1] ?? " ")) {
      word = words[++i] + word;
    }
    text += glue || closes ? word : ` ${word}`;
    glue = opens;
  }
  return text;
}
