import { assertEquals } from "@std/assert";
import {
  type Assignment,
  equalRooms,
} from "../../../../pipeline/partition/assignment/assignment.ts";
import { ASSIGNMENTS } from "../../../../pipeline/partition/assignment/assignments.ts";

/** Assigns rows in groups of 6; gives the expert of each. */
async function assignedBy({ assign }: Assignment, costs: number[][]): Promise<number[]> {
  const experts = costs[0].length;
  const open = async function* () {
    for (let first = 0; first < costs.length; first += 6) {
      yield { experts, costs: Float32Array.from(costs.slice(first, first + 6).flat()) };
    }
  };
  return (await Array.fromAsync(assign({ open, rooms: equalRooms }), (part) => [...part])).flat();
}

Deno.test("every way gives each row one expert, keeps the room where it is balanced, and else takes the best", async () => {
  const costs = Array.from(
    { length: 24 },
    (_, row) => [0, 1, 2].map((e) => (row * row * 7 + e * 13) % 29),
  );
  for (const assignment of ASSIGNMENTS.values()) {
    const experts = await assignedBy(assignment, costs);
    assertEquals(experts.length, costs.length, assignment.method);
    if (assignment.balanced) {
      const loads = [0, 1, 2].map((e) => experts.filter((expert) => expert === e).length);
      assertEquals(loads, [8, 8, 8], assignment.method);
    } else {
      assertEquals(experts, costs.map((row) => row.indexOf(Math.min(...row))), assignment.method);
    }
  }
});
