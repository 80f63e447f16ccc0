import { assert, assertEquals, assertGreater } from "@std/assert";
import { tableFromArrays, tableToIPC } from "apache-arrow";
import { fromBatch } from "../../../pipeline/rows/arrow.ts";
import { readLineage } from "../../../pipeline/rows/lineage.ts";
import {
  type Configuration,
  defaultConfiguration,
} from "../../../pipeline/settings/configuration.ts";
import {
  documentLines,
  openDocuments,
  takeByHash,
  tokenBatches,
} from "../../../pipeline/text/documents.ts";
import { type Document, readDocuments } from "../../../pipeline/text/readers.ts";
import { inFolder } from "../../tasks/support.ts";
import { LETTERS } from "./support.ts";

const settings = (more: Partial<Configuration>) => ({ ...defaultConfiguration(), ...more });

/** Opens the documents of settings; gives their texts. */
const readTexts = async (more: Partial<Configuration>) =>
  (await Array.fromAsync(openDocuments(settings(more)))).map(({ text }) => text);

Deno.test("openDocuments() reads the field of text of JSON lines next to the column of Arrow, which is the field's without a name", () =>
  inFolder(async (folder) => {
    const input = [`${folder}/a.jsonl`, `${folder}/b.arrow`];
    await Deno.writeTextFile(input[0], '{"body": "sail", "content": "not this"}\n');
    for (const textColumn of ["content", ""]) {
      const column = textColumn || "body";
      await Deno.writeFile(input[1], tableToIPC(tableFromArrays({ [column]: ["gull"] }), "file"));
      assertEquals(await readTexts({ input, textField: "body", textColumn }), ["sail", "gull"]);
      assertEquals(
        await readTexts({ input: [input[1]], textField: "body", textColumn, format: "arrow" }),
        [
          "gull",
        ],
      );
    }
  }));

Deno.test("openDocuments() reads files, the first ones where it is asked so, or some by hash from everywhere", () =>
  inFolder(async (folder) => {
    const all = Array.from(
      { length: 40 },
      (_, i) => ({ text: `text ${i}`, source: i < 39 ? "a" : "b" }),
    );
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
    for (const name of ["a.txt", "b.story", "c"]) {
      await Deno.mkdir(`${folder}/texts`, { recursive: true });
      await Deno.writeTextFile(`${folder}/texts/${name}`, name);
    }
    const few = { input: [`${folder}/texts`], maxDocuments: 9 };
    assertEquals(
      await readTexts({ ...few, format: "txt" }),
      ["a.txt", "b.story", "c"],
      "whatever the endings",
    );
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
  const options = { sequenceLength: 4, holdout: 0.9, seed: 0, packing: "document" as const };
  const run = async (documents: Document[]) =>
    await Array.fromAsync(tokenBatches(ReadableStream.from(documents), LETTERS, options));
  const [empty, ...none] = await run([]);
  assertEquals([empty, ...none].map(({ numRows }) => numRows), new Array(1 + none.length).fill(0));
  assertEquals(readLineage(empty)?.tokenizer, LETTERS.sha256);
  const names = empty.schema.fields.map(({ name }) => name).join(" ");
  assertEquals(names, "sequence document source tokens length");
  const [, ...batches] = await run([{ text: "abcde", source: "x" }, { text: "fg", source: "y" }]);
  const columns = batches.map((batch) => fromBatch(batch));
  const rows = columns.flatMap(({ tokens, length }) =>
    Array.from(
      length,
      (count, row) => String.fromCharCode(...tokens!.slice(4 * row, 4 * row + count)),
    )
  );
  assertEquals(rows, ["abcd", "e\0", "fg\0"]);
});

const DOCUMENTS: Document[] = Array.from({ length: 3000 }, (_, i) => {
  return { text: `${i} ${"x".repeat(i % 50)}`, source: `source ${Math.floor(i / 1000)}` };
});
const lengths = async function* (documents: AsyncIterable<Document>) {
  for await (const { text } of documents) yield text.length;
};
type Limit = Parameters<typeof takeByHash>[1];
const take = (documents: Document[], limit: Omit<Limit, "seed"> & { seed?: number }) =>
  Array.fromAsync(
    takeByHash(
      async function* () {
        yield* documents;
      },
      { seed: 0, ...limit },
    ),
  );
const texts = (documents: Document[]) => documents.map(({ text }) => text);

Deno.test("takeByHash() takes as many as asked, from everywhere, in their order; another seed takes others", async () => {
  const taken = await take(DOCUMENTS, { most: 300 });
  assertEquals(taken.length, 300);
  assertEquals(texts(taken), texts(DOCUMENTS.filter((document) => taken.includes(document))));
  for (const source of ["source 0", "source 1", "source 2"]) {
    // 100, give or take 8.
    assertGreater(taken.filter((document) => document.source === source).length, 70);
  }
  const other = await take(DOCUMENTS, { most: 300, seed: 1 });
  assertGreater(other.filter((document) => !taken.includes(document)).length, 200);
  assertEquals(texts(await take(DOCUMENTS, { most: 5000 })), texts(DOCUMENTS));
  assertEquals(await take([], { most: 3 }), []);
});

Deno.test("takeByHash() takes the same documents wherever they stand, and a larger limit takes more", async () => {
  const taken = texts(await take(DOCUMENTS, { most: 300 }));
  assertEquals(texts(await take(DOCUMENTS.toReversed(), { most: 300 })).sort(), taken.toSorted());
  const more = new Set(texts(await take(DOCUMENTS, { most: 301 })));
  assert(taken.every((text) => more.has(text)) && more.size === 301);
  const same = Array.from({ length: 9 }, () => ({ text: "same", source: "" }));
  assertEquals((await take(same, { most: 4 })).length, 4);
});

Deno.test("takeByHash() measures what it takes: it ends with the document that reaches the limit", async () => {
  const total = (documents: Document[]) =>
    documents.reduce((sum, { text }) => sum + text.length, 0);
  for (
    const least of [(characters: number) => characters / 2, (characters: number) => characters * 9]
  ) {
    // 9 times too large: measured anew.
    const taken = await take(DOCUMENTS, { most: 5000, sizes: lengths, least });
    const size = total(taken);
    assert(size >= 5000 && size < 5000 + 55, `${size}`);
  }
  assertEquals(
    total(await take(DOCUMENTS, { most: 1e9, sizes: lengths, least: (n) => n })),
    total(DOCUMENTS),
  );
});

Deno.test("takeByHash() tells the sources of which nothing is taken", async () => {
  const rare = [...DOCUMENTS, { text: "one", source: "rare" }, { text: "two", source: "rarer" }];
  const reported: unknown[] = [];
  const onLeftOut = (...left: unknown[]) => reported.push(left);
  const taken = await take(rare, { most: 30, onLeftOut });
  const without = ["rare", "rarer"].filter((name) => !taken.some(({ source }) => source === name));
  assertGreater(without.length, 0);
  assertEquals(reported, [[without, 5]]);
  await take(DOCUMENTS, { most: 300, onLeftOut });
  assertEquals(reported.length, 1);
});
