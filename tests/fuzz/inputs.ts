/**
 * What users hand to tasks that no run verifies: text in every format, pipes and files of rows,
 * checkpoints, tokenizers, settings. Damaged, each must be refused by an error that explains
 * itself, come to the undisturbed result, or, where its format has no checksum, to what the damaged
 * bytes say.
 *
 * @module
 */

import { tableFromArrays, tableFromIPC, tableToIPC } from "@uwdata/flechette";
import { parquetMetadata } from "hyparquet";
import { parquetWriteBuffer } from "hyparquet-writer";
import { constants, gzipSync, zstdCompressSync } from "node:zlib";
import type { Gpu } from "../../kernels/device/gpu.ts";
import {
  assign,
  generate,
  loadCheckpoint,
  loadTokenizer,
  openPartitioner,
  readArrow,
} from "../../mod.ts";
import {
  readConfiguration,
  readDocuments,
  resolveConfiguration,
  score,
  writeArrowFile,
} from "../../mod.ts";
import { showRows } from "../../pipeline/text/mod.ts";
import { readPrices, writePrices } from "../../pipeline/partition/mod.ts";
import { arrowBytes, fromBatch, type RecordBatch } from "../../pipeline/rows/mod.ts";
import { readQuestions } from "../../pipeline/evaluation/choices/questions.ts";
import { TASKS } from "../../pipeline/evaluation/choices/tasks.ts";
import { adoptExpert, verifyRun } from "../../pipeline/run/mod.ts";
import {
  type Base,
  blockIn,
  checkExplained,
  type Damage,
  damaged,
  type Outcome,
} from "./damage.ts";
import { copyFolder, smallCorpus, writeQuestions } from "../tasks/support.ts";

/** Something that a task is handed. */
export interface Input {
  /** Its files, by their paths in the folder that `make` fills: one of them is damaged. */
  files: readonly string[];
  /** Makes it, sound, in a folder. */
  make(folder: string, base: Base, gpu: Gpu): Promise<void> | void;
  /** Does with it what a task does; gives what that came to. */
  use(folder: string, base: Base, gpu: Gpu): Promise<unknown>;
  /**
   * What the damaged bytes say, where their format has no checksum: as an independent reader finds,
   * which throws where it cannot read them, or "anything" where there is none and only errors are
   * looked at. Without it the format has a checksum: any other result is silence.
   */
  says?: "anything" | ((folder: string) => unknown);
}

const DOCUMENTS = smallCorpus(12, 20);
const RECORDS: { text: string; source: string }[] = DOCUMENTS.trimEnd().split("\n").map((line) =>
  JSON.parse(line)
);

/** Reads JSON lines by the platform alone. */
function linesOf(bytes: Uint8Array): unknown {
  const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: false }).decode(bytes);
  return text.split("\n").filter((line) => line.trim() !== "").map((line) => {
    const record = JSON.parse(line);
    const { text, source } = record;
    if (typeof text !== "string" || !("source" in record)) throw new TypeError("no document");
    const label = source === null
      ? ""
      : typeof source === "string"
      ? source
      : JSON.stringify(source);
    return { text: text.toWellFormed(), source: label.toWellFormed() };
  });
}

const listDocuments = async (path: string) =>
  await Array.fromAsync(readDocuments([path], { sourceField: "source" }));

const describeRows = (batches: ReadableStream<RecordBatch>) =>
  Array.fromAsync(batches, (batch) => {
    const { rows, sequence, expert, nll, tokens } = fromBatch(batch);
    return [rows, ...[sequence, expert, nll, tokens].map((values) => values?.join())];
  });

const shard = (base: Base) => `${base.run}/${blockIn(base.run, "tokens")}/test.arrow`;
const streamOf = async (path: string) =>
  readArrow((await Deno.open(path)).readable, "standard input");

/** Scores sequences; the partitioner is closed afterwards. */
async function scored(
  batches: ReadableStream<RecordBatch>,
  folder: string,
  gpu: Gpu,
): Promise<unknown> {
  const partitioner = await openPartitioner(folder, () => Promise.resolve(gpu));
  try {
    return await describeRows(score(batches, { partitioner }));
  } finally {
    partitioner.close();
  }
}

/** Writes the scores of held-out sequences as a pipe does. */
async function writeScores(path: string, base: Base, gpu: Gpu): Promise<void> {
  const partitioner = await openPartitioner(`${base.run}/partitioner`, () => Promise.resolve(gpu));
  const batches = score(readArrow(shard(base)), { partitioner });
  if (path.endsWith(".arrows")) await Deno.writeFile(path, arrowBytes(batches));
  else await writeArrowFile(path, batches, undefined, { closes: true });
  partitioner.close();
}

const HUGGING_FACE = ["config", "tokenizer", "tokenizer_config", "generation_config"]
  .map((name) => `${name}.json`).concat("model.safetensors");

/** What tasks are handed. */
export const INPUTS: Record<string, Input> = {
  "text": {
    files: ["document.txt"],
    make: (folder) =>
      Deno.writeTextFileSync(`${folder}/document.txt`, `${RECORDS[0].text}\nœuvre 小\n`),
    use: async (folder) => (await listDocuments(`${folder}/document.txt`)).map(({ text }) => text),
    says: (
      folder,
    ) => [
      new TextDecoder("utf-8", { fatal: true }).decode(Deno.readFileSync(`${folder}/document.txt`)),
    ],
  },
  "JSON lines": {
    files: ["docs.jsonl"],
    make: (folder) => Deno.writeTextFileSync(`${folder}/docs.jsonl`, DOCUMENTS),
    use: (folder) => listDocuments(`${folder}/docs.jsonl`),
    says: (folder) => linesOf(Deno.readFileSync(`${folder}/docs.jsonl`)),
  },
  "gzip": {
    files: ["docs.jsonl.gz"],
    make: (folder) =>
      Deno.writeFileSync(`${folder}/docs.jsonl.gz`, gzipSync(new TextEncoder().encode(DOCUMENTS))),
    use: (folder) => listDocuments(`${folder}/docs.jsonl.gz`),
  },
  "zstd": {
    files: ["docs.jsonl.zst"],
    make: (folder) => {
      const params = { [constants.ZSTD_c_checksumFlag]: 1 };
      const bytes = zstdCompressSync(new TextEncoder().encode(DOCUMENTS), { params });
      Deno.writeFileSync(`${folder}/docs.jsonl.zst`, bytes);
    },
    use: (folder) => listDocuments(`${folder}/docs.jsonl.zst`),
  },
  "Parquet": {
    files: ["docs.parquet"],
    make: (folder) => {
      const columnData = (["text", "source"] as const).map((name) => (
        { name, data: RECORDS.map((record) => record[name]), type: "STRING" as const }
      ));
      const bytes = parquetWriteBuffer({ columnData });
      Deno.writeFileSync(`${folder}/docs.parquet`, new Uint8Array(bytes));
    },
    use: async (folder) => {
      const documents = await listDocuments(`${folder}/docs.parquet`);
      const { num_rows } = parquetMetadata(Deno.readFileSync(`${folder}/docs.parquet`).buffer);
      if (documents.length !== Number(num_rows)) {
        throw new Error(`${documents.length} of ${num_rows} rows`);
      }
      return documents;
    },
    says: "anything",
  },
  "Arrow of another tool": {
    files: ["docs.arrow"],
    make: (folder) => {
      const table = tableFromArrays({
        text: RECORDS.map(({ text }) => text),
        source: RECORDS.map(({ source }) => source),
      }, { types: {} });
      Deno.writeFileSync(`${folder}/docs.arrow`, tableToIPC(table, { format: "file" })!);
    },
    use: (folder) => listDocuments(`${folder}/docs.arrow`),
    says: (folder) =>
      tableFromIPC(Deno.readFileSync(`${folder}/docs.arrow`)).toArray()
        .map(({ text, source }) => ({ text, source })),
  },
  "pipe of tokens": {
    files: ["tokens.arrows"],
    make: (folder, base) =>
      Deno.writeFile(`${folder}/tokens.arrows`, arrowBytes(readArrow(shard(base)))),
    use: async (folder, base, gpu) =>
      await scored(await streamOf(`${folder}/tokens.arrows`), `${base.run}/partitioner`, gpu),
  },
  "file of tokens": {
    files: ["tokens.arrow"],
    make: async (folder, base) => {
      await writeArrowFile(`${folder}/tokens.arrow`, readArrow(shard(base)), undefined, {
        closes: true,
      });
    },
    use: async (folder, base) => {
      const tokenizer = await loadTokenizer(`${base.run}/tokenizer.json`);
      return await Array.fromAsync(showRows(`${folder}/tokens.arrow`, tokenizer));
    },
  },
  "pipe of scores": {
    files: ["scores.arrows"],
    make: (folder, base, gpu) => writeScores(`${folder}/scores.arrows`, base, gpu),
    use: async (folder) =>
      await describeRows(assign(await streamOf(`${folder}/scores.arrows`), { chunk: 8 })),
  },
  "file of scores": {
    files: ["scores.arrow"],
    make: (folder, base, gpu) => writeScores(`${folder}/scores.arrow`, base, gpu),
    use: (folder) => describeRows(assign(readArrow(`${folder}/scores.arrow`), { chunk: 8 })),
  },
  "prices": {
    files: ["prices.json"],
    make: async (folder, base, gpu) => {
      await writeScores(`${folder}/scores.arrow`, base, gpu);
      const prices = {
        method: "optimal",
        experts: 2,
        rows: 40,
        prefix: 16,
        prices: [0.25, -0.125],
      };
      await writePrices(`${folder}/prices.json`, prices, { sealed: true });
    },
    use: async (folder) => {
      const prices = await readPrices(`${folder}/prices.json`);
      return await describeRows(
        assign(readArrow(`${folder}/scores.arrow`), { prices, chunk: 8 }),
      );
    },
  },
  "checkpoint": {
    files: HUGGING_FACE,
    make: (folder, base) => copyFolder(`${base.run}/experts/expert-00`, folder),
    use: async (folder, _, gpu) => {
      const { weights } = await loadCheckpoint(folder);
      for (const [name, values] of weights) {
        if (!values.every(Number.isFinite)) throw new Error(`${name} has what is no number`);
      }
      const text = await generate({
        model: folder,
        gpu,
        prompt: "The",
        maxNewTokens: 3,
        temperature: 0,
      });
      return (await Array.fromAsync(text)).join("");
    },
    says: "anything",
  },
  "checkpoint to adopt": {
    files: HUGGING_FACE,
    make: (folder, base) => copyFolder(`${base.run}/experts/expert-01`, folder),
    use: async (folder, base) => {
      const run = `${folder}.run`;
      copyFolder(base.run, run);
      try {
        await adoptExpert({ run, expert: 1, from: folder, force: true });
        const { problems } = await verifyRun(run);
        if (problems.length > 0) throw new Error(`verify found ${JSON.stringify(problems)}`);
      } finally {
        await Deno.remove(run, { recursive: true });
      }
    },
    says: "anything",
  },
  "partitioner": {
    files: ["partitioner.json", "router-00/config.json", "router-01/model.safetensors"],
    make: (folder, base) => copyFolder(`${base.run}/partitioner`, folder),
    use: (folder, base, gpu) => scored(readArrow(shard(base)), folder, gpu),
    says: "anything",
  },
  "tokenizer": {
    files: ["tokenizer.json"],
    make: (folder, base) =>
      Deno.copyFileSync(`${base.run}/tokenizer.json`, `${folder}/tokenizer.json`),
    use: async (folder) => {
      const tokenizer = await loadTokenizer(`${folder}/tokenizer.json`);
      return (await tokenizer.encode(["The people of the sea; œuvre 小"])).map((ids) =>
        [...ids].join()
      );
    },
    says: "anything",
  },
  "questions": {
    files: ["arc_easy.jsonl"],
    make: writeQuestions,
    use: (folder) => readQuestions(`${folder}/arc_easy.jsonl`, TASKS.get("arc_easy")!),
    says: "anything",
  },
  "settings": {
    files: ["settings.json"],
    make: (folder, base) => Deno.copyFileSync(`${base.run}/config.json`, `${folder}/settings.json`),
    use: async (folder) =>
      resolveConfiguration({ file: await readConfiguration(`${folder}/settings.json`) }),
    says: "anything",
  },
};

/** Makes the sound files of an input in a new folder, and reports what it comes to. */
export async function makeInput(
  name: string,
  folder: string,
  base: Base,
  gpu: Gpu,
): Promise<{ folder: string; result: unknown }> {
  Deno.mkdirSync(folder, { recursive: true });
  await INPUTS[name].make(folder, base, gpu);
  return { folder, result: await INPUTS[name].use(folder, base, gpu) };
}

/**
 * Damages a copy of an input and uses it. Gives what that came to, and throws where it is another
 * result than the undisturbed one and than what the damaged bytes say, or an error does not explain
 * itself.
 */
export async function inputOutcomeOf(
  name: string,
  sound: { folder: string; result: unknown },
  damage: Damage,
  base: Base,
  gpu: Gpu,
): Promise<Outcome> {
  const { use, says } = INPUTS[name];
  const folder = `${sound.folder}.${crypto.randomUUID()}`;
  copyFolder(sound.folder, folder);
  try {
    Deno.writeFileSync(`${folder}/${damage.file}`, damaged(sound.folder, damage));
    let result: unknown;
    try {
      result = await use(folder, base, gpu);
    } catch (error) {
      checkExplained(error);
      return "refused";
    }
    if (isSame(result, sound.result)) return "same";
    if (says === "anything") return "as stated";
    if (says === undefined) throw new Error("another result, though the format has a checksum");
    if (!isSame(result, says(folder))) {
      throw new Error("another result than an independent reader has");
    }
    return "as stated";
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const isSame = (a: unknown, b: unknown) => JSON.stringify(a) === JSON.stringify(b);
