import { assertEquals } from "@std/assert";
import { expertPath, isLast, listBranches } from "../../../../pipeline/partition/tree/branches.ts";

Deno.test("listBranches() lists the root first, then level by level, with the experts below each branch", () => {
  const branches = listBranches([2, 3, 2]);
  assertEquals(branches.map(({ name }) => name), [
    ...["root", "branch-00", "branch-01"],
    ...["branch-00.00", "branch-00.01", "branch-00.02", "branch-01.00", "branch-01.01", "branch-01.02"],
  ]);
  assertEquals(branches.map(({ experts }) => experts), [2, 3, 3, 2, 2, 2, 2, 2, 2]);
  assertEquals(branches.map(({ first }) => first), [0, 0, 6, 0, 2, 4, 6, 8, 10]);
  assertEquals(branches.map(isLast), [false, false, false, true, true, true, true, true, true]);
});

Deno.test("expertPath() counts as branches do", () => {
  assertEquals(expertPath(37, [16, 16]), "2.5");
  for (const levels of [[4, 4], [2, 3, 2]]) {
    for (const { first, path, experts } of listBranches(levels).filter(isLast)) {
      for (let i = 0; i < experts; i++) assertEquals(expertPath(first + i, levels), [...path, i].join("."));
    }
  }
});
