import { assert, assertEquals, assertNotEquals, assertRejects } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { loadCheckpoint } from "../../../pipeline/model/checkpoints/checkpoint.ts";
import { exportModel, exportTexts } from "../../../pipeline/run/export.ts";
import { trainExpert } from "../../../pipeline/run/models.ts";
import { verifyRun } from "../../../pipeline/run/verify.ts";
import { fromBatch, readShards } from "../../../pipeline/rows/arrow.ts";
import { SAMPLING, settingsAmong } from "../../../pipeline/serving/sampling.ts";
import { readDocuments } from "../../../pipeline/text/readers.ts";
import { chooseSide } from "../../../pipeline/text/tokenize.ts";
import { loadTokenizer } from "../../../pipeline/text/tokenizer.ts";
import { hashes } from "../../tasks/support.ts";
import { readDataset, readMegatron, readParquet } from "../rows/export/readers.ts";
import { withPartition } from "./support.ts";

const SIDES = ["train", "test"] as const;
type Side = typeof SIDES[number];

/** Lists files of a folder whose names begin and end so, in order. */
const files = (folder: string, start: string, end: string): string[] =>
  Array.from(Deno.readDirSync(folder), ({ name }) => name)
    .filter((name) => name.startsWith(start) && name.endsWith(end)).sort().map((name) =>
      `${folder}/${name}`
    );

/** Reads one side of an export as its ids, and what says them is a text of its own. */
async function idsIn(folder: string, to: string, side: Side): Promise<unknown[]> {
  if (to === "megatron") return (await readMegatron(`${folder}/${side}`)).documents;
  if (to === "datasets") return (await readDataset(folder))[side];
  if (to === "parquet") {
    return (await readParquet(files(folder, side, ".parquet"))).map(({ input_ids }) => input_ids);
  }
  const lines = files(folder, side, ".jsonl").map((path) => Deno.readTextFileSync(path)).join("");
  return lines.trimEnd().split("\n").map((line) => JSON.parse(line).text);
}

Deno.test("exportTexts() writes every document of all text in its order, in every format, over blocks and sequences", async () => {
  for (const packing of ["document", "concat"] as const) {
    await withPartition(async (run, { input }) => {
      const tokenizer = await loadTokenizer(`${run}/tokenizer.json`);
      const expected: Record<Side, { text: string; ids: number[] }[]> = { train: [], test: [] };
      for await (const { text } of readDocuments(input!, { sourceField: "source" })) {
        const [ids] = await tokenizer.encode([text]);
        expected[chooseSide(text, 0, 0.1)].push({ text, ids: [...ids, tokenizer.eos] });
      }
      assert(expected.test.length > 0 && expected.train.length > 0);
      const formats = packing === "concat"
        ? ["text"] as const
        : ["megatron", "datasets", "parquet"] as const;
      for (const to of formats) {
        const output = `${run}/../${to}`;
        const { state, result } = await exportTexts({ run, to, output });
        assertEquals(state, "done");
        for (const side of SIDES) {
          const wanted = expected[side].map(({ text, ids }) => to === "text" ? text : ids);
          const found = await idsIn(output, to, side);
          assertEquals(found, wanted, `${to} ${side}`);
          const tokens = expected[side].reduce((sum, { ids }) => sum + ids.length, 0);
          assertEquals(result[side], { texts: wanted.length, tokens });
        }
      }
    }, { packing });
  }
});

Deno.test("exportTexts() writes the sequences of an expert's part, those for training in random order", () =>
  withPartition(async (run) => {
    for (const side of SIDES) {
      const expected: string[] = [];
      for await (const batch of readShards(files(`${run}/partition/expert-01`, side, ".arrow"))) {
        const { rows, tokens, length, source } = fromBatch(batch);
        const width = tokens!.length / rows;
        for (let row = 0; row < rows; row++) {
          const ids = [...tokens!.subarray(row * width, row * width + length[row])];
          expected.push(JSON.stringify([ids, source![row]]));
        }
      }
      const output = `${run}/export/parquet/expert-01`;
      await exportTexts({ run, to: "parquet", expert: 1, output });
      const rows = await readParquet(files(output, side, ".parquet"));
      const found = rows.map(({ input_ids, source }) => JSON.stringify([input_ids, source]));
      assertEquals(found.toSorted(), expected.toSorted());
      if (side === "train") assertNotEquals(found, expected);
      else assertEquals(found, expected);
    }
    assertEquals((await verifyRun(run)).problems, []);
    await Deno.truncate(`${run}/export/parquet/expert-01/test-00000.parquet`, 9);
    const [{ file }] = (await verifyRun(run)).problems;
    assertEquals(file, "export/parquet/expert-01/test-00000.parquet");
  }));

Deno.test("exportTexts() makes an export once, the same bytes again, and touches no file but its own", () =>
  withPartition(async (run) => {
    await Deno.mkdir(`${run}/../real/linked`, { recursive: true });
    await Deno.symlink("real", `${run}/../to-real`);
    await Deno.symlink("real/linked", `${run}/../to-linked`);
    const linked = [`${run}/../to-real/in`, `${run}/../to-linked`]; // through a link, and at one
    for (const output of [`${run}/../out/`, `${run}/export/mine`, ...linked]) {
      const options = { run, to: "megatron" as const, expert: 0, output };
      assertEquals((await exportTexts(options)).state, "done");
      const first = await hashes(output);
      assertEquals((await exportTexts(options)).state, "up to date");
      await Deno.remove(`${output}/train.idx`);
      assertEquals((await exportTexts(options)).state, "done"); // what is missing is made again
      assertEquals((await exportTexts({ ...options, force: true })).state, "done");
      assertEquals(await hashes(output), first);
      const other = { ...options, expert: 1 };
      const text = 'whose of must be "expert 1": it is "expert 0"';
      await assertRejects(() => exportTexts(other), InputError, text);
      await Deno.writeTextFile(`${output}/notes.txt`, "mine");
      await exportTexts({ ...other, force: true });
      assertEquals(await Deno.readTextFile(`${output}/notes.txt`), "mine");
      const stop = new AbortController();
      const onEvent = ({ type }: { type: string }) => type === "progress" && stop.abort();
      const before = await hashes(output);
      await assertRejects(() =>
        exportTexts({ ...options, force: true }, { onEvent, signal: stop.signal })
      );
      assertEquals(await hashes(output), before);
      await exportTexts({ ...options, force: true });
      await Deno.remove(`${output}/notes.txt`);
      assertEquals(await hashes(output), first);
    }
    assertEquals(Array.from(Deno.readDirSync(`${run}/..`), ({ name }) => name).sort(), [
      ...["out", "real", "run", "to-linked", "to-real"],
    ]);
    assertEquals(Array.from(Deno.readDirSync(`${run}/../real`), ({ name }) => name).sort(), [
      "in",
      "linked",
    ]);
    const bad = { run, to: "text" as const, expert: 0, force: true };
    await assertRejects(
      () => exportTexts({ ...bad, output: run }),
      InputError,
      "must be new or empty",
    );
    const own = `${run}/partition/expert-00`;
    await assertRejects(
      () => exportTexts({ ...bad, output: own }),
      InputError,
      "must be new or empty",
    );
    const file = `${run}/config.json`;
    await assertRejects(() => exportTexts({ ...bad, output: file }), InputError, "it is a file");
    await assertRejects(
      () => exportTexts({ ...bad, expert: 2, output: `${run}/a` }),
      InputError,
      "0 to 1",
    );
  }));

Deno.test("exportTexts() refuses damaged shards by name, and text that is not there", () =>
  withPartition(async (run) => {
    const shard = `${run}/partition/expert-00/train-00000.arrow`;
    const bytes = await Deno.readFile(shard);
    bytes[bytes.length >> 1] ^= 1;
    await Deno.writeFile(shard, bytes);
    const options = { run, to: "megatron" as const, output: `${run}/../out` };
    await assertRejects(() => exportTexts({ ...options, expert: 0 }), InputError, shard);
    await assertRejects(() => Deno.stat(options.output), Deno.errors.NotFound);
    await Deno.remove(`${run}/text/sequences`, { recursive: true });
    await assertRejects(() => exportTexts(options), InputError, "its text must be there as tokens");
  }));

Deno.test("exportModel() writes a head that equals the embedding, and generate's own sampling", () =>
  withPartition(async (run) => {
    const flags = {
      expertHidden: 16,
      expertLayers: 1,
      expertHeads: 2,
      expertBatch: 4,
      expertSteps: 2,
    };
    const none = () => exportModel({ run, expert: 0, output: `${run}/../a` });
    await assertRejects(none, InputError, "must be trained");
    await trainExpert(0, { run, sources: { flags } });
    const trained = await loadCheckpoint(`${run}/experts/expert-00`);
    for (const untie of [false, true]) {
      const output = `${run}/../untied-${untie}`;
      await exportModel({ run, expert: 0, output, untie });
      const { weights, notes, config } = await loadCheckpoint(output);
      const head = trained.weights.get("gpt_neox.embed_in.weight")!;
      const expected = new Map([
        ...trained.weights,
        ...untie ? [["embed_out.weight", head] as const] : [],
      ]);
      const shape = untie ? { ...trained.config, untied: true as const } : trained.config;
      assertEquals([weights, notes, config], [expected, trained.notes, shape]);
      const json = async (name: string) => JSON.parse(await Deno.readTextFile(`${output}/${name}`));
      assertEquals((await json("config.json")).tie_word_embeddings, !untie);
      const { temperature, topK, topP, maxNewTokens } = settingsAmong(SAMPLING, {});
      assertEquals(await json("generation_config.json"), {
        bos_token_id: notes.eos,
        eos_token_id: notes.eos,
        pad_token_id: notes.eos,
        do_sample: true,
        max_new_tokens: maxNewTokens,
        temperature,
        top_k: topK,
        top_p: topP,
      });
    }
  }));
