/**
 * Parts of the stage `tokenize`, by the files of the text. A file's sequences and documents are numbered from 0, so a part need not know
 * how many others have. Once all files are made into tokens, parts add what the files before have, exchange the sequences and write the
 * shards; the run without a part does what is left of all this.
 *
 *     tokens/files/00003-train.arrow …-test.arrow    the sequences of the fourth file, in their order
 *
 * @module
 */

import * as v from "valibot";
import { InputError, say, setting, task } from "../../kernels/errors.ts";
import { type RecordBatch, writeArrowFile } from "../rows/arrow.ts";
import type { Lineage } from "../rows/lineage.ts";
import { shardName } from "../rows/arrow.ts";
import { exists, type FileRecord, filesUnder } from "../run/files.ts";
import { conform, count } from "../run/schema.ts";
import type { Configuration } from "../settings/configuration.ts";
import type { TokenizeCounts } from "../text/tokenize.ts";
import type { TextFile } from "./corpus.ts";
import { type FileNote, noteOf, notePath, type Part, readNote, shareOf, writeNote } from "./notes.ts";
import type { RunContext, Unfinished, Work } from "./stage.ts";
import {
  exchange,
  type ExchangePlan,
  exchangeRemoved,
  type FileTokens,
  groupOf,
  groupsOf,
  type Kind,
  MADE_EXCHANGE,
  pieceRecords,
  piecesOf,
  shardNotes,
  shardsOf,
  writeOwnShards,
} from "./tokenize_exchange.ts";

const PLACE = { stage: "tokenize", folder: "tokens/files" };
const KINDS = ["train", "test"] as const;

const MADE_FILES = /^(tokens\/files|manifests\/tokenize)\/\d{5,}-(train|test)\.arrow(\.json)?$/;

/** Names of the files that parts leave besides shards, by their paths in the run folder. */
export const MADE_PARTS = new RegExp(`${MADE_FILES.source}|${MADE_EXCHANGE.source}`);

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

/** A text that is made into tokens by its files. */
export interface TextInFiles {
  /** Its files, in their order. */
  files: readonly TextFile[];
  /** Hash of what the stage depends on. */
  key: string;
  /** Says where its sequences come from. */
  lineage: Lineage;
  /** Makes tokens of documents, numbered from 0. */
  tokenize(documents: ReturnType<TextFile["open"]>): Sides;
}

/** Says whether groups of files are exchanged. It looks until one is, and then remembers: others may exchange theirs meanwhile. */
function exchangedIn(run: string, key: string): (group: number) => Promise<boolean> {
  const found = new Set<number>();
  return async (group) => {
    if (!found.has(group) && await piecesOf(run, group, key) !== null) found.add(group);
    return found.has(group);
  };
}

/** Reads the notes of a file of the text by their kinds; null where it is still to be made into tokens. */
async function notesOf(
  { run, configuration }: RunContext,
  file: number,
  { files, key }: Pick<TextInFiles, "files" | "key">,
  isExchanged: (group: number) => Promise<boolean>,
): Promise<Record<Kind, FileNote | undefined> | null> {
  const found: Record<Kind, FileNote | undefined> = { train: undefined, test: undefined };
  for (const kind of kindsOf(configuration)) {
    const name = nameOf(file, kind);
    let note = await noteOf({ ...PLACE, run, file: name, key });
    if (note === null && kind === "train" && await isExchanged(groupOf(file, files.length))) {
      // Its sequences are exchanged, and the file is gone.
      note = await readNote(notePath(run, PLACE.stage, name)).catch(() => null);
    }
    if (note?.key !== key) return null;
    found[kind] = note;
  }
  return found;
}

const kindsOf = ({ holdout }: Configuration) => holdout > 0 ? KINDS : KINDS.slice(0, 1);

/** Makes the tokens of files by their numbers, those that no note tells of; a file that another process has in hand is waited for. */
async function tokenizeFiles(work: Work, numbers: readonly number[], text: TextInFiles): Promise<void> {
  const { run, configuration, lock } = work;
  const kinds = kindsOf(configuration);
  const isExchanged = exchangedIn(run, text.key);
  for (const file of numbers) {
    const release = await lock(`${PLACE.stage}-${file}`, { patience: Infinity });
    try {
      if (await notesOf(work, file, text, isExchanged)) continue;
      const { counts, ...sides } = text.tokenize(text.files[file].open());
      const written = await Promise.all(
        kinds.map((kind) => writeArrowFile(`${run}/${PLACE.folder}/${nameOf(file, kind)}`, sides[kind]!)),
      );
      const { documents, tokens, sequences, droppedTails } = counts;
      const read = { ...work.files.read };
      for (const [i, kind] of kinds.entries()) {
        const note = {
          key: text.key,
          ...written[i],
          read,
          counts: { documents, tokens, sequences, droppedTails },
        };
        await writeNote(run, PLACE.stage, nameOf(file, kind), note);
      }
    } finally {
      await release();
    }
  }
}

/** Whether parts have left notes. */
export async function hasParts(run: string): Promise<boolean> {
  return await exists(`${run}/manifests/${PLACE.stage}`);
}

/** Plans the exchange; a number where only so many files are made into tokens. `counts` gets what all of them hold. */
async function planOf(
  work: Work,
  text: TextInFiles,
  counts?: TokenizeCounts,
): Promise<ExchangePlan | number> {
  const { run, configuration: { seed, shardSequences } } = work;
  const files: FileTokens[] = [];
  const total = { documents: 0, tokens: 0, sequences: 0, droppedTails: 0 };
  const isExchanged = exchangedIn(run, text.key);
  let done = 0;
  for (const file of text.files.keys()) {
    const notes = await notesOf(work, file, text, isExchanged);
    if (notes === null) continue;
    done++;
    files.push({
      paths: {
        train: `${PLACE.folder}/${nameOf(file, "train")}`,
        test: `${PLACE.folder}/${nameOf(file, "test")}`,
      },
      notes,
      before: { sequences: BigInt(total.sequences), documents: BigInt(total.documents) },
    });
    const { counts: own, read } = notes.train!;
    const more: Counts = conform(COUNTS, own);
    for (const name of Object.keys(total) as (keyof Counts)[]) total[name] += more[name];
    work.files.note(read ?? {});
  }
  if (done < text.files.length) return done;
  if (total.documents === 0) {
    throw new InputError(`Cannot tokenize the text of "${run}" as there must be some: its files hold none`, {
      where: run,
    });
  }
  if (counts) Object.assign(counts, total);
  return { key: text.key, seed, shardSequences, lineage: text.lineage, files };
}

const numbersOf = (part: Part, things: number): number[] => {
  const { from, to } = shareOf(part, things);
  return Array.from({ length: to - from }, (_, i) => from + i);
};

/** How far all parts are, and what is known of the shards once the exchange is complete. */
interface Progress {
  /** Files that are made into tokens. */
  tokenized: number;
  /** Groups of files that are exchanged. */
  exchanged?: number;
  /** Notes of the shards by their kinds, null where one is still to be written. */
  shards?: Record<Kind, (FileNote | null)[]>;
}

/**
 * Does what a part can: its files; once all files are made into tokens its share of the exchange; once that is complete its shards.
 * `counts` gets what the text holds, once all files are made into tokens.
 */
async function advance(
  work: Work,
  text: TextInFiles,
  part: Part,
  counts?: TokenizeCounts,
): Promise<Progress> {
  const files = text.files.length;
  await tokenizeFiles(work, numbersOf(part, files), text);
  const plan = await planOf(work, text, counts);
  if (typeof plan === "number") return { tokenized: plan };
  await exchange(work, plan, numbersOf(part, groupsOf(files)));
  const exchanged = await exchangedGroups(work.run, files, text.key);
  if (exchanged < groupsOf(files)) return { tokenized: files, exchanged };
  const shards: Record<Kind, (FileNote | null)[]> = { train: [], test: [] };
  for (const kind of KINDS) {
    await writeOwnShards(work, plan, kind, numbersOf(part, shardsOf(plan, kind)));
    shards[kind] = await shardNotes(work, plan, kind);
  }
  return { tokenized: files, exchanged, shards };
}

/** Does what a part can, and returns how far all parts are. */
export async function tokenizePart(
  work: Work,
  text: TextInFiles,
  part: Part,
): Promise<Record<string, unknown>> {
  const files = text.files.length;
  const own = numbersOf(part, files).length;
  const { tokenized, exchanged, shards } = await advance(work, text, part);
  const notes = shards && [...shards.train, ...shards.test];
  return {
    ...{ own, tokenized, files },
    ...exchanged !== undefined ? { exchanged, groups: groupsOf(files) } : {},
    ...notes ? { written: notes.filter((note) => note !== null).length, shards: notes.length } : {},
  };
}

async function exchangedGroups(run: string, files: number, key: string): Promise<number> {
  let exchanged = 0;
  for (let group = 0; group < groupsOf(files); group++) {
    if (await piecesOf(run, group, key)) exchanged++;
  }
  return exchanged;
}

/** Does what no part has done, and returns the shards; `counts` gets what the text holds. */
export async function closeParts(
  work: Work,
  text: TextInFiles,
  counts: TokenizeCounts,
): Promise<{ outputs: Record<string, FileRecord>; rows: Record<Kind, number> }> {
  const { shards } = await advance(work, text, { index: 1, of: 1 }, counts);
  if (!shards) throw exchangeRemoved(work.run); // another process has removed what was made
  const outputs: Record<string, FileRecord> = {};
  const rows = { train: 0, test: 0 };
  for (const kind of KINDS) {
    for (const [shard, note] of shards[kind].entries()) {
      if (note === null) throw exchangeRemoved(work.run);
      const { bytes, sha256, read } = note;
      outputs[`tokens/${shardName(kind, shard)}`] = { bytes, sha256 };
      rows[kind] += note.rows;
      work.files.note(read ?? {});
    }
  }
  return { outputs, rows };
}

/** Says how far the parts have come; null where none has begun. */
export async function unfinishedTokens({ run }: RunContext, key: string): Promise<Unfinished | null> {
  const [tokens, exchanged, shards]: Unfinished["files"][] = [{}, {}, {}];
  for await (const path of filesUnder(run, `manifests/${PLACE.stage}`)) {
    if (!MADE_PARTS.test(path)) continue;
    const name = path.slice(`manifests/${PLACE.stage}/`.length, -".json".length);
    const note = await readNote(notePath(run, PLACE.stage, name)).catch(() => null);
    if (note?.key !== key) continue;
    const record = { bytes: note.bytes, sha256: note.sha256 };
    const [, group] = /^exchange-(\d+)$/.exec(name) ?? [];
    if (group !== undefined) {
      Object.assign(exchanged, pieceRecords(Number(group), await piecesOf(run, Number(group), key) ?? []));
    } else if (/^(train|test)-/.test(name)) shards[`tokens/${name}`] = record;
    else tokens[`${PLACE.folder}/${name}`] = record;
  }
  const done = new Set(Object.keys(tokens).map((path) => path.replace(/-(train|test)\.arrow$/, ""))).size;
  if (done === 0) return null;
  // Training sequences that are exchanged lie there alone.
  for (const path of Object.keys(tokens)) if (!await exists(`${run}/${path}`)) delete tokens[path];
  const written = Object.keys(shards).length;
  return {
    complete: false,
    what: written > 0
      ? `${written} shards are written by parts so far`
      : `${done} files are tokens so far, by parts`,
    remedy: say`run ${task("tokenize", { run })} to do the others and close it, or their parts first`,
    files: { ...tokens, ...exchanged, ...shards },
  };
}
