import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { existsSync } from "node:fs";
import { InputError } from "../../../kernels/errors.ts";
import { loadCheckpoint } from "../../../pipeline/checkpoints/checkpoint.ts";
import { fromBatch, readShards } from "../../../pipeline/rows/arrow.ts";
import { samplingOf } from "../../../pipeline/serving/sampling.ts";
import { exportModel, exportTexts } from "../../../pipeline/stages/export_run.ts";
import { partition } from "../../../pipeline/stages/partition.ts";
import { trainExpert } from "../../../pipeline/stages/train.ts";
import { readDocuments } from "../../../pipeline/text/readers.ts";
import { sideOf } from "../../../pipeline/text/tokenize.ts";
import { loadTokenizer } from "../../../pipeline/text/tokenizer.ts";
import { hashes, inFolder, smallCorpus } from "../../tasks/support.ts";
import { readDataset, readMegatron, readParquet } from "../rows/export/readers.ts";
import { SMALL_SETTINGS, withPartition } from "./support.ts";

const KINDS = ["train", "test"] as const;
type Kind = typeof KINDS[number];

/** Lists files of a folder whose names begin and end so, in order. */
const files = (folder: string, start: string, end: string): string[] =>
  Array.from(Deno.readDirSync(folder), ({ name }) => name)
    .filter((name) => name.startsWith(start) && name.endsWith(end)).sort().map((name) => `${folder}/${name}`);

/** Reads a kind of text of an export as its ids, and what says them is a text of its own. */
async function idsIn(folder: string, to: string, kind: Kind): Promise<unknown[]> {
  if (to === "megatron") return (await readMegatron(`${folder}/${kind}`)).documents;
  if (to === "datasets") return (await readDataset(folder))[kind];
  if (to === "parquet") {
    return (await readParquet(files(folder, kind, ".parquet"))).map(({ input_ids }) => input_ids);
  }
  const lines = files(folder, kind, ".jsonl").map((path) => Deno.readTextFileSync(path)).join("");
  return lines.trimEnd().split("\n").map((line) => JSON.parse(line).text);
}

Deno.test("exportTexts() writes the ids of every document of the whole corpus, in every format", () =>
  withPartition(async (run, { input }) => {
    const tokenizer = await loadTokenizer(`${run}/tokenizer.json`);
    const expected: Record<Kind, { text: string; ids: number[]; source: string }[]> = { train: [], test: [] };
    for await (const { text, source } of readDocuments(input!, { sourceField: "source" })) {
      const [ids] = await tokenizer.encode([text]);
      expected[sideOf(text, 0, 0.1)].push({ text, ids: [...ids, tokenizer.eos], source });
    }
    assert(expected.test.length > 0 && expected.train.length > 0);
    for (const to of ["megatron", "datasets", "parquet", "text"] as const) {
      const output = `${run}/../${to}`;
      const { state, result } = await exportTexts({ run, to, output });
      assertEquals(state, "done");
      for (const kind of KINDS) {
        const own = expected[kind];
        const wanted = own.map(({ text, ids }) => to === "text" ? text : ids);
        assertEquals(await idsIn(output, to, kind), wanted, `${to} ${kind}`);
        const tokens = own.reduce((sum, { ids }) => sum + ids.length, 0);
        assertEquals(result[kind], { texts: own.length, tokens });
      }
      if (to === "text") continue;
      const copy = await Deno.readTextFile(`${output}/tokenizer.json`);
      assertEquals(copy, await Deno.readTextFile(`${run}/tokenizer.json`));
    }
    const rows = await readParquet(files(`${run}/../parquet`, "train", ".parquet"));
    assertEquals(rows.map(({ source }) => source), expected.train.map(({ source }) => source));
    await exportTexts({ run, to: "parquet", as: "text", output: `${run}/../said` });
    const said = await readParquet(files(`${run}/../said`, "test", ".parquet"));
    assertEquals(said.map(({ text }) => text), expected.test.map(({ text }) => text));
  }));

Deno.test("a run of exported ids has the documents of the run that they come from, in Parquet and Arrow", () =>
  withPartition(async (run) => {
    await exportTexts({ run, to: "parquet", output: `${run}/../parquet` });
    await exportTexts({ run, to: "datasets", output: `${run}/../datasets` });
    const settings = { ...SMALL_SETTINGS, tokenizer: `${run}/tokenizer.json`, tokenColumn: "input_ids" };
    const sorted = (documents: number[][]) => documents.map((ids) => ids.join()).sort();
    const inputs = {
      parquet: { input: [`${run}/../parquet/*.parquet`], sourceField: "source" },
      datasets: { input: [`${run}/../datasets/*/*.arrow`], sourceField: "" },
    };
    for (const [name, flags] of Object.entries(inputs)) {
      const other = `${run}/../of-${name}`;
      await partition({ run: other, sources: { flags: { ...settings, ...flags } } });
      await exportTexts({ run: other, to: "datasets", output: `${other}-out` });
      const [here, there] = [await readDataset(`${run}/../datasets`), await readDataset(`${other}-out`)];
      for (const kind of KINDS) assertEquals(sorted(there[kind]), sorted(here[kind]), `${name} ${kind}`);
    }
  }));

Deno.test("exportTexts() writes the sequences of an expert's part as they lie there", () =>
  withPartition(async (run) => {
    for (const kind of KINDS) {
      const expected: number[][] = [];
      const shards = files(`${run}/partition/expert-01`, kind, ".arrow");
      for await (const batch of readShards(shards)) {
        const { rows, tokens, length } = fromBatch(batch);
        const width = tokens!.length / rows;
        for (let row = 0; row < rows; row++) {
          expected.push([...tokens!.subarray(row * width, row * width + length[row])]);
        }
      }
      for (const to of ["megatron", "datasets", "parquet"] as const) {
        const output = `${run}/export/${to}`;
        await exportTexts({ run, to, expert: 1, output });
        assertEquals(await idsIn(output, to, kind), expected, `${to} ${kind}`);
      }
    }
  }));

Deno.test("exportTexts() takes whole documents out of sequences that cross them", () =>
  inFolder(async (folder) => {
    const input = `${folder}/docs.jsonl`;
    await Deno.writeTextFile(input, smallCorpus());
    const run = `${folder}/run`;
    const flags = { ...SMALL_SETTINGS, input: [input], packing: "concat" as const };
    await partition({ run, sources: { flags } });
    const output = `${folder}/text`;
    await exportTexts({ run, to: "text", output });
    const found = [...await idsIn(output, "text", "train"), ...await idsIn(output, "text", "test")];
    const texts = smallCorpus().trimEnd().split("\n").map((line) => JSON.parse(line).text);
    assertEquals(found.sort(), texts.sort());
  }));

Deno.test("exportTexts() makes an export once, the same bytes again, and touches no file but its own", () =>
  withPartition(async (run) => {
    const output = `${run}/../out`;
    const options = { run, to: "megatron" as const, expert: 0, output };
    assertEquals((await exportTexts(options)).state, "done");
    const first = await hashes(output);
    assertEquals((await exportTexts(options)).state, "up to date");
    assertEquals((await exportTexts({ ...options, force: true })).state, "done");
    assertEquals(await hashes(output), first);
    await Deno.remove(`${output}/train.idx`);
    assertEquals((await exportTexts(options)).state, "done"); // what is missing is made again
    assertEquals(await hashes(output), first);

    const other = { ...options, expert: 1 };
    const error = await assertRejects(() => exportTexts(other), InputError);
    assertStringIncludes(error.message, 'whose of must be "expert 1": it is "expert 0"');
    await Deno.writeTextFile(`${output}/notes.txt`, "mine");
    await exportTexts({ ...other, force: true });
    assertEquals(await Deno.readTextFile(`${output}/notes.txt`), "mine");
    await Deno.writeTextFile(`${output}/dataset_dict.json`, "mine");
    await assertRejects(
      () => exportTexts({ ...options, to: "datasets", force: true }),
      InputError,
      'would replace "dataset_dict.json"',
    );
    await assertRejects(() => exportTexts({ ...options, output: run }), InputError, "must be new or empty");
    await assertRejects(() => exportTexts({ ...options, output: `${run}/config.json` }), InputError);
    await assertRejects(() => exportTexts({ ...options, expert: 2 }), InputError, "must be one of 0 to 1");
  }));

Deno.test("exportTexts() stopped in the middle vouches for nothing, and goes through when it runs again", () =>
  withPartition(async (run) => {
    const output = `${run}/../out`;
    const options = { run, to: "datasets" as const, output };
    await exportTexts(options);
    const whole = await hashes(output);
    await Deno.remove(output, { recursive: true });
    const stop = new AbortController();
    const last = `${output}/train/state.json`; // of the training side: the held-out one follows
    const onEvent = () => existsSync(last) && stop.abort(new DOMException("interrupted", "AbortError"));
    await assertRejects(() => exportTexts(options, { onEvent, signal: stop.signal }), DOMException);
    assert(existsSync(last));
    await Deno.writeTextFile(`${output}/train/data-00007.arrow.partial`, "half"); // as a kill leaves it
    assertEquals(JSON.parse(await Deno.readTextFile(`${output}/export.json`)).complete, false);
    assertEquals((await exportTexts(options)).state, "done");
    assertEquals(await hashes(output), whole);
  }));

Deno.test("exportTexts() refuses a damaged shard by its name, and text that is not there", () =>
  withPartition(async (run) => {
    const shard = `${run}/partition/expert-00/train-00000.arrow`;
    const bytes = await Deno.readFile(shard);
    bytes[bytes.length >> 1] ^= 1;
    await Deno.writeFile(shard, bytes);
    const options = { run, to: "megatron" as const, output: `${run}/../out` };
    await assertRejects(() => exportTexts({ ...options, expert: 0 }), InputError, shard);
    await assertRejects(() => Deno.stat(`${run}/../out/train.idx`), Deno.errors.NotFound);
    await Deno.remove(`${run}/manifests/tokenize.json`);
    await assertRejects(() => exportTexts(options), InputError, '"tokenize" has not run');
  }));

Deno.test("exportModel() writes a head that equals the embedding, and a generation_config.json of generate's own sampling", () =>
  withPartition(async (run) => {
    const flags = { expertHidden: 16, expertLayers: 1, expertHeads: 2, expertBatch: 4, expertSteps: 2 };
    await assertRejects(
      () => exportModel({ run, expert: 0, output: `${run}/../a` }),
      InputError,
      "be trained",
    );
    await trainExpert(0, { run, sources: { flags } });
    const trained = await loadCheckpoint(`${run}/experts/expert-00`);
    for (const untie of [false, true]) {
      const output = `${run}/../untied-${untie}`;
      await exportModel({ run, expert: 0, output, untie });
      const { weights, notes, config } = await loadCheckpoint(output);
      const head = trained.weights.get("gpt_neox.embed_in.weight")!;
      const expected = new Map([...trained.weights, ...untie ? [["embed_out.weight", head] as const] : []]);
      const shape = untie ? { ...trained.config, untied: true as const } : trained.config;
      assertEquals([weights, notes, config], [expected, trained.notes, shape]);
      const json = async (name: string) => JSON.parse(await Deno.readTextFile(`${output}/${name}`));
      assertEquals((await json("config.json")).tie_word_embeddings, !untie);
      const header = new TextDecoder().decode((await Deno.readFile(`${output}/model.safetensors`)).slice(8));
      assertEquals(header.includes('"embed_out.weight"'), untie);
      const { temperature, topK, topP, maxNewTokens } = samplingOf({});
      const { eos_token_id, ...generation } = await json("generation_config.json");
      assertEquals(eos_token_id, notes.eos);
      assertEquals(generation, {
        bos_token_id: notes.eos,
        pad_token_id: notes.eos,
        do_sample: true,
        max_new_tokens: maxNewTokens,
        temperature,
        top_k: topK,
        top_p: topP,
      });
    }
  }));
