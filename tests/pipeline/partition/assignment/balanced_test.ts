import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { equalRooms } from "../../../../pipeline/partition/assignment/assignment.ts";
import { assignBalanced, balanced } from "../../../../pipeline/partition/assignment/balanced.ts";

const GOLDEN = new URL("../../../../fixtures/golden/assignments.json", import.meta.url);

/** The integer x·2^149: exact for every finite f32. */
const exact = (x: number) => BigInt(x * 2 ** 149);

/**
 * Method.md read aloud, with exact fractions and no sorting: the next row is looked for among all
 * that are left.
 */
function oracle(nll: Float32Array, experts: number, predicted?: Uint32Array): number[] {
  const rows = nll.length / experts;
  const room = Array.from(
    { length: experts },
    (_, e) => Math.floor(rows / experts) + (e < rows % experts ? 1 : 0),
  );
  const expert = new Array<number>(rows).fill(-1);
  const best = (row: number) =>
    exact(Math.min(...nll.subarray(row * experts, (row + 1) * experts)));
  const comesBefore = (a: number, b: number) =>
    best(a) * BigInt(predicted?.[b] ?? 1) < best(b) * BigInt(predicted?.[a] ?? 1);
  for (let done = 0; done < rows; done++) {
    let next = -1;
    for (let row = 0; row < rows; row++) {
      if (expert[row] < 0 && (next < 0 || comesBefore(row, next))) next = row;
    }
    let chosen = -1;
    for (let e = 0; e < experts; e++) {
      if (room[e] > 0 && (chosen < 0 || nll[next * experts + e] < nll[next * experts + chosen])) {
        chosen = e;
      }
    }
    expert[next] = chosen;
    room[chosen]--;
  }
  return expert;
}

const f32 = fc.float({ noNaN: true, noDefaultInfinity: true });
const fewValues = fc.integer({ min: 0, max: 3 }); // many ties

/** Scores `[N, E]` and predicted tokens of any N and E, from the values of `value`. */
const scoredRows = (value: fc.Arbitrary<number>) =>
  fc.tuple(fc.integer({ min: 0, max: 20 }), fc.integer({ min: 1, max: 24 })).chain((
    [rows, experts],
  ) =>
    fc.record({
      experts: fc.constant(experts),
      nll: fc.array(value, { minLength: rows * experts, maxLength: rows * experts }).map((v) =>
        Float32Array.from(v)
      ),
      predicted: fc.array(fc.integer({ min: 1, max: 4 }), { minLength: rows, maxLength: rows })
        .map((v) => Uint32Array.from(v)),
    })
  );

Deno.test("assignBalanced() gives the golden assignments", async () => {
  const cases: { nll: number[][]; expert: number[] }[] = JSON.parse(
    await Deno.readTextFile(GOLDEN),
  );
  assert(cases.length > 0);
  for (const { nll, expert } of cases) {
    assertEquals([...assignBalanced(Float32Array.from(nll.flat()), nll[0].length)], expert);
  }
});

Deno.test("assignBalanced() agrees with a brute-force oracle for any N and E, ties included", () => {
  for (const value of [f32, fewValues]) {
    fc.assert(fc.property(scoredRows(value), ({ nll, experts, predicted }) => {
      assertEquals([...assignBalanced(nll, experts)], oracle(nll, experts));
      assertEquals([...assignBalanced(nll, experts, predicted)], oracle(nll, experts, predicted));
    }));
  }
});

Deno.test("assignBalanced() orders thousands of rows exactly, quotients that nearly tie included", () => {
  const rows = 5000;
  // Around 2^24 / 2^27, so that (2^24 - 1) / p and 2^24 / (p + 8) differ in the last bits of an
  // f64.
  const predicted = Uint32Array.from(
    { length: rows },
    (_, i) => 2 ** 27 - 1 - 8 * (i % 4) - Number(i % 9 === 0),
  );
  const nll = Float32Array.from(
    { length: rows },
    (_, i) => (2 ** 24 - i % 5) * (i % 7 === 0 ? -1 : 1),
  );
  const order = Array.from(nll.keys()).sort((a, b) => {
    const difference = exact(nll[a]) * BigInt(predicted[b]) - exact(nll[b]) * BigInt(predicted[a]);
    return difference < 0n ? -1 : difference > 0n ? 1 : a - b;
  });
  // Both experts cost the same, so the first half of the order goes to expert 0.
  const expected = new Array(rows).fill(1);
  for (const row of order.slice(0, rows / 2)) expected[row] = 0;
  const both = Float32Array.from({ length: 2 * rows }, (_, i) => nll[i >> 1]);
  assertEquals([...assignBalanced(both, 2, predicted)], expected);
});

Deno.test("assignBalanced() takes 0 and -0 for a tie", () => {
  assertEquals(assignBalanced(Float32Array.of(0, 0, -0, -0), 2), Uint16Array.of(0, 1));
  assertEquals(assignBalanced(Float32Array.of(-0, -0, 0, 0), 2), Uint16Array.of(0, 1));
});

Deno.test("assignBalanced() gives experts of unequal room what they have room for", () => {
  const nll = Float32Array.of(3, 1, 2, 5, 6, 7, 1, 2, 2, 4, 0, 9);
  assertEquals([...assignBalanced(nll, 3, undefined, [0, 3, 1])], [1, 2, 1, 1]);
  assertEquals([...assignBalanced(nll, 3, undefined, [4, 0, 0])], [0, 0, 0, 0]);
});

Deno.test("balanced assigns chunk by chunk, to the rooms that it is given", async () => {
  const chunks = [Float32Array.of(1, 2, 0, 5, 3, 4), Float32Array.of(9, 8)];
  const open = async function* () {
    for (const costs of chunks) yield await Promise.resolve({ experts: 2, costs });
  };
  const [first, second] = await Array.fromAsync(balanced.assign({ open, rooms: equalRooms }));
  assertEquals([[...first], [...second]], [[0, 0, 1], [0]]);
  const all = await Array.fromAsync(balanced.assign({ open, rooms: (rows) => [0, rows] }));
  assertEquals(all.map((expert) => [...expert]), [[1, 1, 1], [1]]);
});
