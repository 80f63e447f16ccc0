import { assertEquals } from "@std/assert";
import { collector } from "../../../pipeline/text/garbage.ts";

Deno.test("collector() frees what nobody holds", async () => {
  const collect = await collector();
  const held = (() => new WeakRef(new Array(1000).fill(0)))();
  await new Promise((resolve) => setTimeout(resolve, 0)); // the task that made it keeps it alive
  assertEquals(held.deref()?.length, 1000);
  await new Promise((resolve) => setTimeout(resolve, 0));
  collect();
  assertEquals(held.deref(), undefined);
});

Deno.test("collector() takes the collector that the process shows", async () => {
  const scope = globalThis as { gc?: () => void };
  const { gc } = scope;
  const mine = () => {};
  scope.gc = mine;
  try {
    assertEquals(await collector(), mine);
  } finally {
    if (gc) scope.gc = gc;
    else delete scope.gc;
  }
});
