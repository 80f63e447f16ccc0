import { assert, assertEquals } from "@std/assert";
import {
  equalRooms,
  gapPerRow,
  gapShare,
  type Proof,
} from "../../../../pipeline/partition/assignment/assignment.ts";
import { assignBalanced } from "../../../../pipeline/partition/assignment/balanced.ts";
import { createOptimal, optimal } from "../../../../pipeline/partition/assignment/optimal.ts";
import { uniform } from "../../../../pipeline/random.ts";

const GOLDEN = new URL("../../../../fixtures/golden/ctbm/optimal_assignments.json", import.meta.url);

interface Case {
  costs: Float32Array;
  experts: number;
  rooms: number[];
  predicted?: Uint32Array;
}

/** Runs the assignment over rows that come in groups of these sizes, in turn, with a sample of so many where that is said. */
async function solve({ costs, experts, rooms, predicted }: Case, sizes = [1e9], sampled?: number) {
  let passes = 0;
  const open = async function* () {
    passes++;
    const rows = costs.length / experts;
    for (let begin = 0, i = 0; begin < rows; i++) {
      const end = Math.min(rows, begin + sizes[i % sizes.length]);
      yield await Promise.resolve({
        experts,
        costs: costs.slice(begin * experts, end * experts),
        predicted: predicted?.slice(begin, end),
      });
      begin = end;
    }
  };
  const experts_: number[] = [];
  const assigned = createOptimal(sampled).assign({ open, rooms: () => rooms });
  for (;;) {
    const { done, value } = await assigned.next();
    if (!done) experts_.push(...value);
    else {
      assert(passes <= optimal.passes, `${passes} passes`);
      return { expert: experts_, proof: value, passes };
    }
  }
}

/**
 * Checks a result and its proof from their definitions, and returns the cost. `slack` is what the gap may be, as a share of the
 * costs' size.
 */
function check(
  { costs, experts, rooms, predicted }: Case,
  expert: number[],
  proof: Proof,
  slack = 1e-9,
): number {
  const rows = costs.length / experts;
  const row = (i: number) => Array.from(costs.subarray(i * experts, (i + 1) * experts));
  const loads = rooms.map((_, e) => expert.filter((x) => x === e).length);
  assertEquals([expert.length, loads], [rows, [...rooms]]);
  // In halves, so that rounding does not add up.
  const total = (terms: number[]): number => {
    if (terms.length < 3) return (terms[0] ?? 0) + (terms[1] ?? 0);
    return total(terms.slice(0, terms.length >> 1)) + total(terms.slice(terms.length >> 1));
  };
  const size = total(Array.from(costs, Math.abs)) / experts;
  const near = (a: number, b: number, what: string) =>
    assert(Math.abs(a - b) <= 1e-12 * size, `${what}: ${a} and ${b}`);
  const cost = total(expert.map((e, i) => row(i)[e]));
  const prices = proof.prices!;
  const least = expert.map((_, i) => Math.min(...row(i).map((c, e) => c + prices[e])));
  const bound = total(least) - total(rooms.map((room, e) => room * prices[e]));
  near(proof.cost, cost, "cost");
  near(proof.bound, bound, "bound");
  near(proof.unbalanced, total(expert.map((_, i) => Math.min(...row(i)))), "unbalanced");
  const greedy = assignBalanced(costs, experts, predicted, rooms);
  near(proof.greedy!, total(Array.from(greedy, (e, i) => row(i)[e])), "greedy");
  assertEquals([proof.rows, proof.loads], [rows, loads]);
  assert(cost - bound <= slack * size, `cost ${cost}, bound ${bound}`);
  assert(cost - bound >= -1e-12 * size, "no assignment costs less than a bound");
  return cost;
}

/** The least cost, by flows of one row at a time along shortest paths (Bellman-Ford) in the graph of rows and experts. */
function oracle({ costs, experts, rooms }: Case): number {
  const rows = costs.length / experts;
  const expert = new Array<number>(rows).fill(-1);
  const loads = rooms.map(() => 0);
  let cost = 0;
  for (let row = 0; row < rows; row++) {
    const distance = Array.from({ length: experts }, (_, e) => costs[row * experts + e] as number);
    const mover = new Array<number>(experts).fill(row); // the row that goes to e; it leaves its own expert, or is the new one
    for (let round = 0; round < experts; round++) {
      for (let other = 0; other < row; other++) {
        for (let e = 0, own = expert[other]; e < experts; e++) {
          const way = distance[own] + costs[other * experts + e] - costs[other * experts + own];
          if (way < distance[e] - 1e-9) distance[e] = way, mover[e] = other;
        }
      }
    }
    const open = [...rooms.keys()].filter((e) => loads[e] < rooms[e]);
    let e = open.reduce((best, e) => distance[e] < distance[best] ? e : best);
    cost += distance[e];
    loads[e]++;
    for (;;) {
      const moved = mover[e], left = expert[moved];
      expert[moved] = e;
      if (moved === row) break;
      e = left;
    }
  }
  return cost;
}

Deno.test("optimal meets the golden costs, and proves them", async () => {
  interface Golden {
    cost: number[][];
    room: number[];
    optimal_cost: number;
    greedy_cost: number;
    unbalanced_cost: number;
  }
  const cases: Golden[] = JSON.parse(await Deno.readTextFile(GOLDEN));
  assert(cases.length > 0);
  for (const { cost, room, optimal_cost, greedy_cost, unbalanced_cost } of cases) {
    const one = { costs: Float32Array.from(cost.flat()), experts: room.length, rooms: room };
    const { expert, proof } = await solve(one);
    const near = (a: number, b: number) => assert(Math.abs(a - b) <= 1e-9 * Math.abs(b), `${a} and ${b}`);
    near(check(one, expert, proof!), optimal_cost);
    near(proof!.greedy!, greedy_cost);
    near(proof!.unbalanced, unbalanced_cost);
  }
});

/** A case of at most so many rows: uneven rooms, ties, duplicates, offsets, predicted lengths, fewer rows than experts. */
function exampleOf(seed: number, most: number): Case {
  let drawn = 0;
  const random = () => uniform(seed, "optimal", drawn++);
  const whole = (most: number) => Math.floor((most + 1) * random());
  const experts = 1 + whole(5), rows = whole(most);
  const kind = seed % 5;
  const values = (): number[] => {
    const offset = kind === 1 ? 1e4 * random() : 0; // of the row
    return Array.from(
      { length: experts },
      (_, e) => offset + (kind === 2 ? whole(3) : 20 * random() - (kind === 3 ? 4 * e : 0)),
    );
  };
  const pool = Array.from({ length: kind === 4 ? 3 : rows }, values);
  const costs = Float32Array.from(
    Array.from({ length: rows }, (_, i) => pool[kind === 4 ? whole(2) : i]).flat(),
  );
  const rooms = equalRooms(rows, experts);
  if (random() < 0.5) {
    rooms.fill(0);
    for (let row = 0; row < rows; row++) rooms[Math.floor(experts * random() ** 2)]++;
  }
  const predicted = random() < 0.5 ? Uint32Array.from({ length: rows }, () => 1 + whole(3)) : undefined;
  return { costs, experts, rooms, predicted };
}

Deno.test("optimal agrees with an oracle on 500 small cases, and proves each", async () => {
  let greedyWorse = 0, fewer = 0;
  for (let seed = 0; seed < 500; seed++) {
    const one = exampleOf(seed, 24);
    const rows = one.costs.length / one.experts;
    const { expert, proof } = await solve(one, [1 + seed % 7]);
    if (rows === 0) {
      assertEquals([expert, proof], [[], undefined]);
      continue;
    }
    const cost = check(one, expert, proof!);
    const wanted = oracle(one);
    assert(
      Math.abs(cost - wanted) <= 1e-9 * Math.max(1, Math.abs(wanted)),
      `seed ${seed}: ${cost}, ${wanted}`,
    );
    greedyWorse += Number(proof!.greedy! > cost + 1e-6);
    fewer += Number(rows < one.experts);
  }
  assert(greedyWorse > 100 && fewer > 20, `${greedyWorse}, ${fewer}`);
});

Deno.test("optimal proves cases of up to 2,000 rows, of which few are candidates", async () => {
  for (let seed = 1000; seed < 1060; seed++) {
    const one = exampleOf(seed, 2000);
    const { expert, proof } = await solve(one, [512]);
    check(one, expert, proof!);
  }
});

/** Rows that are likelier for some experts, short ones among them. */
function example(rows: number, experts: number, seed = 1): Case {
  const costs = new Float32Array(rows * experts);
  const predicted = new Uint32Array(rows);
  for (let row = 0, at = 0; row < rows; row++) {
    predicted[row] = uniform(seed, "short", row) < 0.8
      ? 63
      : 1 + Math.floor(62 * uniform(seed, "length", row));
    const home = Math.floor(uniform(seed, "home", row) ** 2 * experts);
    for (let e = 0; e < experts; e++, at++) {
      costs[at] = predicted[row] * (4 + uniform(seed, "cost", at) - Number(e === home));
    }
  }
  return { costs, experts, rooms: equalRooms(rows, experts), predicted };
}

Deno.test("optimal gives the same result however rows are cut into groups", async () => {
  const one = example(3001, 7);
  const whole = await solve(one);
  check(one, whole.expert, whole.proof!);
  for (const sizes of [[1000], [1, 5, 17, 400], [3000, 1]]) assertEquals(await solve(one, sizes), whole);
  const sampled = await solve(one, [1e9], 512);
  check(one, sampled.expert, sampled.proof!);
  assert(sampled.passes > 2);
  for (const sizes of [[1000], [1, 5, 17, 400]]) assertEquals(await solve(one, sizes, 512), sampled);
});

Deno.test("optimal reads rows that fit into memory twice, and others three or four times", async () => {
  const one = example(30_000, 6);
  const passes: number[] = [];
  for (const sampled of [undefined, 16_384, 4096]) {
    const found = await solve(one, [4096], sampled);
    check(one, found.expert, found.proof!);
    assert(gapShare(found.proof!) <= 1e-9, `${gapShare(found.proof!)}`);
    assert(gapShare(found.proof!, found.proof!.greedy) > 0.01);
    assert(gapPerRow(found.proof!) < 1e-9);
    passes.push(found.passes);
  }
  assertEquals(passes[0], 2);
  assert(passes.every((count) => count <= 4), `${passes}`);
});

Deno.test("optimal proves what it does with samples that say little of the rows", async () => {
  for (let seed = 2000; seed < 2040; seed++) {
    const one = exampleOf(seed, 1500);
    const { expert, proof } = await solve(one, [97], 2 ** (1 + seed % 9));
    if (proof) check(one, expert, proof);
  }
  // Every other row, and so the whole sample, is of a kind of its own.
  const rows = 6000, experts = 5;
  const costs = Float32Array.from(
    { length: rows * experts },
    (_, i) =>
      9 * uniform(4, "two kinds", i) + (Math.floor(i / experts) % 2 === 0 ? i % experts : 4 - i % experts),
  );
  const one = { costs, experts, rooms: equalRooms(rows, experts) };
  const { expert, proof } = await solve(one, [700], 256);
  check(one, expert, proof!);
});

Deno.test("optimal spreads equal rows, rows that differ by a constant, and experts that are alike", async () => {
  const rows = 20_000, experts = 4, rooms = equalRooms(rows, experts);
  const cases = {
    equal: new Float32Array(rows * experts).fill(3),
    offsets: Float32Array.from({ length: rows * experts }, (_, i) => Math.floor(i / experts) % 1000),
    twoKinds: Float32Array.from({ length: rows * experts }, (_, i) => (i >> 2) % 2 === 0 ? i % 4 : 3 - i % 4),
    alike: Float32Array.from(
      { length: rows * experts },
      (_, i) => 100 * uniform(5, "alike", 2 * Math.floor(i / 4) + (i % 4 >> 1)), // experts 0 and 1 are alike, and 2 and 3
    ),
  };
  for (const [name, costs] of Object.entries(cases)) {
    const one = { costs, experts, rooms };
    const { expert, proof } = await solve(one, [4096]);
    check(one, expert, proof!);
    assert(gapPerRow(proof!) <= 1e-9, name);
    const few = { costs: costs.slice(0, 4 * 5000), experts, rooms: equalRooms(5000, experts) };
    const sampled = await solve(few, [512], 128);
    check(few, sampled.expert, sampled.proof!);
  }
});

Deno.test("optimal takes one expert and no rows", async () => {
  const one = { costs: Float32Array.of(2, 3), experts: 1, rooms: [2] };
  const { expert, proof } = await solve(one);
  assertEquals(expert, [0, 0]);
  assertEquals([proof!.cost, proof!.bound, proof!.unbalanced, gapShare(proof!)], [5, 5, 5, 0]);
  const none = await solve({ costs: new Float32Array(), experts: 3, rooms: [0, 0, 0] });
  assertEquals([none.expert, none.proof], [[], undefined]);
});
