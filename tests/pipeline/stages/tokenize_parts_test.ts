import { assertEquals, assertRejects } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { runOneStage } from "../../../pipeline/stages/partition.ts";
import { verifyRun } from "../../../pipeline/stages/verify.ts";
import type { Configuration } from "../../../pipeline/settings/configuration.ts";
import { hashes, inFolder, smallCorpus } from "../../tasks/support.ts";
import { SMALL_SETTINGS } from "./support.ts";

/** Runs a test with five files of text, one of them empty, and what makes a run as far as its tokenizer. */
async function inFiles(
  test: (begun: (name: string, more?: Partial<Configuration>) => Promise<string>) => Promise<void>,
): Promise<void> {
  await inFolder(async (folder) => {
    const input = ["a", "b", "c", "d", "e"].map((name) => `${folder}/${name}.jsonl`);
    const sizes = [9, 1, 0, 14, 6];
    const lines = smallCorpus(30).trimEnd().split("\n");
    for (const [i, path] of input.entries()) {
      await Deno.writeTextFile(path, lines.splice(0, sizes[i]).map((line) => `${line}\n`).join(""));
    }
    await test(async (name, more = {}) => {
      const run = `${folder}/${name}`;
      const flags = { ...SMALL_SETTINGS, shardSequences: 40, holdout: 0.3, input, ...more };
      await runOneStage({ run, stage: "corpus", sources: { flags } });
      await runOneStage({ run, stage: "tokenizer" });
      return run;
    });
  });
}

Deno.test("tokenize in any number of parts, in any order, some twice and two at once, gives the bytes of one process", () =>
  inFiles(async (begun) => {
    for (const holdout of [0.3, 0]) {
      const whole = await begun(`whole-${holdout}`, { holdout });
      await runOneStage({ run: whole, stage: "tokenize" });
      const expected = await hashes(whole);
      for (const [of, order] of [[1, [1]], [2, [2, 1]], [3, [3, 1, 1, 2]], [7, [5, 1, 7]]] as const) {
        const run = await begun(`of-${of}-${holdout}`, { holdout });
        const part = (index: number) => runOneStage({ run, stage: "tokenize", part: { index, of } });
        await Promise.all(order.slice(0, 2).map(part));
        for (const index of order.slice(2)) await part(index);
        await runOneStage({ run, stage: "tokenize" }); // which makes what no part has made
        assertEquals(await hashes(run), expected, `${of} parts`);
      }
    }
  }));

Deno.test("a part's damaged files are made again, and a run with parts of a text verifies", () =>
  inFiles(async (begun) => {
    const [whole, run] = [await begun("whole"), await begun("run")];
    await runOneStage({ run: whole, stage: "tokenize" });
    const part = (index: number) => runOneStage({ run, stage: "tokenize", part: { index, of: 2 } });
    assertEquals(await part(1), { own: 2, tokenized: 2, files: 5, closed: false });
    const { problems } = await verifyRun(run);
    assertEquals(problems.filter(({ file }) => file.startsWith("tokens/")), []);
    await Deno.truncate(`${run}/tokens/files/00000-train.arrow`, 99);
    await Deno.remove(`${run}/manifests/tokenize/00001-test.arrow.json`);
    assertEquals((await part(2)).tokenized, 3);
    await runOneStage({ run, stage: "tokenize" });
    assertEquals(await hashes(run), await hashes(whole));
  }));

Deno.test("tokenize refuses parts of a text that is limited or packed across files", () =>
  inFiles(async (begun) => {
    const cases: [Partial<Configuration>, string][] = [
      [{ maxTokens: 500 }, "maxTokens must be 0"],
      [{ maxDocuments: 5 }, "maxDocuments must be 0"],
      [{ packing: "concat" }, "packing must be document"],
    ];
    for (const [i, [more, text]] of cases.entries()) {
      const run = await begun(`run-${i}`, more);
      const part = { index: 1, of: 2 };
      await assertRejects(() => runOneStage({ run, stage: "tokenize", part }), InputError, text);
    }
  }));
