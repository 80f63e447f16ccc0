import { assertEquals } from "@std/assert";
import { printed } from "./printed.ts";

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
