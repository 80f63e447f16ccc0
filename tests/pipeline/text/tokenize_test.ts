import { assert, assertEquals, assertThrows } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import fc from "fast-check";
import { fromBatch } from "../../../pipeline/rows/arrow.ts";
import {
  chooseSide,
  noCounts,
  tokenizeDocuments,
  type TokenizeOptions,
} from "../../../pipeline/text/tokenize.ts";
import { trainTokenizer } from "../../../pipeline/text/tokenizer.ts";
import { LETTERS } from "./support.ts";

interface Row {
  side: string;
  sequence: number;
  document: number;
  source: string;
  text: string;
}

async function run(texts: string[], options: TokenizeOptions) {
  const counts = noCounts();
  const rows: Row[] = [];
  let batches = 0;
  async function* documents() {
    await Promise.resolve();
    for (const [i, text] of texts.entries()) yield { text, source: `s${i}` };
  }
  for await (const { side, batch } of tokenizeDocuments(documents(), LETTERS, options, counts)) {
    batches++;
    const columns = fromBatch(batch);
    for (let row = 0; row < columns.rows; row++) {
      const S = options.sequenceLength;
      const tokens = columns.tokens!.subarray(row * S, (row + 1) * S);
      const length = columns.length[row];
      assert(tokens.subarray(length).every((id) => id === LETTERS.eos), "padding is EOS");
      rows.push({
        side,
        sequence: Number(columns.sequence[row]),
        document: Number(columns.document![row]),
        source: columns.source![row],
        text: String.fromCharCode(...tokens.subarray(0, length)).replaceAll("\0", "."),
      });
    }
  }
  return { rows, counts, batches };
}

Deno.test("tokenizeDocuments() closes documents with EOS, keeps tails and drops tails of one token", async () => {
  const { rows, counts } = await run(["abcdefg", "xyz", "", "abcd", "q"], { sequenceLength: 4 });
  assertEquals(
    rows.map(({ sequence, document, source, text }) => [sequence, document, source, text]),
    [
      [0, 0, "s0", "abcd"],
      [1, 0, "s0", "efg."],
      [2, 1, "s1", "xyz."],
      [3, 2, "s3", "abcd"], // its EOS alone is a tail of one token
      [4, 3, "s4", "q."],
    ],
  );
  assertEquals(counts, {
    documents: 4,
    emptyDocuments: 1,
    tokens: 18,
    sequences: 5,
    droppedTails: 1,
  });
});

Deno.test("tokenizeDocuments() packs documents one after another with packing concat", async () => {
  const { rows, counts } = await run(["abcdefg", "xyz", "ab"], {
    sequenceLength: 5,
    packing: "concat",
  });
  assertEquals(rows.map(({ document, text }) => [document, text]), [[0, "abcde"], [0, "fg.xy"], [
    1,
    "z.ab.",
  ]]);
  assertEquals(counts.droppedTails, 0);
});

Deno.test("tokenizeDocuments() gives the same rows in any packing and number, with nothing lost (property)", async () => {
  const text = fc.string({ unit: fc.constantFrom("a", "b", "c"), maxLength: 40 });
  await fc.assert(
    fc.asyncProperty(
      fc.array(text, { maxLength: 600 }),
      fc.integer({ min: 2, max: 9 }),
      async (texts, sequenceLength) => {
        const whole = texts.filter((t) => t !== "").map((t) => `${t}.`).join("");
        const concat = await run(texts, { sequenceLength, packing: "concat" });
        const joined = concat.rows.map((row) => row.text).join("");
        assertEquals(joined, whole.slice(0, whole.length - concat.counts.droppedTails));
        const each = await run(texts, { sequenceLength });
        assertEquals(each.counts.tokens + each.counts.droppedTails, whole.length);
        assertEquals(each.rows.map((row) => row.sequence), each.rows.map((_, i) => i));
      },
    ),
    { numRuns: 25 },
  );
});

Deno.test("tokenizeDocuments() holds the same texts out wherever they stand, and about the share asked for", async () => {
  const texts = Array.from({ length: 2000 }, (_, i) => `text ${i % 1000}`);
  const { rows } = await run(texts, { sequenceLength: 16, holdout: 0.3, seed: 7 });
  const sides = new Map<string, Set<string>>();
  for (const { text, side } of rows) sides.set(text, (sides.get(text) ?? new Set()).add(side));
  assert([...sides.values()].every((set) => set.size === 1));
  const held = rows.filter(({ side }) => side === "test").length / rows.length;
  assert(Math.abs(held - 0.3) < 0.05, `${held}`);
  assertEquals(new Set(rows.map(({ sequence }) => sequence)).size, rows.length);
  assertEquals(chooseSide("text 1", 7, 0), "train");
  assert(texts.some((text) => chooseSide(text, 7, 0.3) !== chooseSide(text, 8, 0.3)));
});

Deno.test("tokenizeDocuments() stops at its limits and gives an empty batch per side for no documents", async () => {
  const texts = Array.from({ length: 700 }, () => "abc");
  assertEquals((await run(texts, { sequenceLength: 4, maxTokens: 10 })).counts.tokens, 12);
  const nothing = await run([], { sequenceLength: 4, holdout: 0.5 });
  assertEquals([nothing.rows.length, nothing.batches], [0, 2]);
  assertThrows(
    () => tokenizeDocuments(new ReadableStream(), LETTERS, { sequenceLength: 1 }),
    InputError,
    "it is 1",
  );
  assertThrows(
    () => tokenizeDocuments(new ReadableStream(), LETTERS, { sequenceLength: 2, holdout: 2 }),
    InputError,
    "from 0 to 1",
  );
});

Deno.test("tokenizeDocuments() pulls no more documents than its reader asks for", async () => {
  let pulled = 0;
  async function* endless() {
    await Promise.resolve();
    for (;;) yield { text: "some words to fill a row", source: `${pulled++}` };
  }
  const rows = tokenizeDocuments(endless(), LETTERS, { sequenceLength: 8 });
  await rows.next();
  const first = pulled;
  await new Promise((resolve) => setTimeout(resolve, 5));
  assertEquals(pulled, first);
  assert(first < 2000, `${first}`);
  await rows.return(undefined);
});

Deno.test("tokenizeDocuments() gives the same rows with any number of workers", async () => {
  const words = "sea wind storm anchor harbour tide mast deck north salt rope crew gull shore sail"
    .split(
      " ",
    );
  const texts = Array.from(
    { length: 700 }, // of 2.3 million characters: workers begin after the first
    (_, i) =>
      Array.from({ length: 550 }, (_, j) => words[(i * 7 + j * j) % words.length] + (i % 9)).join(
        " ",
      ),
  );
  async function* documents() {
    await Promise.resolve();
    for (const [i, text] of texts.entries()) yield { text, source: `s${i % 5}` };
  }
  const tokenizer = await trainTokenizer(documents(), { vocabularySize: 300, sample: 1e5 });
  const rowsWith = async (workers: number) => {
    const counts = noCounts();
    const options = { sequenceLength: 64, holdout: 0.2, seed: 3, workers, workersAfter: 100_000 };
    const batches = await Array.fromAsync(
      tokenizeDocuments(documents(), tokenizer, options, counts),
      ({ side, batch }) => ({ side, ...fromBatch(batch) }),
    );
    return { counts, batches };
  };
  const [one, two] = [await rowsWith(1), await rowsWith(2)];
  assertEquals(one.counts.documents, texts.length);
  assert(one.counts.tokens > texts.length * 150);
  assertEquals(JSON.stringify(two, bigintAsText), JSON.stringify(one, bigintAsText));

  // A reader that leaves ends the workers as well.
  const left = tokenizeDocuments(documents(), tokenizer, {
    sequenceLength: 64,
    workers: 2,
    workersAfter: 0,
  });
  for (let batches = 0; batches < 3; batches++) await left.next();
  await left.return(undefined);
});

/** Writes numbers beyond 2^53 as text. */
const bigintAsText = (_: string, value: unknown) =>
  typeof value === "bigint" ? String(value) : value;
