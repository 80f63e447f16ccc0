import { assert, assertEquals } from "@std/assert";
import { route, routingPrefixes } from "../../../pipeline/evaluation/routes.ts";
import { gpu } from "../../kernels/support.ts";
import { anyRouters, anyRows, makeBatches, mixtureOf, S } from "./support.ts";

const E = 3;
const ROWS = anyRows(40);

/** Routes the rows by random routers. */
async function routeRows(size: number, more: { routeLengths?: number[]; trained?: number[] } = {}) {
  const mixture = mixtureOf(gpu, anyRouters(E), {});
  try {
    const options = { mixture, prefix: 6, sequenceLength: S, open: () => makeBatches(ROWS, size), ...more };
    return await route(options, await mixture.partitioner(), () => {});
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
