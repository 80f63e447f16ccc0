import { assert, assertEquals, assertRejects } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { assignArgmax } from "../../../pipeline/partition/assignment/argmax.ts";
import { route, routingPrefixes } from "../../../pipeline/evaluation/routes.ts";
import { gpu } from "../../kernels/support.ts";
import { anyRouters, anyRows, batchesOf, mixtureOf, S } from "./support.ts";

const E = 3;
const ROWS = anyRows(40);

/** Routes the rows by random routers. */
async function routeRows(
  prefix: number,
  size: number,
  signal?: AbortSignal,
  routeLengths?: number[],
  trained?: number[],
) {
  const mixture = mixtureOf(gpu, anyRouters(E), {});
  const counted: number[] = [];
  try {
    const options = { mixture, prefix, routeLengths, trained, open: () => batchesOf(ROWS, size), signal };
    const routed = await route(options, await mixture.partitioner(), (rows) => counted.push(rows));
    // What the partitioner says of each prefix when it is asked for that one alone.
    const rows = { tokens: Uint32Array.from(ROWS.tokens!), sequenceLength: S, length: ROWS.length };
    const alone = await Promise.all(
      [...routed.routes.keys()].map(async (tokens) => assignArgmax(await mixture.costs(rows, [tokens]), E)),
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
    assertEquals([[...routed.routes.keys()], routed.sequenceLength], [[4, 6, 8, 12], S]);
    assertEquals(Array.from(routed.routes.values(), ({ expert }) => expert), alone.map((own) => [...own]));
    assertEquals(counted.reduce((sum, rows) => sum + rows, 0), 40);
  }
});

Deno.test("route() routes by further lengths where asked; one token is no evidence, and changes nothing else", async () => {
  const { routed: { routes: plain } } = await routeRows(6, 40);
  const { routed: { routes: more } } = await routeRows(6, 40, undefined, [1, 2, 6]);
  assertEquals([...more.keys()], [1, 2, 4, 6, 8, 12]);
  assertEquals([...more].slice(2), [...plain]);
  assertEquals(more.get(1)!.expert, Array(40).fill(0));
  assert(new Set(more.get(2)!.expert).size > 1);
});

Deno.test("route() counts a document once, with the source of its first sequence, and all tokens but the first", async () => {
  const { routed: { document, documents, sources, predicted, counts } } = await routeRows(6, 7);
  const ids = [...ROWS.document!];
  const order = [...new Set(ids)];
  assertEquals(document, ids.map((id) => order.indexOf(id)));
  assertEquals(sources, [...new Set(ROWS.source)]);
  const sourceOf = (id: bigint) => sources.indexOf(ROWS.source![ids.indexOf(id)]);
  assertEquals(documents, order.map((id) => ({ id, source: sourceOf(id) })));
  assertEquals(predicted, Array.from(ROWS.length, (length) => length - 1));
  assertEquals(counts, Array(40).fill(true));
});

Deno.test("route() counts only what M tokens send to trained experts, among which other prefixes choose", async () => {
  const { routed: all } = await routeRows(6, 40);
  const { routed } = await routeRows(6, 7, undefined, undefined, [0, 2]);
  const own = all.routes.get(6)!.expert;
  assertEquals(routed.counts, own.map((expert) => expert !== 1));
  assertEquals(routed.routes.get(6)!.expert, own.filter((expert) => expert !== 1));
  assertEquals(routed.margin, all.margin.filter((_, row) => own[row] !== 1));
  for (const { expert } of routed.routes.values()) {
    assertEquals([expert.length, expert.includes(1)], [routed.document.length, false]);
  }
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
