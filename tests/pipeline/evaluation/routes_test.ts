import { assert, assertEquals, assertRejects } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { assignArgmax } from "../../../pipeline/partition/assignment/argmax.ts";
import { route, routingPrefixes } from "../../../pipeline/evaluation/routes.ts";
import { gpu } from "../../kernels/support.ts";
import { anyRouters, anyRows, batchesOf, mixtureOf, S } from "./support.ts";

const E = 3;
const ROWS = anyRows(40);

/** Routes the rows by random routers. */
async function routeRows(prefix: number, size: number, signal?: AbortSignal, routeLengths?: number[]) {
  const mixture = mixtureOf(gpu, anyRouters(E), {});
  const counted: number[] = [];
  try {
    const options = { mixture, prefix, routeLengths, open: () => batchesOf(ROWS, size), signal };
    const routed = await route(options, await mixture.partitioner(), (rows) => counted.push(rows));
    // What the partitioner says of each prefix when it is asked for that one alone.
    const rows = { tokens: Uint32Array.from(ROWS.tokens!), sequenceLength: S, length: ROWS.length };
    const alone = await Promise.all(
      routed.prefixes.map(async (tokens) => assignArgmax(await mixture.costs(rows, [tokens]), E)),
    );
    return { routed, alone, counted };
  } finally {
    mixture.close();
  }
}

Deno.test("routingPrefixes() are powers of two from 4 on, the whole sequence and M, ascending and each once", () => {
  assertEquals(routingPrefixes(32, 128), [4, 8, 16, 32, 64, 128]);
  assertEquals(routingPrefixes(6, 12), [4, 6, 8, 12]);
  assertEquals(routingPrefixes(1, 4), [1, 4]);
  assertEquals(routingPrefixes(3, 3), [3]);
  assertEquals(routingPrefixes(8, 16, [2, 1, 8]), [1, 2, 4, 8, 16]);
});

Deno.test("route() sends every sequence where each prefix alone sends it, whatever the batches", async () => {
  for (const size of [7, 40]) {
    const { routed, alone, counted } = await routeRows(6, size);
    assertEquals([routed.prefixes, routed.sequenceLength], [[4, 6, 8, 12], S]);
    const routes = routed.blocks.flatMap((block) => [...block.routes]);
    assertEquals(routes, Array.from({ length: 40 * 4 }, (_, i) => alone[i % 4][Math.floor(i / 4)]));
    assertEquals(counted.reduce((sum, rows) => sum + rows, 0), 40);
  }
});

Deno.test("route() routes by further lengths where asked; one token is no evidence, and changes nothing else", async () => {
  const plain = (await routeRows(6, 40)).routed, more = (await routeRows(6, 40, undefined, [1, 2, 6])).routed;
  assertEquals(more.prefixes, [1, 2, 4, 6, 8, 12]);
  const [before, after] = [plain, more].map(({ blocks: [{ routes }], prefixes }) =>
    prefixes.map((_, column) => [...routes].filter((_, i) => i % prefixes.length === column))
  );
  assertEquals(after.slice(2), before);
  assertEquals(after[0], Array(40).fill(0));
  assert(new Set(after[1]).size > 1);
});

Deno.test("route() counts a document once, with the source of its first sequence, and all tokens but the first", async () => {
  const { routed: { blocks, documents, sources, documentsOf } } = await routeRows(6, 7);
  const ids = [...ROWS.document!];
  const order = [...new Set(ids)];
  assertEquals(documents, order.length);
  assertEquals(blocks.flatMap(({ document }) => [...document]), ids.map((id) => order.indexOf(id)));
  assertEquals(sources, [...new Set(ROWS.source)]);
  assertEquals(
    documentsOf,
    sources.map((source) => order.filter((id) => ROWS.source![ids.indexOf(id)] === source).length),
  );
  assertEquals(
    blocks.flatMap(({ predicted }) => [...predicted]),
    [...ROWS.length].map((length) => length - 1),
  );
});

Deno.test("route() refuses a prefix that is longer than the sequences, and hears of an end", async () => {
  await assertRejects(
    () => routeRows(S + 1, 7),
    InputError,
    "it is 13, the sequences have 12 tokens",
  );
  const longer = () => routeRows(6, 7, undefined, [S + 2]);
  await assertRejects(longer, InputError, "it is 14, the sequences have 12 tokens");
  await assertRejects(() => routeRows(6, 7, AbortSignal.abort(new Error("enough"))), Error, "enough");
});
