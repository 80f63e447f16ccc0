import { assert, assertEquals } from "@std/assert";
import { tableFromArrays, tableToIPC } from "apache-arrow";
import { fromBatch } from "../../../pipeline/rows/arrow.ts";
import { readLineage } from "../../../pipeline/rows/lineage.ts";
import { type Configuration, defaultConfiguration } from "../../../pipeline/settings/configuration.ts";
import { documentLines, openDocuments, tokenBatches } from "../../../pipeline/text/documents.ts";
import { type Document, readDocuments } from "../../../pipeline/text/readers.ts";
import type { Tokenizer } from "../../../pipeline/text/tokenizer.ts";
import { inFolder } from "../../tasks/support.ts";

const settings = (more: Partial<Configuration>) => ({ ...defaultConfiguration(), ...more });

/** Opens the documents of settings; gives their texts. */
const readTexts = async (
  more: Partial<Configuration>,
  onLeftOut?: (sources: string[], all: number) => void,
) => (await Array.fromAsync(openDocuments(settings(more), onLeftOut))).map(({ text }) => text);

Deno.test("openDocuments() reads the field of text of JSON lines next to the column of Arrow, which is the field's without a name", () =>
  inFolder(async (folder) => {
    const input = [`${folder}/a.jsonl`, `${folder}/b.arrow`];
    await Deno.writeTextFile(input[0], '{"body": "sail", "content": "not this"}\n');
    for (const textColumn of ["content", ""]) {
      const column = textColumn || "body";
      await Deno.writeFile(input[1], tableToIPC(tableFromArrays({ [column]: ["gull"] }), "file"));
      assertEquals(await readTexts({ input, textField: "body", textColumn }), ["sail", "gull"]);
      assertEquals(await readTexts({ input: [input[1]], textField: "body", textColumn, format: "arrow" }), [
        "gull",
      ]);
    }
  }));

Deno.test("openDocuments() reads files, the first ones where it is asked so, or some by hash from everywhere", () =>
  inFolder(async (folder) => {
    const all = Array.from({ length: 40 }, (_, i) => ({ text: `text ${i}`, source: i < 39 ? "a" : "b" }));
    const path = `${folder}/docs.jsonl`;
    await Deno.writeTextFile(path, all.map((document) => JSON.stringify(document) + "\n").join(""));
    const texts = all.map(({ text }) => text);
    const common = { input: [path], sourceField: "source" };
    assertEquals(await readTexts(common), texts);
    assertEquals(await readTexts({ ...common, maxDocuments: 5, take: "head" }), texts.slice(0, 5));
    const taken = await readTexts({ ...common, maxDocuments: 5 });
    assertEquals(taken.length, 5);
    assert(
      taken.every((text) => texts.includes(text)) &&
        JSON.stringify(taken) !== JSON.stringify(texts.slice(0, 5)),
    );
    assertEquals(await readTexts({ ...common, maxDocuments: 5 }), taken, "the same again");
    assertEquals(taken, texts.filter((text) => taken.includes(text)), "in their order");
    const left: [string[], number][] = [];
    await readTexts({ ...common, maxDocuments: 1, seed: 3 }, (sources, count) => left.push([sources, count]));
    assertEquals(left.map(([sources, count]) => [sources.length, count]), [[1, 2]]);
  }));

Deno.test("documentLines() writes what readDocuments() reads back, whatever the text", () =>
  inFolder(async (folder) => {
    const documents: Document[] = [
      { text: 'two "lines"\nand \u2028 more', source: "a/b" },
      { text: "œuvre 小 \u{1F600}", source: "" },
    ];
    const path = `${folder}/out.jsonl`;
    await Deno.writeFile(path, ReadableStream.from(documentLines(ReadableStream.from(documents))));
    const read = await Array.fromAsync(readDocuments([path], { sourceField: "source" }));
    assertEquals(read.map(({ text, source }) => ({ text, source })), documents);
  }));

Deno.test("tokenBatches() begins with the columns, also where there is no text, and holds nothing out", async () => {
  const tokenizer: Tokenizer = {
    vocabulary: 300,
    eos: 0,
    sha256: "ab12",
    json: "{}",
    encode: (texts) => Promise.resolve(texts.map((text) => Uint32Array.from(text, (c) => c.charCodeAt(0)))),
    decode: () => Promise.reject(new Error("it only encodes")),
  };
  const options = { sequenceLength: 4, holdout: 0.9, seed: 0, packing: "document" as const };
  const run = async (documents: Document[]) =>
    await Array.fromAsync(tokenBatches(ReadableStream.from(documents), tokenizer, options));
  const [empty, ...none] = await run([]);
  assertEquals([empty, ...none].map(({ numRows }) => numRows), new Array(1 + none.length).fill(0));
  assertEquals(readLineage(empty)?.tokenizer, "ab12");
  const names = empty.schema.fields.map(({ name }) => name).join(" ");
  assertEquals(names, "sequence document source tokens length");
  const [, ...batches] = await run([{ text: "abcde", source: "x" }, { text: "fg", source: "y" }]);
  const columns = batches.map((batch) => fromBatch(batch));
  const rows = columns.flatMap(({ tokens, length }) =>
    Array.from(length, (count, row) => String.fromCharCode(...tokens!.slice(4 * row, 4 * row + count)))
  );
  assertEquals(rows, ["abcd", "e\0", "fg\0"]);
});
