/**
 * Exports what a run holds for other trainers and tools: the text of an expert or all of it, and
 * trained models. An export is a folder with a manifest, as those of nodes have it: in the run, or
 * wherever it is asked for.
 *
 * @module
 */

import { basename, relative, resolve } from "node:path";
import { ensure, InputError, say, setting, task, type Text } from "../../kernels/errors.ts";
import { loadCheckpoint, saveModelFolder } from "../model/checkpoints/checkpoint.ts";
import type { GgufType } from "../model/checkpoints/gguf/file.ts";
import { ggufModel } from "../model/checkpoints/gguf/model.ts";
import { readInput } from "../model/checkpoints/hugging_face_config.ts";
import { PARTIAL, publish, removeFolder } from "../graph/folder.ts";
import { LOCKS } from "../graph/lock.ts";
import {
  findDamage,
  hashFiles,
  type Making,
  type Manifest,
  readManifest,
  TOKENIZER,
  TOKENIZER_FILE,
  type Work,
} from "../graph/node.ts";
import { otherSetting } from "../graph/walk.ts";
import { readShards, type RecordBatch } from "../rows/arrow.ts";
import { writeSplit, writeSplits } from "../rows/export/datasets.ts";
import { writeMegatron } from "../rows/export/megatron.ts";
import {
  pieces,
  rowTexts,
  tally,
  type TokenText,
  wholeDocuments,
  writeLines,
  writeParquet,
} from "../rows/export/texts.ts";
import type { Rows } from "../rows/random_access.ts";
import { hashFile, jsonText, listEntries, sha256, writeAtomic } from "../graph/files.ts";
import { findRecord, MANIFEST, readVerified } from "../graph/schema.ts";
import { SAMPLING, settingsAmong } from "../serving/sampling.ts";
import { readChatTemplate, tokenizerIn } from "../text/tokenizer.ts";
import { checkExpert, tokensOfRun } from "./models.ts";
import { needConfiguration, partitionRemedy } from "../stages/parts.ts";
import { resolvePlace } from "./output.ts";
import { makeNodes, type RunWatch } from "./run.ts";
import { EXPORT, exportNodes } from "../stages/exported.ts";
import { expertTarget, listNodeFiles, textNode } from "../stages/targets.ts";
import { drawing, openNeeded, readRows } from "../stages/token_rows.ts";

/**
 * The formats of exported text: that of Megatron-LM, GPT-NeoX and NeMo; that of `load_from_disk` of
 * Hugging Face's datasets; Parquet; JSON lines.
 */
export type TextFormat = "megatron" | "datasets" | "parquet" | "text";

/** What {@linkcode exportTexts} takes. */
export interface ExportTextOptions {
  /** Run folder. */
  run: string;
  /** Format. */
  to: TextFormat;
  /** The expert whose part is exported; without it all text, as whole documents in their order. */
  expert?: number;
  /** Folder to write into: new, empty, or that of an export. */
  output: string;
  /** With Parquet: what a row holds. Default: tokens. */
  as?: "tokens" | "text";
  /** Replaces an export of something else, and makes again what is there. */
  force?: boolean;
}

/**
 * The formats of exported models: a folder of Hugging Face, or one file with the tokenizer, for
 * llama.cpp and what is built on it.
 */
export type ModelFormat = "safetensors" | "gguf";

/** What {@linkcode exportModel} takes. */
export interface ExportModelOptions extends Pick<ExportTextOptions, "run" | "output" | "force"> {
  /** Format. Default: safetensors. */
  to?: ModelFormat;
  /** The expert. */
  expert?: number;
  /** A checkpoint folder, instead of an expert. */
  model?: string;
  /** With safetensors: writes the output head as a tensor of its own, which converters look for. */
  untie?: boolean;
  /** With GGUF: the number type of matrices. Default: f16. */
  saveDtype?: GgufType;
}

/** What was exported, and what its manifest says of files and counts. */
export interface Exported extends Pick<Manifest, "files" | "result"> {
  /** Its folder. */
  output: string;
  /** Whether it was written now, or there already. */
  state: "done" | "up to date";
  /** What it is of. */
  of: Record<string, unknown>;
}

const CHUNK_BYTES = 2 ** 26; // of tokens that are read at once in random order

/**
 * Exports the text of an expert's part, in random order and each sequence as a text of its own.
 * Without an expert it exports all text, as whole documents in their order. Held-out text is kept
 * apart. Memory does not grow with the text.
 *
 * Throws an `InputError` where the run has no such part or its text is not there as tokens. Also
 * where a file is damaged, or the folder holds files of others. Throws a `RunError` where the disk
 * is full, and the signal's reason where it ends the work.
 */
export async function exportTexts(
  { run, to, expert, output, as = "tokens", force }: ExportTextOptions,
  watch: RunWatch = {},
): Promise<Exported> {
  const configuration = await needConfiguration(run);
  if (expert !== undefined) checkExpert(EXPORT, run, expert, configuration.experts);
  const tokens = expert === undefined ? await tokensOfRun(run) : [];
  const target = expert === undefined ? {} : expertTarget(expert, configuration);
  const shards = await needNode(run, textNode(target), await partitionRemedy(run));
  await needNode(run, TOKENIZER, "copy it from the run");
  const tokenizer = await tokenizerIn(`${run}/${TOKENIZER}`, configuration);
  // EOS as settings name it, which its manifest does not know.
  const { vocabulary, eos } = tokenizer;
  const { shardSequences: rows, packing, seed } = configuration;
  const documents = expert === undefined ? { eos, crossing: packing === "concat" } : undefined;
  const isText = to === "text" || to === "parquet" && as === "text";
  const settings = {
    to,
    of: expert === undefined ? "all text" : `expert ${expert}`,
    ...to === "parquet" ? { as } : {},
    ...to === "text" || to === "parquet" ? { rows } : {},
    shards: hashFiles(shards),
    tokenizer: tokenizer.sha256,
    vocabulary,
    eos,
  };
  return await exportInto({ run, output, of: settings, force }, watch, async (making, work) => {
    const { folder } = making;
    const decode = async ({ ids }: TokenText) =>
      await tokenizer.decode(ids.at(-1) === eos ? ids.subarray(0, -1) : ids);
    const result: Record<string, unknown> = {};
    let done = 0;
    const onRows = (rows: number) => {
      work.signal?.throwIfAborted();
      work.emit({ type: "progress", stage: EXPORT, done: done += rows, unit: "sequences" });
    };
    for (const [side, needed] of Object.entries(listNodeFiles(target, tokens, () => shards))) {
      if (needed.length === 0) continue;
      const counts = { texts: 0, tokens: 0 };
      const path = (need: string) => `${run}/${need}`;
      const all = expert === undefined || side === "test"
        ? readTexts(needed.map(({ need, file }) => `${path(need)}/${file}`), documents, onRows)
        : shuffled(await openNeeded({ path, manifest: () => shards }, needed), seed, onRows);
      const texts = tally(all, counts);
      const write = {
        megatron: () => writeMegatron(folder, side, texts, vocabulary),
        datasets: () => writeSplit(folder, side, texts),
        parquet: () =>
          writeParquet(folder, side, texts, { rows, decode: isText ? decode : undefined }),
        text: () => writeLines(folder, side, texts, { rows, decode }),
      };
      making.wrote(await write[to]());
      result[side] = counts;
    }
    if (to === "datasets") making.wrote(await writeSplits(folder, Object.keys(result)));
    if (!isText) {
      await making.write(
        TOKENIZER_FILE,
        await readVerified(`${run}/${TOKENIZER}/${TOKENIZER_FILE}`),
      );
    }
    return result;
  });
}

/**
 * Gives the texts of shards in their order, some at a time: whole documents or every sequence by
 * itself.
 */
async function* readTexts(
  paths: readonly string[],
  documents: { eos: number; crossing: boolean } | undefined,
  onRows: (rows: number) => void,
): AsyncGenerator<TokenText[]> {
  const read = async function* (path: string): AsyncGenerator<RecordBatch> {
    for await (const batch of readShards([path])) {
      onRows(batch.numRows);
      yield batch;
    }
  };
  for (const path of paths) { // no document goes on in another block
    yield* documents ? wholeDocuments(read(path), documents) : pieces(read(path));
  }
}

/** Gives every row as a text, in random order, and closes the rows. */
async function* shuffled(
  rows: Rows,
  seed: number,
  onRows: (rows: number) => void,
): AsyncGenerator<TokenText[]> {
  using all = rows;
  const draw = drawing(all.count, seed, EXPORT);
  const chunk = Math.ceil(CHUNK_BYTES / (4 * (all.lineage?.sequenceLength ?? 1)));
  for (let at = 0; at < all.count; at += chunk) {
    const numbers = draw(at, Math.min(chunk, all.count - at));
    const read = readRows(all, numbers, ["tokens", "length", "source"]);
    onRows(numbers.length);
    yield rowTexts(read);
  }
}

/**
 * Exports a trained expert, or the model of a checkpoint folder: as a Hugging Face folder, whose
 * `generation_config.json` samples as `generate` does, or as a GGUF file, whose header does. With
 * `untie` the output head of the folder is a tensor of its own. Throws as {@linkcode exportTexts}
 * does, and where the expert is not trained or llama.cpp has no such model or tokenizer.
 */
export async function exportModel(
  { run, to = "safetensors", expert, model, output, untie = false, saveDtype = "f16", force }:
    ExportModelOptions,
): Promise<Exported> {
  const folder = model?.replace(/(?<=.)\/+$/, "") ?? await findExpert(run, expert!);
  const name = basename(resolve(folder));
  const settings = {
    to,
    of: model === undefined ? `expert ${expert}` : name,
    ...to === "gguf" ? { saveDtype } : { untie },
    model: await hashModel(folder),
  };
  return await exportInto({ run, output, of: settings, force }, {}, async (making) => {
    const checkpoint = await loadCheckpoint(folder);
    const tokenizer = `${folder}/${TOKENIZER_FILE}`;
    const sampling = settingsAmong(SAMPLING, {});
    if (to === "gguf") {
      const file = `${name}-${saveDtype}.gguf`;
      const data = ggufModel(checkpoint, {
        name,
        where: tokenizer,
        tokenizer: new TextDecoder().decode(await readInput(folder, TOKENIZER_FILE)),
        template: await readChatTemplate(folder),
        sampling,
        type: saveDtype,
      });
      making.wrote({ [file]: await writeAtomic(`${making.folder}/${file}`, data) });
      return {};
    }
    const { config, weights, notes, dtype } = checkpoint;
    const records = await saveModelFolder(making.folder, config, weights, {
      notes: { ...notes, eos: notes.eos! },
      tokenizer,
      dtype,
      untie,
      generation: {
        do_sample: true,
        max_new_tokens: sampling.maxNewTokens,
        temperature: sampling.temperature,
        top_k: sampling.topK, // 0 means all, there as here
        top_p: sampling.topP,
      },
    });
    making.wrote(records);
    return {};
  });
}

/** Gives the SHA-256 of all files of a checkpoint: weights, shape, tokenizer. */
async function hashModel(folder: string): Promise<string> {
  const names = (await listEntries(folder)).map(({ name }) => name).sort();
  const files = names.filter((name) => /\.(json|safetensors)$/.test(name) && name !== MANIFEST);
  if (!files.some((name) => name.endsWith(".safetensors"))) {
    await loadCheckpoint(folder); // which says what is wrong
  }
  const hashes: Record<string, string> = {};
  for (const name of files) {
    const path = `${folder}/${name}`;
    hashes[name] = (findRecord(path) ?? await hashFile(path)).sha256;
  }
  return sha256(jsonText(hashes));
}

/** Finds the folder of a trained expert. */
async function findExpert(run: string, expert: number): Promise<string> {
  const { experts } = await needConfiguration(run);
  checkExpert(EXPORT, run, expert, experts);
  const folder = `${run}/${expertTarget(expert, { experts }).node}`;
  const isTrained = await readManifest(folder);
  ensure(
    isTrained,
    `Cannot export expert ${expert} as it must be trained: there is no "${folder}"`,
    { where: folder, remedy: say`run ${task("train-expert", { run, expert })} first` },
  );
  return folder;
}

async function needNode(run: string, name: string, remedy: Text): Promise<Manifest> {
  const where = `${run}/${name}`;
  const manifest = await readManifest(where);
  ensure(manifest, `Cannot export as what is exported must be there: there is no "${where}"`, {
    where,
    remedy,
  });
  return manifest;
}

/**
 * Makes an export by `write`, unless its folder holds it already. In the run it is a node;
 * elsewhere it is made in a folder of its own next to `output`, and gets that name once it is
 * whole.
 */
export async function exportInto(
  { run, output, of: settings, force = false }:
    & Pick<Exported, "output" | "of">
    & Pick<ExportTextOptions, "run" | "force">,
  watch: RunWatch,
  write: (making: Making, work: Work) => Promise<Record<string, unknown>>,
): Promise<Exported> {
  output = output.replace(/(?<=.)\/+$/, "");
  const existing = await checkPlace(output, settings, force);
  if (existing && !force && await findDamage(output, existing, false) === undefined) {
    const { files, result } = existing;
    return { output, state: "up to date", of: settings, files, result };
  }
  const inRun = relative(resolve(run), resolve(output));
  const isNode = inRun.startsWith(`${EXPORT}/`);
  // A link may lead to it.
  const real = await Deno.realPath(output).catch(() => resolvePlace(output));
  const place = isNode ? run : `${real}.making`;
  const name = isNode ? inRun : EXPORT;
  const nodes = exportNodes({ run }, { name, recipe: { settings, write } });
  const making = makeNodes(place, nodes, EXPORT, watch, force ? [name] : []);
  const walk = await making.catch(async (error) => {
    if (!isNode) await removeEmpty(place);
    throw error;
  });
  const manifest = walk.manifest(name);
  const { files, result } = manifest;
  if (!isNode) {
    await publish(place, `../${basename(real)}`, `${place}/${EXPORT}`, manifest, true);
    await removeFolder(place);
  }
  return { output, state: "done", of: settings, files, result };
}

/** Removes a folder in which nothing was made, unless another process makes something there. */
async function removeEmpty(place: string): Promise<void> {
  for (const folder of [`${place}/${PARTIAL}`, `${place}/${LOCKS}`, place]) {
    await Deno.remove(folder).catch(() => {});
  }
}

/**
 * Returns the manifest of the export that is there. Throws an `InputError` where a folder holds
 * files of others, or another export.
 */
async function checkPlace(
  output: string,
  settings: Record<string, unknown>,
  force: boolean,
): Promise<Manifest | null> {
  const elsewhere = say`choose another ${setting("output")}`;
  const refuse = (fact: string, remedy: Text = elsewhere) =>
    new InputError(`Cannot export into "${output}" as ${fact}`, { where: output, remedy });
  const entry = await Deno.stat(output).catch(() => null);
  if (entry && !entry.isDirectory) throw refuse("it must be a folder, new or empty: it is a file");
  const existing = await readManifest(output);
  const [first] = existing ? [] : await listEntries(output);
  if (first) throw refuse(`it must be new or empty: it holds "${first.name}"`);
  if (existing && !existing.name.startsWith(EXPORT)) {
    throw refuse(`it must be new or empty: it is "${existing.name}" of a run`);
  }
  const name = existing && !force ? otherSetting({ settings }, existing) : undefined;
  if (name === undefined) return existing;
  const [valueThen, valueNow] = [existing!.settings, settings].map((settings) =>
    JSON.stringify(settings[name]) ?? "not set"
  );
  throw refuse(
    `it holds an export whose ${name} must be ${valueNow}: it is ${valueThen}`,
    say`${elsewhere}, or replace it with ${setting("force")}`,
  );
}
