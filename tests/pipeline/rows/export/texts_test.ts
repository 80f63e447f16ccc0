import { assertEquals } from "@std/assert";
import fc from "fast-check";
import type { Lineage } from "../../../../pipeline/rows/lineage.ts";
import { type RecordBatch, toBatch } from "../../../../pipeline/rows/arrow.ts";
import {
  pieces,
  wholeDocuments,
  writeLines,
  writeParquet,
} from "../../../../pipeline/rows/export/texts.ts";
import { noCounts, tokenizeDocuments } from "../../../../pipeline/text/tokenize.ts";
import { inFolder } from "../../../tasks/support.ts";
import { LETTERS } from "../../text/support.ts";
import { grouping, idsOf, readParquet, someTexts } from "./readers.ts";

const documents = fc.array(
  fc.record({
    text: fc.string({ unit: fc.constantFrom(..."abc"), minLength: 1, maxLength: 12 }),
    source: fc.constantFrom("x", "y"),
  }),
  { minLength: 1, maxLength: 20 },
);

Deno.test("wholeDocuments() gives back every document that was tokenized, in its order, whatever its length", () =>
  fc.assert(
    fc.asyncProperty(
      documents,
      fc.integer({ min: 2, max: 6 }),
      fc.constantFrom("document", "concat"),
      async (texts, sequenceLength, packing) => {
        const options = { sequenceLength, packing: packing as "document" | "concat" };
        async function* batches() {
          for await (
            const { batch } of tokenizeDocuments(
              ReadableStream.from(texts),
              LETTERS,
              options,
              noCounts(),
            )
          ) yield batch;
        }
        const crossing = packing === "concat";
        const whole =
          (await Array.fromAsync(wholeDocuments(batches(), { eos: LETTERS.eos, crossing })))
            .flat();
        assertEquals(
          idsOf(whole),
          texts.map((
            { text },
          ) => [...Array.from(text, (letter) => letter.charCodeAt(0)), LETTERS.eos]),
        );
        assertEquals(
          whole.map(({ source }) => source),
          texts.map(({ source }) => crossing ? "" : source),
        );
      },
    ),
    { numRuns: 200, seed: 1 },
  ));

Deno.test("pieces() gives every sequence without its padding", async () => {
  const lineage: Lineage = {
    format: 1,
    stage: "split",
    sequenceLength: 3,
    vocabulary: 9,
    eos: LETTERS.eos,
  };
  const batch = toBatch({
    rows: 2,
    sequence: BigUint64Array.of(5n, 3n),
    document: BigUint64Array.of(2n, 1n),
    source: ["a", "b"],
    tokens: Uint16Array.of(4, 5, 6, 7, 0, 0),
    length: Uint32Array.of(3, 2),
  }, lineage);
  const stream = ReadableStream.from<RecordBatch>([batch]);
  assertEquals((await Array.fromAsync(pieces(stream))).flat(), [
    { ids: Uint16Array.of(4, 5, 6), source: "a" },
    { ids: Uint16Array.of(7, 0), source: "b" },
  ]);
});

Deno.test("writeLines() writes a JSON object per text, in files of so many rows", () =>
  inFolder(async (folder) => {
    const texts = someTexts(700, 300);
    const decode = ({ ids }: { ids: ArrayLike<number> }) => Promise.resolve(`a "${ids[0]}"\n小`);
    const records = await writeLines(folder, "train", grouping(texts, 37), { rows: 400, decode });
    assertEquals(Object.keys(records), ["train-00000.jsonl", "train-00001.jsonl"]);
    const lines = await Promise.all(
      Object.keys(records).map((name) => Deno.readTextFile(`${folder}/${name}`)),
    );
    assertEquals(
      lines.join("").trimEnd().split("\n").map((line) => JSON.parse(line)),
      texts.map(({ ids, source }) => ({ text: `a "${ids[0]}"\n小`, source })),
    );
  }));

Deno.test("writeParquet() writes ids as lists, or their text, in files of so many rows", () =>
  inFolder(async (folder) => {
    const texts = someTexts(2500, 70_000);
    const records = await writeParquet(folder, "train", grouping(texts, 37), { rows: 1200 });
    const names = ["train-00000.parquet", "train-00001.parquet", "train-00002.parquet"];
    assertEquals(Object.keys(records), names);
    const rows = await readParquet(names.map((name) => `${folder}/${name}`));
    assertEquals(rows.map(({ input_ids }) => input_ids), idsOf(texts));
    assertEquals(rows.map(({ source }) => source), texts.map(({ source }) => source));

    const decode = ({ ids }: { ids: ArrayLike<number> }) => Promise.resolve(`小 ${ids[0]}`);
    await writeParquet(folder, "text", grouping(texts, 37), { rows: 5000, decode });
    const said = await readParquet([`${folder}/text-00000.parquet`]);
    assertEquals(said.map(({ text }) => text), texts.map(({ ids }) => `小 ${ids[0]}`));
  }));
