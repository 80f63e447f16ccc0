import { assertEquals, assertRejects } from "@std/assert";
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

Deno.test("takeFrom() reads no chunk before it needs it, and allocates no more than there is", async () => {
  let read = 0;
  const take = takeFrom(async function* () {
    for (; read < 3; read++) yield new Uint8Array(4);
  }());
  assertEquals([(await take(0)).length, read], [0, 0]);
  await take(4);
  assertEquals(read, 0, "the first chunk is enough");
  assertEquals((await take(2 ** 50)).length, 8); // more than any memory
});

Deno.test("takeFrom() passes on what goes wrong in its source", async () => {
  const take = takeFrom(async function* () {
    yield Uint8Array.of(1);
    throw new RangeError("the disk");
  }());
  await assertRejects(() => take(2), RangeError, "the disk");
});
