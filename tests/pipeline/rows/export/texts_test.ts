import { assertEquals } from "@std/assert";
import fc from "fast-check";
import type { Lineage } from "../../../../pipeline/rows/lineage.ts";
import { type RecordBatch, toBatch } from "../../../../pipeline/rows/arrow.ts";
import { pieces, wholeDocuments } from "../../../../pipeline/rows/export/mod.ts";
import { noCounts, tokenizeDocuments } from "../../../../pipeline/text/tokenize.ts";
import type { Tokenizer } from "../../../../pipeline/text/tokenizer.ts";
import { idsOf } from "./readers.ts";

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
