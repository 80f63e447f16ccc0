import { assertEquals, assertRejects } from "@std/assert";
import { InputError } from "../../../../kernels/errors.ts";
import { heldOutDocuments } from "../../../../pipeline/evaluation/choices/held_out.ts";
import { type Packing, tokenizeDocuments } from "../../../../pipeline/text/tokenize.ts";
import type { Tokenizer } from "../../../../pipeline/text/tokenizer.ts";
import { CHARACTERS } from "./support.ts";

const TEXTS = ["a text", "another one, of several sequences", "x", "sixteen letters.", "", "the last one"];

/** The documents that are read back from rows of 8 tokens. */
async function readBack(packing: Packing, tokenizer: Tokenizer = CHARACTERS) {
  const documents = TEXTS.map((text, i) => ({ text, source: i % 2 ? "odd" : "even" }));
  const rows = tokenizeDocuments(ReadableStream.from(documents), CHARACTERS, { sequenceLength: 8, packing });
  const batches = async function* () {
    for await (const { batch } of rows) yield batch;
  };
  return await Array.fromAsync(heldOutDocuments(batches(), tokenizer, packing));
}

Deno.test("heldOutDocuments() reads documents back from their rows, however they are packed", async () => {
  const documents = await readBack("document");
  assertEquals(documents.map(({ text }) => text), TEXTS.filter((text) => text !== ""));
  assertEquals(documents.map(({ tokens }) => tokens), documents.map(({ text }) => text.length));
  assertEquals(documents.map(({ source }) => source), ["even", "odd", "even", "odd", "odd"]);
  // Of a document whose EOS alone is left for a row of its own, as for one of 16 letters, the row was dropped.
  const concatenated = await readBack("concat");
  assertEquals(concatenated.map(({ text }) => text), TEXTS.filter((text) => text !== ""));
});

Deno.test("heldOutDocuments() refuses rows of another tokenizer", async () => {
  await assertRejects(() => readBack("document", { ...CHARACTERS, sha256: "other" }), InputError, "other");
});
