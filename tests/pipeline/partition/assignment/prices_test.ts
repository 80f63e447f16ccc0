import { assert, assertAlmostEquals, assertEquals, assertRejects } from "@std/assert";
import { InputError } from "../../../../kernels/errors.ts";
import { equalRooms, type Proof } from "../../../../pipeline/partition/assignment/assignment.ts";
import { optimal } from "../../../../pipeline/partition/assignment/optimal.ts";
import {
  byPrices,
  drift,
  type Prices,
  readPrices,
  writePrices,
} from "../../../../pipeline/partition/assignment/prices.ts";
import { inFolder } from "../../../tasks/support.ts";

const E = 32;

/** Costs of rows with a home among the experts, some of which are wanted more than others. */
function makeCosts(count: number, seed: number, skew = 2): Float32Array {
  let state = seed;
  const uniform = () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32;
  const costs = new Float32Array(count * E);
  for (let row = 0; row < count; row++) {
    const level = 200 + 100 * uniform();
    const home = Math.floor(uniform() ** skew * E);
    for (let e = 0; e < E; e++) costs[row * E + e] = level + 40 * uniform() - (e === home ? 30 : 0);
  }
  return costs;
}

async function collect(assigned: AsyncGenerator<Uint16Array, Proof | undefined>) {
  const expert: number[] = [];
  for (;;) {
    const { done, value } = await assigned.next();
    if (done) return { expert, proof: value! };
    for (const e of value) expert.push(e);
  }
}

const openAll = (costs: Float32Array, group: number) => ({
  async *open() {
    for (let at = 0; at < costs.length; at += group * E) {
      yield await Promise.resolve({ experts: E, costs: costs.subarray(at, at + group * E) });
    }
  },
  rooms: equalRooms,
});

Deno.test("prices of 65,536 rows give unseen rows of the same kind nearly equal shares, and others not", async () => {
  const learned = 65_536;
  const { proof } = await collect(optimal.assign(openAll(makeCosts(learned, 1), 8192)));
  const prices: Prices = { method: "optimal", experts: E, rows: learned, prices: proof.prices! };
  const same = await collect(byPrices(prices).assign(openAll(makeCosts(150_000, 99), 8192)));
  const { deviation, limit } = drift(same.proof.loads, learned);
  assert(deviation <= 4 * Math.sqrt((E - 1) / learned), `${deviation}`);
  assert(limit >= 4 * Math.sqrt((E - 1) / learned) && limit < 0.11, `${limit}`);
  const other = await collect(byPrices(prices).assign(openAll(makeCosts(20_000, 5, 1), 8192)));
  const drifted = drift(other.proof.loads, learned);
  assert(drifted.deviation > drifted.limit, `${drifted.deviation}`);
});

Deno.test("byPrices() sends each row where cost + price is least, however rows are cut, and sums as it goes", async () => {
  const costs = makeCosts(100, 3);
  const prices = Array.from({ length: E }, (_, e) => e / 2);
  const by = byPrices({ method: "optimal", experts: E, rows: 1, prices });
  assertEquals([by.passes, by.balanced], [1, false]);
  const { expert, proof } = await collect(by.assign(openAll(costs, 7)));
  const row = (i: number) => Array.from(costs.subarray(i * E, (i + 1) * E));
  assertEquals(
    expert,
    expert.map((_, i) => {
      const sums = row(i).map((cost, e) => cost + prices[e]);
      return sums.indexOf(Math.min(...sums));
    }),
  );
  assertEquals(proof.loads, prices.map((_, e) => expert.filter((x) => x === e).length));
  const near = (a: number, b: number) => assertAlmostEquals(a, b, 1e-9 * Math.abs(b));
  near(proof.cost, expert.reduce((sum, e, i) => sum + row(i)[e], 0));
  near(proof.unbalanced, expert.reduce((sum, _, i) => sum + Math.min(...row(i)), 0));
  near(proof.bound, proof.cost);
  assertEquals(proof.rows, 100);
  assertEquals(await collect(by.assign(openAll(costs, 100))), { expert, proof });
});

Deno.test("drift() allows for the rows that are assigned as well as for those that taught the prices", () => {
  assertEquals(drift([30, 10, 20, 20], 48), {
    deviation: 0.5,
    limit: 4 * Math.sqrt(3 * (1 / 48 + 1 / 80)),
  });
  assertEquals(drift([0, 0], 9), { deviation: 0, limit: 0 });
});

Deno.test("byPrices() refuses scores of another number of experts", async () => {
  const by = byPrices({ method: "optimal", experts: 2, rows: 9, prices: [0, 1] });
  const run = () => collect(by.assign(openAll(makeCosts(1, 1), 1)));
  await assertRejects(run, InputError, "nll has 32 values per row, experts is 2");
});

Deno.test("readPrices() reads what writePrices() wrote, to the last bit, and refuses other files", () =>
  inFolder(async (folder) => {
    const path = `${folder}/prices.json`;
    const prices = {
      method: "optimal",
      experts: 2,
      rows: 7,
      prefix: 32,
      partitioner: "ab",
      prices: [0, 1 / 3],
    };
    await writePrices(path, prices);
    assertEquals(await readPrices(path), prices);
    const refusal = async (text?: string) => {
      if (text !== undefined) await Deno.writeTextFile(path, text);
      const error = await assertRejects(() => readPrices(path), InputError);
      assertEquals(error.where, path);
      return error.message;
    };
    const whole = { format: 1, ...prices };
    for (
      const [text, why] of [
        ["{", "JSON"],
        [JSON.stringify({ ...whole, format: 2 }), "format: it must be of this version"],
        [JSON.stringify({ ...whole, experts: 3 }), "prices must be one for every expert"],
        [JSON.stringify({ ...whole, prices: [0, null] }), "prices.1"],
        [JSON.stringify({ ...whole, rows: 0 }), "rows"],
      ]
    ) assert((await refusal(text)).includes(why), await refusal(text));
    await writePrices(path, prices, { sealed: true });
    assertEquals(await readPrices(path), prices);
    const sealed = await Deno.readTextFile(path);
    assert((await refusal(sealed.replace('"rows": 7', '"rows": 5'))).includes("its checksum"));
    await Deno.remove(path);
    assert((await refusal()).includes("it is missing"));
  }));
