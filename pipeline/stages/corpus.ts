/**
 * The stage `corpus` fixes the text of a run. It hashes input files, which later stages read where they are.
 * Text that can be read only once (standard input, documents that a script hands over) or that is no file
 * (the embedded corpus) is written to `corpus/documents.jsonl`.
 *
 * @module
 */

import { InputError, say, task } from "../../kernels/errors.ts";
import { askAll, hashFile, removeIfThere, sha256, writeAtomic } from "../run/files.ts";
import type { Manifest } from "../run/manifest.ts";
import { canonical } from "../run/seal.ts";
import { Vouched } from "../run/vouched.ts";
import { namesOf } from "../settings/configuration.ts";
import { TEXT, textSeedOf } from "../settings/text.ts";
import { CORPORA } from "../text/corpora/corpus.ts";
import { checkLimit, documentLines, openDocuments, readOptions } from "../text/documents.ts";
import { expandInputs, isReadAsText } from "../text/inputs.ts";
import { type Document, readDocuments } from "../text/readers.ts";
import { OFF, sourceOfPath } from "../text/path_source.ts";
import { type Limit, takeByHash } from "../text/take.ts";
import { oneStage, pickSettings, type RunContext, type Stage, type Work } from "./stage.ts";

/** The stage's file, by its path in the run folder, where it keeps the text. */
export const SPOOL = "corpus/documents.jsonl";

const stage: Stage = {
  name: "corpus",
  about: "Fixes the text of a run: hashes its files, or keeps what is read once only.",
  needs: [],
  settings: [...namesOf(TEXT), "seed"],
  revision: 1,
  outputs: ["corpus/"],
  values: ({ configuration: c }) => {
    const { take, sourceFromPath, tokenColumn, ...values } = pickSettings(
      c,
      namesOf(TEXT, "textSeed", "blockBytes"),
    );
    return {
      ...values,
      ...(sourceFromPath === OFF ? {} : { sourceFromPath }),
      ...(tokenColumn === "" ? {} : { tokenColumn }),
      ...(c.maxDocuments === 0 ? {} : take === "hash" ? { take, seed: textSeedOf(c) } : { take }),
    };
  },
  makes: /^corpus\/documents\.jsonl$/,
  inputs: () => ({}),
  async external({ configuration: { input, corpus } }) {
    if (input.length === 0) return { corpus: CORPORA[corpus].version };
    const paths = await expandInputs(input, { again: true });
    const hashes = await askAll(paths, async (path) => path === "-" ? "" : (await hashFile(path)).sha256, 8);
    const named = paths.map((path, i) => [`${String(i).padStart(6, "0")} ${path}`, hashes[i]]);
    return Object.fromEntries(named.filter((_, i) => paths[i] !== "-"));
  },
  // Standard input cannot be compared before it is read, so it is read whenever it is given.
  again: ({ readStandardInput }) => readStandardInput,
  prepare({ run, configuration, documents: given, emit, signal }) {
    if (!given) checkLimit(configuration);
    return async () => {
      const { input, maxDocuments } = configuration;
      const paths = input.length === 0 ? [] : await expandInputs(input);
      const texts = configuration.format === "auto" ? paths.filter(isReadAsText) : [];
      if (texts.length > 0) {
        const which = texts.length === 1
          ? `"${texts[0]}" is`
          : `${texts.length} files such as "${texts[0]}" are`;
        emit({ type: "warning", message: `${which} read as text: a document each` });
      }
      if (input.length > 0 && !paths.includes("-")) {
        await removeIfThere(`${run}/${SPOOL}`);
        return { outputs: {}, result: { files: paths.length } };
      }
      let documents = 0;
      // Where documents are taken by their hashes, text that is read once is kept whole: which ones are taken is known only at its end.
      const isHead = configuration.take === "head";
      const spooled = { ...configuration, maxDocuments: isHead ? configuration.maxDocuments : 0 };
      const lines = async function* () {
        for await (const line of documentLines(given ? textsAlone(given) : openDocuments(spooled))) {
          signal?.throwIfAborted();
          yield line;
          if (++documents % 100 === 0) {
            emit({ type: "progress", stage: "corpus", done: documents, unit: "documents" });
          }
          if (given && documents === maxDocuments) break;
        }
      };
      const outputs = { [SPOOL]: await writeAtomic(`${run}/${SPOOL}`, lines()) };
      return { outputs, result: { documents } };
    };
  },
  estimate: ({ input }, { characters }) => ({
    seconds: characters / 50e6,
    diskBytes: input.length === 0 || input.includes("-") ? characters * 1.1 : 0,
    memoryBytes: 0,
  }),
};

/**
 * Passes on the documents that a script hands over. Throws an `InputError` for one that comes as ids, as only
 * text is kept.
 */
async function* textsAlone(documents: AsyncIterable<Document>): AsyncGenerator<Document> {
  for await (const document of documents) {
    if (document.tokens === undefined) yield document;
    else {throw new InputError(
        "Cannot keep a document that is handed over as it must be text: it is token ids",
      );}
  }
}

/** Fixes the text of a run. */
export const corpus = oneStage(stage, namesOf(TEXT));

/** The files of a text as the stage `corpus` hashed them, in their order, and what checks them as they are read. */
export interface FixedText {
  paths: string[];
  vouched: Vouched;
}

/**
 * Gives the files that the stage `corpus` hashed: others that have come since are not part of the text. What was
 * read of them is kept apart from `files`, as the manifests of later stages tell of the run's own files alone.
 */
export function fixedText(
  { run, files }: Pick<RunContext, "run"> & Partial<Pick<Work, "files">>,
  corpus: Manifest,
): FixedText {
  if (corpus.outputs[SPOOL]) return { paths: [`${run}/${SPOOL}`], vouched: files ?? new Vouched() };
  const hashed = Object.entries(corpus.inputs).map(([name, sha256]) => {
    const space = name.indexOf(" ");
    return { number: Number(name.slice(0, space)), path: name.slice(space + 1), sha256 };
  }).sort((one, other) => one.number - other.number);
  const vouched = new Vouched((path) =>
    new InputError(
      `Cannot read the text of "${run}" as its files must be those that stage "corpus" hashed: "${path}" has changed since`,
      { where: path, remedy: say`run ${task("partition", { run })}, which takes what is there now` },
    )
  );
  for (const { path, sha256 } of hashed) vouched.add("", { [path]: { bytes: 0, sha256 } });
  return { paths: hashed.map(({ path }) => path), vouched };
}

/**
 * Opens the documents that the stage `corpus` fixed. `onLeftOut` is called with the sources of which a limit
 * takes none.
 */
export function documentsOf(
  { configuration }: Pick<RunContext, "configuration">,
  corpus: Manifest,
  { paths }: FixedText,
  onLeftOut?: Limit["onLeftOut"],
): ReadableStream<Document> {
  if (!corpus.outputs[SPOOL]) return openDocuments({ ...configuration, input: paths }, onLeftOut);
  const open = () => readDocuments(paths, { sourceField: "source" });
  const { maxDocuments: most, take } = configuration;
  if (configuration.input.length === 0 || most === 0 || take === "head") return open();
  return ReadableStream.from(takeByHash(open, { seed: textSeedOf(configuration), most, onLeftOut }));
}

/** A file of the text that the stage `corpus` fixed; the whole text if it is kept in one file. */
export interface TextFile {
  /** Its path. */
  path: string;
  /** Opens its documents. */
  open(): AsyncIterable<Document>;
}

/** Lists the files of a text without a limit. */
export function textFiles(work: RunContext & Pick<Work, "files">, corpus: Manifest): TextFile[] {
  const { paths } = fixedText(work, corpus);
  const options = corpus.outputs[SPOOL]
    ? { sourceField: "source" }
    : { ...readOptions(work.configuration), mayBeEmpty: true };
  return paths.map((path) => ({ path, open: () => readDocuments([path], options) }));
}

/**
 * Hashes the text that the stage `corpus` fixed: the contents of its files in their order, their formats and
 * how they are read. The hash does not depend on where the files lie and what they are called.
 */
export function textHash(corpus: Manifest): string {
  if (corpus.outputs[SPOOL]) return corpus.outputs[SPOOL].sha256;
  const { input: _, ...reading } = corpus.configuration;
  const { sourceFromPath } = reading;
  const sourceOf = (name: string) =>
    typeof sourceFromPath === "string"
      ? [sourceOfPath(name.slice(name.indexOf(" ") + 1), sourceFromPath)]
      : [];
  const files = Object.keys(corpus.inputs).sort().map((
    name,
  ) => [kindOf(name), corpus.inputs[name], ...sourceOf(name)]);
  return sha256(canonical({ files, reading }));
}

/** Gives the part of a file name that tells its format: everything after the first dot. */
const kindOf = (path: string): string => path.slice(path.lastIndexOf("/") + 1).split(".").slice(1).join(".");
