/**
 * Exports what a run holds for other trainers and tools: the text of an expert or all of it, and trained experts. An export is a folder
 * with a manifest, as those of nodes have it: in the run, or wherever it is asked for.
 *
 * @module
 */

import { basename, relative, resolve } from "node:path";
import { InputError, say, setting, task, type Text } from "../../kernels/errors.ts";
import { loadCheckpoint } from "../checkpoints/checkpoint.ts";
import { saveModelFolder } from "../checkpoints/model_folder.ts";
import { publish, removeFolder } from "../graph/folder.ts";
import { makeAll } from "../graph/make.ts";
import { type FileNote, findDamage, hashFiles, type Manifest, readManifest } from "../graph/manifest.ts";
import type { Making, Node, Work } from "../graph/node.ts";
import { SEQUENCES, TOKENIZER, TOKENIZER_FILE } from "../graph/places.ts";
import { NodeFiles } from "../graph/vouched.ts";
import { readShards, type RecordBatch } from "../rows/arrow.ts";
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
import type { Lineage } from "../rows/lineage.ts";
import { Order } from "../rows/order.ts";
import { openRows, type Rows } from "../rows/random_access.ts";
import { entriesOf, type FileRecord, writeAtomic } from "../run/files.ts";
import { canonical } from "../run/seal.ts";
import { readVouched } from "../run/vouched.ts";
import { SAMPLING } from "../serving/sampling.ts";
import type { Configuration } from "../settings/configuration.ts";
import { loadTokenizer, tokenizerIn } from "../text/tokenizer.ts";
import { needConfiguration, partitionRemedy, SIDES } from "./parts.ts";
import { checkExpert, tokensOfRun } from "./models.ts";
import type { RunWatch } from "./run.ts";
import { expertTarget } from "./targets.ts";
import { type NeededFile, readRows } from "./token_rows.ts";
import { filesOf } from "./train.ts";

/**
 * The formats of exported text: that of Megatron-LM, GPT-NeoX and NeMo; that of `load_from_disk` of Hugging Face's datasets; Parquet; JSON
 * lines.
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

/** What was exported. */
export interface Exported {
  /** Folder. */
  output: string;
  /** Whether it was written now, or there already. */
  state: "done" | "up to date";
  /** What it contains. */
  of: Record<string, unknown>;
  /** Size and SHA-256 of every file, by path in the folder. */
  files: Record<string, FileNote>;
  /** Counts. */
  result: Record<string, unknown>;
}

const EXPORT = "export";
const CHUNK_BYTES = 2 ** 26; // of tokens that are read at once in random order

/**
 * Exports the text of an expert's part, in random order and each sequence as a text of its own, or all text as whole documents in their
 * order; held-out text apart. Memory does not grow with the text.
 *
 * Throws an `InputError` where the run has no such part or its text is not there as tokens, a file is damaged, or the folder holds files
 * of others; a `RunError` where the disk is full; the signal's reason where it ends the work.
 */
export async function exportTexts(
  { run, to, expert, output, as = "tokens", force }: ExportTextOptions,
  watch: RunWatch = {},
): Promise<Exported> {
  const configuration = await needConfiguration(run);
  if (expert !== undefined) checkExpert(EXPORT, run, expert, configuration.experts);
  const text = filesOf({ expert }, expert === undefined ? await tokensOfRun(run) : []);
  const [shards, tokenizer] = await Promise.all(
    [text.needs[0], TOKENIZER].map((name) => needNode(run, name)),
  );
  const source = { run, ...text.files({ manifest: () => shards }), shuffled: expert !== undefined };
  const { vocabulary, eos } = await lineageOf(source);
  const rows = to === "text" || to === "parquet" ? { rows: configuration.shardSequences } : {};
  const of = {
    ...{ to, of: expert === undefined ? "all text" : `expert ${expert}`, ...to === "parquet" ? { as } : {} },
    ...rows,
    ...{ shards: hashFiles(shards), tokenizer: tokenizer.result.tokenizer, vocabulary, eos },
  };
  const isText = to === "text" || to === "parquet" && as === "text";
  return await exportInto({ run, output, of, force }, watch, async ({ folder }, work) => {
    const files = new NodeFiles(), place = `${run}/${TOKENIZER}/${TOKENIZER_FILE}`;
    const decoder = isText ? await tokenizerIn(`${run}/${TOKENIZER}`, configuration, files) : null;
    const decode = async ({ ids }: TokenText) =>
      await decoder!.decode(ids.at(-1) === eos ? ids.subarray(0, -1) : ids);
    const records: Record<string, FileRecord> = {}, result: Record<string, unknown> = {};
    let done = 0;
    const onRows = (rows: number) => {
      work.signal?.throwIfAborted();
      work.emit({ type: "progress", stage: EXPORT, done: done += rows, unit: "sequences" });
    };
    for (const side of SIDES) {
      if (source[side].length === 0) continue;
      const counts = { texts: 0, tokens: 0 };
      const texts = counted(textsOf(source, side, files, configuration, { eos, onRows }), counts);
      const write = {
        megatron: () => writeMegatron(folder, side, texts, vocabulary),
        datasets: () => writeSplit(folder, side, texts),
        parquet: () =>
          writeParquet(folder, side, texts, { rows: rows.rows!, decode: isText ? decode : undefined }),
        text: () => writeLines(folder, side, texts, { rows: rows.rows!, decode }),
      };
      Object.assign(records, await write[to]());
      result[side] = counts;
    }
    if (to === "datasets") Object.assign(records, await writeSplits(folder, Object.keys(result)));
    if (!isText) {
      records[TOKENIZER_FILE] = await writeAtomic(
        `${folder}/${TOKENIZER_FILE}`,
        await readVouched(place, files),
      );
    }
    return { records, result };
  });
}

/** Files of sequences, and whether those for training go in random order. */
interface Source extends Record<typeof SIDES[number], NeededFile[]> {
  run: string;
  shuffled: boolean;
}

const pathsOf = ({ run, ...files }: Source, side: typeof SIDES[number]) =>
  files[side].map(({ need, file }) => `${run}/${need}/${file}`);

async function lineageOf(
  source: Source,
): Promise<Pick<Lineage, "tokenizer"> & { vocabulary: number; eos: number }> {
  const [first] = SIDES.flatMap((side) => pathsOf(source, side));
  using rows = await openRows(first === undefined ? [] : [first]);
  const { vocabulary, eos } = rows.lineage ?? {};
  if (vocabulary !== undefined && eos !== undefined) return { vocabulary, eos };
  const fact = first === undefined ? "there is none" : `"${first}" does not`;
  throw new InputError(`Cannot export as shards must be there and say their vocabulary and EOS: ${fact}`, {
    where: first,
  });
}

/** Gives the texts of one side, some at a time. */
async function* textsOf(
  source: Source,
  side: typeof SIDES[number],
  files: NodeFiles,
  { packing, seed }: Configuration,
  { eos, onRows }: { eos: number; onRows: (rows: number) => void },
): AsyncGenerator<TokenText[]> {
  const read = async function* (paths: string[]): AsyncGenerator<RecordBatch> {
    for await (const batch of readShards(paths, files)) {
      onRows(batch.numRows);
      yield batch;
    }
  };
  const paths = pathsOf(source, side);
  if (!source.shuffled) {
    const crossing = packing === "concat";
    for (const path of paths) yield* wholeDocuments(read([path]), { eos, crossing }); // none goes on in another block
  } else if (side === "test") yield* pieces(read(paths));
  else {
    const checksums = new Map<string, readonly number[]>();
    for (const [i, { need, file }] of source[side].entries()) {
      const { batches } = (await needNode(source.run, need)).files[file];
      if (batches) checksums.set(paths[i], batches);
    }
    using rows = await openRows(paths, { checksums });
    yield* shuffled(rows, seed, onRows);
  }
}

/** Gives every row as a text, in random order. */
function* shuffled(rows: Rows, seed: number, onRows: (rows: number) => void): Generator<TokenText[]> {
  if (rows.count === 0) return;
  const order = new Order(rows.count, { seed, purpose: EXPORT });
  const chunk = Math.ceil(CHUNK_BYTES / (4 * rows.lineage!.sequenceLength!));
  for (let at = 0; at < rows.count; at += chunk) {
    const numbers = Float64Array.from(
      { length: Math.min(chunk, rows.count - at) },
      (_, i) => order.at(at + i),
    );
    const { tokens, length, source } = readRows(rows, numbers, ["tokens", "length", "source"]);
    const width = tokens.length / numbers.length;
    onRows(numbers.length);
    yield Array.from(length, (length, row) => ({
      ids: tokens.subarray(row * width, row * width + length),
      source: source[row],
    }));
  }
}

/**
 * Exports a trained expert as a Hugging Face folder whose `generation_config.json` samples as `generate` does, and whose output head is a
 * tensor of its own where `untie` says so. Throws as {@linkcode exportTexts} does, and where the expert is not trained.
 */
export async function exportModel(
  { run, expert, output, untie = false, force }: ExportModelOptions,
): Promise<Exported> {
  const { experts } = await needConfiguration(run);
  checkExpert(EXPORT, run, expert, experts);
  const folder = `${run}/${expertTarget(expert).node}`, model = await readManifest(folder);
  if (!model) {
    throw new InputError(`Cannot export expert ${expert} as it must be trained: there is no "${folder}"`, {
      where: folder,
      remedy: say`run ${task("train-expert", { run, expert })} first`,
    });
  }
  const { sha256 } = model.files["model.safetensors"];
  const of = { to: "safetensors", of: `expert ${expert}`, untie, model: sha256 };
  return await exportInto({ run, output, of, force }, {}, async (making) => {
    const files = new NodeFiles(), tokenizer = `${folder}/${TOKENIZER_FILE}`;
    const { config, weights, notes, dtype } = await loadCheckpoint(folder, files);
    const eos = notes.eos ?? (await loadTokenizer(tokenizer, { vouched: files })).eos;
    const records = await saveModelFolder(making.folder, config, weights, {
      ...{ notes: { ...notes, eos }, tokenizer, vouched: files, dtype, untie },
      generation: {
        do_sample: true,
        max_new_tokens: SAMPLING.maxNewTokens.default,
        temperature: SAMPLING.temperature.default,
        top_k: SAMPLING.topK.default, // 0 means all, there as here
        top_p: SAMPLING.topP.default,
      },
    });
    return { records, result: {} };
  });
}

/** Reads the manifest of a node. Throws an `InputError` where there is none. */
async function needNode(run: string, name: string): Promise<Manifest> {
  const manifest = await readManifest(`${run}/${name}`);
  if (manifest) return manifest;
  throw new InputError(`Cannot export as what is exported must be there: there is no "${run}/${name}"`, {
    where: `${run}/${name}`,
    remedy: name === SEQUENCES || name !== TOKENIZER ? await partitionRemedy(run) : "copy it from the run",
  });
}

/**
 * Makes an export by `write`, unless its folder holds it already. In the run it is a node; elsewhere it is made in a folder of its own beside
 * `output`, and gets that name once it is whole.
 */
async function exportInto(
  { run, output, of, force = false }: {
    run: string;
    output: string;
    of: Record<string, unknown>;
    force?: boolean;
  },
  { onEvent = () => {}, signal }: RunWatch,
  write: (
    making: Making,
    work: Work,
  ) => Promise<{ records: Record<string, FileRecord>; result: Record<string, unknown> }>,
): Promise<Exported> {
  const before = await checkPlace(output, of, force);
  const told = ({ files, result }: Manifest, state: Exported["state"]) => ({
    output,
    state,
    of,
    files,
    result,
  });
  const inRun = relative(resolve(run), resolve(output));
  const isNode = inRun.startsWith(`${EXPORT}/`), place = isNode ? run : `${output}.making`;
  if (!isNode && before && !force && await findDamage(output, before, false) === undefined) {
    return told(before, "up to date");
  }
  let state: Exported["state"] = "up to date";
  const node: Node = {
    ...{ name: isNode ? inRun : EXPORT, needs: [], settings: of, revision: 1 },
    maker: {
      stage: EXPORT,
      async make([making], work) {
        state = "done";
        const { records, result } = await write(making, work);
        for (const [file, record] of Object.entries(records)) making.wrote(file, record);
        return [result];
      },
    },
  };
  const work: Work = {
    ...{ run: place, workers: 1, signal, emit: onEvent },
    gpu: () => Promise.reject(new Error("an export needs no device")),
  };
  const manifest = (await makeAll(work, [node], { task: EXPORT, again: force ? [node.name] : [] }))
    .manifest(node.name);
  if (isNode) return told(manifest, state);
  await publish(place, `../${basename(output)}`, `${place}/${EXPORT}`, manifest, true);
  await removeFolder(place);
  return told(manifest, "done");
}

/** Returns the manifest of the export that is there. Throws an `InputError` where a folder holds files of others, or another export. */
async function checkPlace(
  output: string,
  of: Record<string, unknown>,
  force: boolean,
): Promise<Manifest | null> {
  const other = say`choose another ${setting("output")}`;
  const refuse = (fact: string, remedy: Text = other) =>
    new InputError(`Cannot export into "${output}" as ${fact}`, { where: output, remedy });
  const info = await Deno.stat(output).catch(() => null);
  if (info && !info.isDirectory) throw refuse("it must be a folder, new or empty: it is a file");
  const before = await readManifest(output);
  const [first] = before ? [] : await entriesOf(output);
  if (first) throw refuse(`it must be new or empty: it holds "${first.name}"`);
  if (before && !before.name.startsWith(EXPORT)) {
    throw refuse(`it must be new or empty: it is "${before.name}" of a run`);
  }
  if (!before || force) return before;
  const { settings } = before;
  const name = Object.keys({ ...settings, ...of }).find((name) =>
    canonical(settings[name] ?? null) !== canonical(of[name] ?? null)
  );
  if (name === undefined) return before;
  const [then, now] = [settings, of].map((of) => JSON.stringify(of[name]) ?? "not set");
  throw refuse(
    `it holds an export whose ${name} must be ${now}: it is ${then}`,
    say`${other}, or replace it with ${setting("force")}`,
  );
}
