import { assert, assertEquals, assertMatch } from "@std/assert";
import { wordText } from "../../../../kernels/errors.ts";
import { split } from "../../../../pipeline/partition/split.ts";
import { type Columns, toBatch } from "../../../../pipeline/rows/arrow.ts";
import { createWords } from "../../../../pipeline/serving/server/words.ts";
import { IGNORED, withBrowser } from "../../../browser.ts";
import { gpu } from "../../../kernels/support.ts";
import { inFolder } from "../../../tasks/support.ts";
import { byteTokenizer, EXPERT, PREFIX, servingRun } from "../support.ts";
import { serving } from "./support.ts";

const TEXTS = ["the harbour and a <b>sail</b>", "return await value", "once upon a time"];

/** Adds a partition of texts of three kinds to a run. */
async function writePartition(run: string): Promise<void> {
  const tokenizer = await byteTokenizer();
  const rows = 180;
  const ids = await tokenizer.encode(Array.from({ length: rows }, (_, row) => `${TEXTS[row % 3]} ${row}`));
  const tokens = new Uint16Array(rows * EXPERT.context);
  ids.forEach((own, row) => tokens.set(own.subarray(0, EXPERT.context), row * EXPERT.context));
  const columns: Columns = {
    rows,
    sequence: BigUint64Array.from(ids, (_, row) => BigInt(row)),
    document: BigUint64Array.from(ids, (_, row) => BigInt(row)),
    source: ids.map(() => ""),
    tokens,
    length: Uint32Array.from(ids, (own) => Math.min(own.length, EXPERT.context)),
    nll: Float32Array.from({ length: rows * 3 }, (_, i) => i % 7),
    expert: Uint16Array.from(ids, (_, row) => row % 3),
  };
  const lineage = {
    ...{ format: 1, stage: "assign", sequenceLength: EXPERT.context, vocabulary: EXPERT.vocabulary },
    ...{ eos: tokenizer.eos, tokenizer: tokenizer.sha256, prefix: PREFIX, experts: 3 },
  };
  const train = ReadableStream.from([toBatch(columns, lineage)]);
  const { outputs } = await split({ train }, { folder: `${run}/partition`, shardSequences: 100 });
  await Deno.mkdir(`${run}/manifests`, { recursive: true });
  const manifest = {
    ...{ stage: "split", key: "0", code: "0.1.0", configuration: {}, inputs: {}, result: {} },
    outputs: Object.fromEntries(Object.entries(outputs).map(([name, file]) => [`partition/${name}`, file])),
  };
  await Deno.writeTextFile(`${run}/manifests/split.json`, JSON.stringify(manifest));
}

Deno.test("createWords() reads the words of experts once; none without a partition, nor from a damaged one", async () => {
  await inFolder(async (run) => {
    await servingRun(run);
    const tokenizer = await byteTokenizer();
    const warnings: string[] = [];
    const create = () => createWords(run, tokenizer, (message) => warnings.push(wordText(message)));
    assertEquals(await create()(), null);
    await writePartition(run);
    const words = create();
    const found = (await words())!;
    assert(
      found[0].includes("harbour") && found[1].includes("await") && found[2].includes("upon"),
      `${found}`,
    );
    assertEquals(warnings, []);
    const shard = `${run}/partition/expert-02/train-00000.arrow`;
    const bytes = await Deno.readFile(shard);
    bytes[bytes.length >> 1] ^= 1;
    await Deno.writeFile(shard, bytes);
    assertEquals(await words(), found); // it was read before
    assertEquals(await create()(), null);
    assertEquals(warnings.length, 1);
    assertMatch(
      warnings[0],
      /^experts are listed without their words: Cannot .*expert-02\/train-00000\.arrow/,
    );
  });
});

Deno.test({
  name: "GET /v1/models and the page tell the words of every expert",
  ignore: IGNORED || gpu === null,
  fn: () =>
    inFolder(async (run) => {
      await servingRun(run);
      await writePartition(run);
      await serving(run, [], async ({ url }) => {
        const { data }: { data: { words: string[] }[] } = await (await fetch(`${url}/v1/models`)).json();
        assertEquals((await (await fetch(`${url}/v1/models/expert-01`)).json()).words, data[3].words);
        await withBrowser(async (browser) => {
          const page = await browser.newPage();
          await page.goto(url);
          await page.waitForFunction('document.querySelectorAll("#bars li").length === 3');
          const words = await page.evaluate(
            '[...document.querySelectorAll("#bars .words")].map((one) => one.textContent)',
          );
          assertEquals(words, data.slice(2).map(({ words }) => words.join(", ")));
          assertMatch((words as string[])[0], /harbour/);
        });
      });
    }),
});
