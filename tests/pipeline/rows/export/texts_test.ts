import { assertEquals } from "@std/assert";
import fc from "fast-check";
import type { Lineage } from "../../../../pipeline/rows/lineage.ts";
import { type RecordBatch, toBatch } from "../../../../pipeline/rows/arrow.ts";
import { counted, pieces, type TokenText, wholeDocuments } from "../../../../pipeline/rows/export/mod.ts";
import { filesOf } from "../../../../pipeline/rows/export/texts.ts";
import { noCounts, tokenizeDocuments } from "../../../../pipeline/text/tokenize.ts";
import type { Tokenizer } from "../../../../pipeline/text/tokenizer.ts";
import { grouping, idsOf, someTexts } from "./readers.ts";

const EOS = 0;
/** A tokenizer whose ids are the codes of characters, from 1 on. */
const TOKENIZER: Tokenizer = {
  vocabulary: 200,
  eos: EOS,
  sha256: "ab",
  json: "{}",
  encode: (texts) =>
    Promise.resolve(texts.map((text) => Uint32Array.from(text, (letter) => letter.charCodeAt(0)))),
  decode: () => Promise.resolve(""),
};

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
            const { batch } of tokenizeDocuments(ReadableStream.from(texts), TOKENIZER, options, noCounts())
          ) yield batch;
        }
        const crossing = packing === "concat";
        const whole = (await Array.fromAsync(wholeDocuments(batches(), { eos: EOS, crossing }))).flat();
        assertEquals(
          idsOf(whole),
          texts.map(({ text }) => [...Array.from(text, (letter) => letter.charCodeAt(0)), EOS]),
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
  const lineage: Lineage = { format: 1, stage: "split", sequenceLength: 3, vocabulary: 9, eos: EOS };
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

Deno.test("filesOf() cuts the same texts by number and by tokens, and counted() counts them", async () => {
  const texts = someTexts(100, 300);
  const counts = { texts: 0, tokens: 0 };
  const files: TokenText[][][] = [];
  for await (const file of filesOf(counted(grouping(texts, 9), counts), { rows: 40, texts: 8, tokens: 30 })) {
    files.push(await Array.fromAsync(file));
  }
  assertEquals(files.flat(2), texts);
  assertEquals(files.map((groups) => groups.flat().length), [40, 40, 20]);
  for (const group of files.flatMap((groups) => groups.slice(0, -1))) {
    const sizes = group.map(({ ids }) => ids.length);
    const sum = sizes.reduce((a, b) => a + b, 0);
    assertEquals(group.length === 8 || sum >= 30 && sum - sizes.at(-1)! < 30, true);
  }
  assertEquals(counts, { texts: 100, tokens: texts.reduce((sum, { ids }) => sum + ids.length, 0) });
});
