import { assertEquals, assertRejects } from "@std/assert";
import { BPE, byteLevelPreTokenizer, Tokenizer } from "tokenizers";
import { learnMerges, WordCounts } from "../../../pipeline/text/bpe.ts";
import { embeddedCorpus } from "../../../pipeline/text/corpora/corpus.ts";
import { inFolder } from "../../tasks/support.ts";

/** Gives the merges that the tokenizers library learns from a text. */
async function libraryMerges(folder: string, text: string): Promise<string[]> {
  await Deno.writeTextFile(`${folder}/text`, text);
  const trainee = new Tokenizer(BPE.empty());
  trainee.setPreTokenizer(byteLevelPreTokenizer(false));
  trainee.train([`${folder}/text`]);
  trainee.save(`${folder}/trained.json`);
  const { model } = JSON.parse(await Deno.readTextFile(`${folder}/trained.json`));
  return model.merges.map((merge: string | string[]) => [merge].flat().join(" "));
}

async function ownMerges(text: string, most: number): Promise<string[]> {
  const words = new WordCounts();
  words.add(text, 10_000);
  return (await learnMerges(words.counts, most)).map((merge) => merge.join(" "));
}

Deno.test("learnMerges() learns what the tokenizers library does, of prose, code, scripts, digits, white space and repeats", () =>
  inFolder(async (folder) => {
    const texts = await Array.fromAsync(embeddedCorpus("wide", 20_000));
    const kinds = [
      "aaaa aaa aaaaaaa",
      "naïve 日本 \u{1F600}\u{1F601} e\u0301",
      "'s 're x'tis 'Re",
      "  \t\r\n \u00a0\u0085\ufeff x\n\n\n",
      "12 ٣٤ ½²",
    ];
    const text = `${texts.map(({ text }) => text).join("\n")}\n${kinds.join("\n").repeat(9)}\n`;
    const expected = await libraryMerges(folder, text);
    const merges = await ownMerges(text, 30_000);
    assertEquals(expected.length > 5000, true);
    assertEquals(merges, expected);
    assertEquals(await ownMerges(text, 100), merges.slice(0, 100));
  }));

Deno.test("learnMerges() lets others have their turn, and ends when it is asked to", async () => {
  const words = new WordCounts();
  words.add(Array.from({ length: 40_000 }, (_, i) => `w${i * i}`).join(" "), 100);
  const controller = new AbortController();
  setTimeout(() => controller.abort(new Error("enough")));
  await assertRejects(() => learnMerges(words.counts, 20_000, controller.signal), Error, "enough");
});
