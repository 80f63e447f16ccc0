import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { joinBytes, takeFrom } from "../../../pipeline/rows/bytes.ts";

const chunksOf = fc.array(fc.uint8Array({ maxLength: 9 }), { maxLength: 8 });

/** Gives chunks one by one. */
async function* oneByOne(chunks: Uint8Array[]): AsyncGenerator<Uint8Array> {
  yield* chunks;
}

Deno.test("joinBytes() gives all bytes in order, in memory of their own", () => {
  fc.assert(fc.property(chunksOf, (chunks) => {
    assertEquals([...joinBytes(chunks)], chunks.flatMap((chunk) => [...chunk]));
  }));
  const only = Uint8Array.of(1, 2);
  const joined = joinBytes([only]);
  only[0] = 9;
  assertEquals([...joined], [1, 2]);
});

Deno.test("takeFrom() gives the sizes that are asked for, however the bytes come, and fewer at the end alone", async () => {
  await fc.assert(fc.asyncProperty(chunksOf, fc.array(fc.nat(12)), async (chunks, sizes) => {
    const all = chunks.flatMap((chunk) => [...chunk]);
    const take = takeFrom(oneByOne(chunks));
    let begin = 0;
    for (const size of sizes) {
      assertEquals([...await take(size)], all.slice(begin, begin + size));
      begin += size;
    }
    assertEquals([...await take(all.length + 1)], all.slice(begin));
    assertEquals((await take(1)).length, 0);
  }));
});
