/**
 * Parts of the stage `tokenize`, by the files of the text. A file's sequences and documents are numbered from 0, so a part need not know
 * how many others have; the run without a part adds what the files before have, puts the sequences into their order and writes the shards.
 *
 *     tokens/files/00003-train.arrow …-test.arrow    the sequences of the fourth file, in their order
 *
 * @module
 */

import * as v from "valibot";
import { InputError, say, setting, task } from "../../kernels/errors.ts";
import { fromBatch, readArrow, type RecordBatch, toBatch, writeArrowFile } from "../rows/arrow.ts";
import type { Lineage } from "../rows/lineage.ts";
import { exists, filesUnder, removeFiles, wholeName } from "../run/files.ts";
import { conform, count } from "../run/schema.ts";
import { Vouched } from "../run/vouched.ts";
import type { Configuration } from "../settings/configuration.ts";
import type { TokenizeCounts } from "../text/tokenize.ts";
import type { TextFile } from "./corpus.ts";
import { type FileNote, noteOf, notePath, readNote, writeNote } from "./notes.ts";
import type { RunContext, Unfinished, Work } from "./stage.ts";

const PLACE = { stage: "tokenize", folder: "tokens/files" };
const KINDS = ["train", "test"] as const;

/** Names of what parts leave, by their paths in the run folder. */
export const MADE_PARTS = /^(tokens\/files|manifests\/tokenize)\/\d{5,}-(train|test)\.arrow(\.json)?$/;

/** The training and held-out sequences of documents, and the counts that are taken while they are read. */
export interface Sides {
  train: ReadableStream<RecordBatch>;
  test?: ReadableStream<RecordBatch>;
  counts: TokenizeCounts;
}

const COUNTS = v.object({ documents: count, tokens: count, sequences: count, droppedTails: count });
type Counts = v.InferOutput<typeof COUNTS>;

/**
 * Says whether the text can be tokenized file by file: a limit concerns all files, and with `concat`
 * sequences cross them.
 */
export function hasFiles({ packing, maxTokens, maxDocuments }: Configuration): boolean {
  return packing === "document" && maxTokens === 0 && maxDocuments === 0;
}

/** Throws an `InputError` where the text cannot be made into tokens file by file. */
export function checkParts({ packing, maxTokens, maxDocuments }: Configuration): void {
  const refuse = (name: string, must: string, is: string | number) => {
    throw new InputError(say`Cannot tokenize in parts as ${setting(name)} must be ${must}: it is ${is}`, {
      remedy: say`leave out ${setting("part")}`,
    });
  };
  if (packing !== "document") refuse("packing", "document, so that no sequence crosses files", packing);
  if (maxTokens > 0) refuse("maxTokens", "0, as a limit is of all files", maxTokens);
  if (maxDocuments > 0) refuse("maxDocuments", "0, as a limit is of all files", maxDocuments);
}

const nameOf = (file: number, kind: string) => `${String(file).padStart(5, "0")}-${kind}.arrow`;

/** Reads the notes of a file of the text; null where it is still to be made into tokens. */
async function notesOf(
  run: string,
  file: number,
  kinds: readonly string[],
  key: string,
): Promise<FileNote[] | null> {
  const notes = await Promise.all(
    kinds.map((kind) => noteOf({ ...PLACE, run, file: nameOf(file, kind), key })),
  );
  return notes.some((note) => note === null) ? null : notes as FileNote[];
}

const kindsOf = ({ holdout }: Configuration) => holdout > 0 ? KINDS : KINDS.slice(0, 1);

/** Makes the tokens of files by their numbers, those that no note tells of; a file that another process has in hand is waited for. */
export async function tokenizeFiles(
  work: Work,
  files: readonly TextFile[],
  numbers: readonly number[],
  key: string,
  tokenize: (documents: ReturnType<TextFile["open"]>) => Sides,
): Promise<void> {
  const { run, configuration, lock } = work;
  const kinds = kindsOf(configuration);
  for (const file of numbers) {
    const release = await lock(`${PLACE.stage}-${file}`, { patience: Infinity });
    try {
      if (await notesOf(run, file, kinds, key)) continue;
      const { counts, ...sides } = tokenize(files[file].open());
      const written = await Promise.all(
        kinds.map((kind) => writeArrowFile(`${run}/${PLACE.folder}/${nameOf(file, kind)}`, sides[kind]!)),
      );
      const { documents, tokens, sequences, droppedTails } = counts;
      const read = { ...work.files.read };
      for (const [i, kind] of kinds.entries()) {
        const note = { key, ...written[i], read, counts: { documents, tokens, sequences, droppedTails } };
        await writeNote(run, PLACE.stage, nameOf(file, kind), note);
      }
    } finally {
      await release();
    }
  }
}

/** Counts the files that are made into tokens. */
export async function filesDone(work: Work, files: number, key: string): Promise<number> {
  let done = 0;
  for (let file = 0; file < files; file++) {
    if (await notesOf(work.run, file, kindsOf(work.configuration), key)) done++;
  }
  return done;
}

/** Whether parts have left notes. */
export async function hasParts(run: string): Promise<boolean> {
  return await exists(`${run}/manifests/${PLACE.stage}`);
}

/** Joins the sequences of all files and numbers them through. */
export async function joinFiles(
  { run, configuration, files: vouched }: Work,
  files: number,
  key: string,
  lineage: Lineage,
  counts: TokenizeCounts,
): Promise<Sides> {
  const kinds = kindsOf(configuration);
  const before: { sequences: bigint; documents: bigint }[] = [];
  const own = new Vouched(); // of scratch files, which no manifest mentions
  for (let file = 0; file < files; file++) {
    const notes = (await notesOf(run, file, kinds, key))!;
    const [note] = notes;
    for (const [i, kind] of kinds.entries()) {
      own.add(`${run}/${PLACE.folder}`, { [nameOf(file, kind)]: notes[i] });
    }
    const more: Counts = conform(COUNTS, note.counts);
    before.push({ sequences: BigInt(counts.sequences), documents: BigInt(counts.documents) });
    for (const name of ["documents", "tokens", "sequences", "droppedTails"] as const) {
      counts[name] += more[name];
    }
    vouched.note(note.read ?? {});
  }
  if (counts.documents === 0) {
    throw new InputError(`Cannot tokenize the text of "${run}" as there must be some: its files hold none`, {
      where: run,
    });
  }
  const join = (kind: string) =>
    ReadableStream.from(async function* () {
      for (const [file, { sequences, documents }] of before.entries()) {
        for await (const batch of readArrow(`${run}/${PLACE.folder}/${nameOf(file, kind)}`, undefined, own)) {
          const columns = fromBatch(batch);
          yield toBatch({
            ...columns,
            sequence: columns.sequence.map((id) => id + sequences),
            document: columns.document!.map((id) => id + documents),
          }, lineage);
        }
      }
    }());
  return { train: join("train"), test: kinds.length > 1 ? join("test") : undefined, counts };
}

/** Removes what parts left. */
export async function removeParts(run: string): Promise<void> {
  for (const folder of [PLACE.folder, `manifests/${PLACE.stage}`]) {
    await removeFiles(run, folder, (path) => MADE_PARTS.test(wholeName(path) ?? path));
  }
}

/** Says how far the parts have come; null where none has begun. */
export async function unfinishedTokens({ run }: RunContext, key: string): Promise<Unfinished | null> {
  const files: Unfinished["files"] = {};
  for await (const path of filesUnder(run, `manifests/${PLACE.stage}`)) {
    if (!MADE_PARTS.test(path)) continue;
    const file = path.slice(`manifests/${PLACE.stage}/`.length, -".json".length);
    const note = await readNote(notePath(run, PLACE.stage, file)).catch(() => null);
    if (note?.key === key) files[`${PLACE.folder}/${file}`] = { bytes: note.bytes, sha256: note.sha256 };
  }
  const done = new Set(Object.keys(files).map((path) => path.replace(/-(train|test)\.arrow$/, ""))).size;
  if (done === 0) return null;
  return {
    complete: false,
    what: `${done} files are tokens so far, by parts`,
    remedy: say`run ${task("tokenize", { run })} to do the others and close it, or their parts first`,
    files,
  };
}
