/**
 * Exports parts of a run for other trainers: the text of an expert or of the whole corpus, and trained
 * experts.
 *
 * @module
 */

import { InputError, say, task } from "../../kernels/errors.ts";
import type { CheckpointNotes } from "../checkpoints/hugging_face_config.ts";
import { loadCheckpoint } from "../checkpoints/checkpoint.ts";
import { MODEL_FILES, saveModelFolder } from "../checkpoints/model_folder.ts";
import { expertFolder, shardsIn } from "../partition/manifests.ts";
import { fromBatch, readShards, type RecordBatch } from "../rows/arrow.ts";
import { lineageOf } from "../rows/lineage.ts";
import {
  counted,
  pieces,
  type TokenText,
  wholeDocuments,
  writeLines,
  writeMegatron,
  writeParquet,
  writeSplit,
  writeSplits,
} from "../rows/export/mod.ts";
import { inSequence } from "../rows/shuffle.ts";
import { exists, type FileRecord, hashFile, sha256, writeAtomic } from "../run/files.ts";
import { outputsUnder, readManifest, vouchedFiles } from "../run/manifest.ts";
import { readVouched, Vouched } from "../run/vouched.ts";
import { SAMPLING } from "../serving/sampling.ts";
import type { Configuration } from "../settings/configuration.ts";
import { loadTokenizer } from "../text/tokenizer.ts";
import { isTrained, NOT_ENDED } from "./trained.ts";
import { type Exported, exportInto } from "./export_folder.ts";
import { needConfiguration } from "./run_folder.ts";
import type { RunWatch } from "./session.ts";
import { checkExpert } from "./train.ts";
import { readPartOf } from "./train_expert.ts";
import { TOKENIZER } from "./tokenizer.ts";
import { expertModel } from "./trained_models.ts";
import { watchRows } from "./watch.ts";

/**
 * The formats of exported text: that of Megatron-LM, GPT-NeoX and NeMo; that of `load_from_disk` of Hugging
 * Face's datasets; Parquet; JSON lines.
 */
export const TEXT_FORMATS = ["megatron", "datasets", "parquet", "text"] as const;

/** What {@linkcode exportTexts} takes. */
export interface ExportTextOptions {
  /** Run folder. */
  run: string;
  /** Format. */
  to: typeof TEXT_FORMATS[number];
  /** The expert whose part is exported; without it all text, as whole documents in their order. */
  expert?: number;
  /** Folder to write into: new, empty, or that of an export. */
  output: string;
  /** With Parquet: what a row holds. Default: tokens. */
  as?: "tokens" | "text";
  /** Replaces an export of something else, and makes again what is there. */
  force?: boolean;
}

/** What {@linkcode exportModel} takes. */
export interface ExportModelOptions extends Pick<ExportTextOptions, "run" | "output" | "force"> {
  /** The expert. */
  expert: number;
  /** Writes the output head as a tensor of its own, which converters look for. */
  untie?: boolean;
}

/** Version of the files that are made from the same text or model. */
const REVISION = 1;

const KINDS = ["train", "test"] as const;

/** Texts of a run, as tokens. */
interface Source {
  /** Paths of the shards. */
  paths: Record<typeof KINDS[number], string[]>;
  /** Their records. */
  vouched: Vouched;
  /** Hash of all of them. */
  sha256: string;
}

/**
 * Exports the text of an expert's part, or all text, in another trainer's format: training and held-out text apart, each sequence
 * of a part as a text of its own. Memory does not grow with the text.
 *
 * Throws an `InputError` where the run has no such part or its text is not there as tokens, a file is damaged, or the folder
 * holds files of others; a `RunError` where another process writes there or the disk is full; the signal's reason where it ends the work.
 */
export async function exportTexts(
  { run, to, expert, output, as = "tokens", force }: ExportTextOptions,
  { onEvent = () => {}, signal }: RunWatch = {},
): Promise<Exported> {
  const configuration = await needConfiguration(run, "export", true);
  const source = await (expert === undefined ? sourceOfAll(run) : sourceOfPart(run, expert, configuration));
  const { eos, vocabulary, tokenizer: sha } = await lineageIn(source);
  const isText = to === "text" || to === "parquet" && as === "text";
  const { shardSequences: rows, packing, eos: eosName } = configuration;
  const of = {
    revision: REVISION,
    to,
    of: whatOf(expert),
    ...to === "parquet" ? { as } : {},
    ...to === "text" || to === "parquet" ? { rows } : {},
    shards: source.sha256,
    tokenizer: sha ?? null,
    vocabulary,
    eos,
  };
  const make = async () => {
    source.vouched.add(run, sha === undefined ? {} : await tokenizerRecord(run, sha));
    const tokenizer = isText
      ? await loadTokenizer(`${run}/${TOKENIZER}`, { eos: eosName || undefined, vouched: source.vouched })
      : undefined;
    const decode = async ({ ids }: TokenText) =>
      await tokenizer!.decode(ids.at(-1) === eos ? ids.subarray(0, -1) : ids);
    const files: Record<string, FileRecord> = {};
    const result: Record<string, unknown> = {};
    let done = 0;
    for (const kind of KINDS) {
      if (source.paths[kind].length === 0) continue;
      const open = () =>
        watchRows({ signal }, readShards(source.paths[kind], source.vouched), (rows) => {
          onEvent({ type: "progress", stage: "export", done: done += rows, unit: "sequences" });
        });
      const counts = { texts: 0, tokens: 0 };
      const texts = counted(
        expert === undefined
          ? wholeDocuments(await inOrder(kind, source, open, `${output}/spill.partial`, signal), {
            eos,
            crossing: packing === "concat",
          })
          : pieces(open()),
        counts,
      );
      Object.assign(
        files,
        to === "megatron"
          ? await writeMegatron(output, kind, texts, vocabulary)
          : to === "datasets"
          ? await writeSplit(output, kind, texts)
          : to === "parquet"
          ? await writeParquet(output, kind, texts, { rows, decode: isText ? decode : undefined })
          : await writeLines(output, kind, texts, { rows, decode }),
      );
      result[kind] = counts;
      signal?.throwIfAborted();
    }
    if (to === "datasets") Object.assign(files, await writeSplits(output, Object.keys(result)));
    if (!isText) {
      const json = await readVouched(`${run}/${TOKENIZER}`, source.vouched);
      files[TOKENIZER] = await writeAtomic(`${output}/${TOKENIZER}`, json);
    }
    return { files, result };
  };
  return await exportInto({ output, of, makes: MAKES[to], force, make });
}

const SHARED = String.raw`|tokenizer\.json|spill\.partial/(\d+\.arrows\.parts/)*\d+\.arrows)$`;
/** Names of the files of an export of text, by its format. */
const MAKES: Record<typeof TEXT_FORMATS[number], RegExp> = {
  megatron: RegExp(String.raw`^((train|test)\.(bin|idx|lengths)${SHARED}`),
  datasets: RegExp(
    String
      .raw`^(dataset_dict\.json|(train|test)/(data-\d{5,}(-of-\d{5,})?\.arrow|state\.json|dataset_info\.json)${SHARED}`,
  ),
  parquet: RegExp(String.raw`^((train|test)-\d{5,}\.parquet${SHARED}`),
  text: RegExp(String.raw`^((train|test)-\d{5,}\.jsonl${SHARED}`),
};

/** Names of the files of an export of a model. */
const MODEL_MAKES = RegExp(`^(${MODEL_FILES.source})$`);

/** Gives the names of all files that an export makes, by its contents. */
export const exportMakes = ({ to }: Record<string, unknown>): RegExp =>
  Object.entries(MAKES).find(([format]) => format === to)?.[1] ?? MODEL_MAKES;

const whatOf = (expert: number | undefined) => expert === undefined ? "all text" : `expert ${expert}`;

/** Finds the shards of an expert's part. */
async function sourceOfPart(run: string, expert: number, { experts }: Configuration): Promise<Source> {
  checkExpert("export", run, expert, experts);
  const folder = `${run}/partition/${expertFolder(expert)}`;
  const part = await readPartOf(run, expert);
  const records = Object.fromEntries(part.files.map(({ name, ...record }) => [name, record]));
  const of = (kind: "train" | "test") => shardsIn(part, kind).map(({ name }) => `${folder}/${name}`);
  return {
    paths: { train: of("train"), test: of("test") },
    vouched: new Vouched().add(folder, records),
    sha256: hashOf(records),
  };
}

/** Finds the shards of all text. */
async function sourceOfAll(run: string): Promise<Source> {
  const tokenize = await readManifest(run, "tokenize");
  if (tokenize === null) {
    throw new InputError(
      `Cannot export all text of "${run}" as it must be there as tokens: "tokenize" has not run`,
      { where: run, remedy: say`run ${task("partition", { run })} first, or name the whole run` },
    );
  }
  const of = (kind: string) => outputsUnder(tokenize, `tokens/${kind}-`).map((path) => `${run}/${path}`);
  return {
    paths: { train: of("train"), test: of("test") },
    vouched: new Vouched().add(run, tokenize.outputs),
    sha256: hashOf(tokenize.outputs),
  };
}

function hashOf(records: Record<string, FileRecord>): string {
  return sha256(Object.entries(records).map(([name, { sha256 }]) => `${sha256}  ${name}\n`).sort().join(""));
}

/** Reads what the first shard says of its tokens. */
async function lineageIn(
  { paths }: Source,
): Promise<{ vocabulary: number; eos: number; tokenizer?: string }> {
  const [first] = [...paths.train, ...paths.test];
  for await (const batch of readShards(first === undefined ? [] : [first])) {
    const { vocabulary, eos, tokenizer } = lineageOf(batch) ?? {};
    if (vocabulary !== undefined && eos !== undefined) return { vocabulary, eos, tokenizer };
    break;
  }
  throw new InputError(
    `Cannot export as shards must be there and say their vocabulary and EOS: ${
      first === undefined ? "there is none" : `"${first}" does not`
    }`,
    { where: first },
  );
}

/**
 * Puts shuffled sequences back into the order of their documents. Held-out ones are in that order already.
 */
async function inOrder(
  kind: typeof KINDS[number],
  { paths, vouched }: Source,
  open: () => ReadableStream<RecordBatch>,
  spill: string,
  signal?: AbortSignal,
): Promise<ReadableStream<RecordBatch>> {
  if (kind === "test") return open();
  let last = 0n;
  for await (const batch of watchRows({ signal }, readShards(paths[kind], vouched))) {
    for (const id of fromBatch(batch).sequence) if (id > last) last = id;
  }
  return inSequence(open(), { last, spill });
}

/** Describes the run's tokenizer, whose ids the shards hold. */
async function tokenizerRecord(run: string, sha256: string): Promise<Record<string, FileRecord>> {
  const where = `${run}/${TOKENIZER}`;
  if (await exists(where)) return { [TOKENIZER]: { bytes: (await Deno.stat(where)).size, sha256 } };
  throw new InputError(`Cannot export as the tokenizer must be there: there is no "${where}"`, {
    where,
    remedy: "copy it from the run that made the shards",
  });
}

/**
 * Exports a trained expert as a Hugging Face folder whose `generation_config.json` samples as {@linkcode generate} does, and whose
 * output head is a tensor of its own where `untie` says so. Throws as {@linkcode exportTexts} does, and where the expert is not trained.
 */
export async function exportModel(
  { run, expert, output, untie = false, force }: ExportModelOptions,
): Promise<Exported> {
  const { experts } = await needConfiguration(run, "export", true);
  checkExpert("export", run, expert, experts);
  const folder = `${run}/experts/${expertFolder(expert)}`;
  const path = `${folder}/model.safetensors`;
  if (!await isTrained(run, expertModel(expert))) {
    const fact = await exists(path) ? NOT_ENDED : `there is no "${path}"`;
    throw new InputError(`Cannot export expert ${expert} as it must be trained: ${fact}`, {
      where: path,
      remedy: say`run ${task("train-expert", { run, expert })} first`,
    });
  }
  const vouched = await vouchedFiles(run);
  const { sha256 } = vouched.record(path) ?? await hashFile(path);
  const of = { revision: REVISION, to: "safetensors", of: whatOf(expert), untie, model: sha256 };
  const make = async () => {
    const { config, weights, notes, dtype } = await loadCheckpoint(folder, vouched);
    const files = await saveModelFolder(output, config, weights, {
      notes: await withEos(notes, run, vouched),
      tokenizer: `${folder}/tokenizer.json`,
      vouched,
      dtype,
      untie,
      generation: {
        do_sample: true,
        max_new_tokens: SAMPLING.maxNewTokens.default,
        temperature: SAMPLING.temperature.default,
        top_k: SAMPLING.topK.default, // 0 means all, there as here
        top_p: SAMPLING.topP.default,
      },
    });
    return { files, result: {} };
  };
  return await exportInto({ output, of, makes: MODEL_MAKES, force, make });
}

async function withEos(
  notes: CheckpointNotes,
  run: string,
  vouched: Vouched,
): Promise<CheckpointNotes & { eos: number }> {
  return { ...notes, eos: notes.eos ?? (await loadTokenizer(`${run}/${TOKENIZER}`, { vouched })).eos };
}
