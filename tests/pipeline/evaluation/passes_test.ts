import { assert, assertEquals, assertRejects } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { type RecordBatch, toBatch } from "../../../pipeline/rows/arrow.ts";
import { cutRowBlocks, route } from "../../../pipeline/evaluation/passes.ts";
import { gpu } from "../../kernels/support.ts";
import { anyRouters, anyRows, E, LINEAGE, mixtureOf, S, streamRows } from "./support.ts";

const KNOWN = { tokenizer: "ab12", vocabulary: 13, sequenceLength: S };

Deno.test("blocks() gives every row of a range once, in blocks of one size, however they come in batches", async () => {
  const rows = anyRows(2500);
  const expected = await Array.fromAsync(cutRowBlocks(streamRows(rows, 2500), KNOWN));
  assertEquals(expected.map((block) => block.rows), [1024, 1024, 452]);
  assertEquals(expected.flatMap(({ length }) => [...length]), [...rows.length]);
  assertEquals(expected.flatMap(({ tokens }) => [...tokens]), [...rows.tokens!]);
  assertEquals(expected.flatMap(({ document }) => [...document]), [...rows.document!]);
  assertEquals(expected.flatMap(({ source }) => source), rows.source);
  for (const size of [7, 1000]) {
    const actual = await Array.fromAsync(cutRowBlocks(streamRows(rows, size), KNOWN));
    assert(
      JSON.stringify(actual, bigints) === JSON.stringify(expected, bigints),
      `batches of ${size}`,
    );
  }
  const kept = await Array.fromAsync(cutRowBlocks(streamRows(rows, 70), KNOWN, [100, 1350]));
  assertEquals(kept.map((block) => block.rows), [1024, 226]);
  assertEquals(kept.flatMap(({ length }) => [...length]), [...rows.length].slice(100, 1350));
});

const bigints = (_: string, value: unknown) => typeof value === "bigint" ? String(value) : value;

Deno.test("blocks() takes rows without documents and sources, and batches without rows", async () => {
  const { rows, sequence, tokens, length } = anyRows(3);
  const bare = toBatch({ rows, sequence, tokens, length }, LINEAGE);
  const empty = toBatch({
    rows: 0,
    sequence: new BigUint64Array(),
    tokens: new Uint16Array(),
    length: new Uint32Array(),
  }, LINEAGE);
  const [block, ...rest] = await Array.fromAsync(
    cutRowBlocks(ReadableStream.from([empty, bare, empty]), KNOWN),
  );
  assertEquals(rest, []);
  assertEquals([block.document, block.source, block.sequenceLength], [sequence, ["", "", ""], S]);
  assertEquals(await Array.fromAsync(cutRowBlocks(ReadableStream.from([empty]), KNOWN)), []);
});

Deno.test("blocks() refuses rows without tokens, and of another tokenizer, length or vocabulary", async () => {
  const { tokens: _, ...bare } = anyRows(4);
  const refused = async (batches: ReadableStream<RecordBatch>, message: string, more = {}) => {
    await assertRejects(
      () => Array.fromAsync(cutRowBlocks(batches, { ...KNOWN, ...more })),
      InputError,
      message,
    );
  };
  await refused(ReadableStream.from([toBatch(bare, LINEAGE)]), 'it must have a column "tokens"');
  const all = () => streamRows(anyRows(4));
  await refused(all(), "tokenizer is ab12 in the former, ef56 in the latter", {
    tokenizer: "ef56",
  });
  await refused(all(), "sequenceLength is 12 in the former, 6 in the latter", {
    sequenceLength: 6,
  });
  await refused(all(), "vocabulary is 13 in the former, 3 in the latter", { vocabulary: 3 });
});

Deno.test("blocks() lets its source go where its reader stops", async () => {
  for (const size of [600, 1100]) { // the first block is full in the second batch, and in the first
    let closed = false;
    const source = ReadableStream.from(async function* () {
      try {
        for (;;) yield toBatch(anyRows(size), LINEAGE);
      } finally {
        closed = true;
      }
    }());
    for await (const { rows } of cutRowBlocks(source, KNOWN)) {
      assertEquals(rows, 1024);
      break;
    }
    assert(closed, `batches of ${size}`);
  }
});

const ROWS = anyRows(40);

/** Routes the rows by random routers. */
async function routeRows(size: number, more: { routeLengths?: number[]; trained?: number[] } = {}) {
  const mixture = mixtureOf(gpu, anyRouters(E), {});
  try {
    const options = {
      mixture,
      prefix: 6,
      sequenceLength: S,
      open: () => streamRows(ROWS, size),
      ...more,
    };
    return await route(options, await mixture.partitioner(), () => {});
  } finally {
    mixture.close();
  }
}

Deno.test("route() routes by further lengths where asked; one token is no evidence, and changes nothing else", async () => {
  const { routes: plain } = await routeRows(40);
  const { routes: more } = await routeRows(40, { routeLengths: [1, 2, 6] });
  assertEquals([...more.keys()], [1, 2, 4, 6, 8, 12]);
  assertEquals([...more].slice(2), [...plain]);
  assertEquals(more.get(1)!.expert, Array(40).fill(0));
  assert(new Set(more.get(2)!.expert).size > 1);
});

Deno.test("route() counts only what M tokens send to trained experts, among which other prefixes choose", async () => {
  const all = await routeRows(40);
  const routed = await routeRows(7, { trained: [0, 2] });
  const own = all.routes.get(6)!.expert;
  assertEquals(routed.counts, own.map((expert) => expert !== 1));
  assertEquals(routed.routes.get(6)!.expert, own.filter((expert) => expert !== 1));
  assertEquals(routed.margin, all.margin.filter((_, row) => own[row] !== 1));
  for (const { expert } of routed.routes.values()) {
    assertEquals([expert.length, expert.includes(1)], [routed.document.length, false]);
  }
});
