import { assertEquals } from "@std/assert";
import { collector } from "../../../pipeline/text/garbage.ts";
import { printed } from "./printed.ts";

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

Deno.test("returnLargeBlocks() keeps blocks of a megabyte apart from the heap after a larger one was freed", async () => {
  const mappedBlocks = (first: string) =>
    printed(`
      import { returnLargeBlocks } from "./pipeline/text/garbage.ts";
      const { symbols: { malloc, free, mallinfo2 } } = Deno.dlopen("libc.so.6", {
        malloc: { parameters: ["usize"], result: "pointer" },
        free: { parameters: ["pointer"], result: "void" },
        mallinfo2: { parameters: [], result: { struct: Array(10).fill("usize") } },
      });
      const mapped = () => new BigUint64Array(mallinfo2().buffer)[3];
      ${first}
      free(malloc(16n << 20n));
      const before = mapped();
      const block = malloc(1n << 20n);
      console.log(String(mapped() - before));
      free(block);
    `);
  if (Deno.build.os !== "linux") return;
  assertEquals(await mappedBlocks(""), "0\n");
  assertEquals(await mappedBlocks("returnLargeBlocks();"), "1\n");
});
