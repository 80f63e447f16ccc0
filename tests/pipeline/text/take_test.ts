import { assert, assertEquals, assertGreater } from "@std/assert";
import type { Document } from "../../../pipeline/text/readers.ts";
import { type Limit, takeByHash } from "../../../pipeline/text/take.ts";

const DOCUMENTS: Document[] = Array.from({ length: 3000 }, (_, i) => {
  return { text: `${i} ${"x".repeat(i % 50)}`, source: `source ${Math.floor(i / 1000)}` };
});
const lengths = async function* (documents: AsyncIterable<Document>) {
  for await (const { text } of documents) yield text.length;
};
const take = (documents: Document[], limit: Omit<Limit, "seed"> & { seed?: number }) =>
  Array.fromAsync(
    takeByHash(
      async function* () {
        yield* documents;
      },
      { seed: 0, ...limit },
    ),
  );
const texts = (documents: Document[]) => documents.map(({ text }) => text);

Deno.test("takeByHash() takes as many as asked, from everywhere, in their order; another seed takes others", async () => {
  const taken = await take(DOCUMENTS, { most: 300 });
  assertEquals(taken.length, 300);
  assertEquals(texts(taken), texts(DOCUMENTS.filter((document) => taken.includes(document))));
  for (const source of ["source 0", "source 1", "source 2"]) {
    assertGreater(taken.filter((document) => document.source === source).length, 70); // 100, give or take 8
  }
  const other = await take(DOCUMENTS, { most: 300, seed: 1 });
  assertGreater(other.filter((document) => !taken.includes(document)).length, 200);
  assertEquals(texts(await take(DOCUMENTS, { most: 5000 })), texts(DOCUMENTS));
  assertEquals(await take([], { most: 3 }), []);
});

Deno.test("takeByHash() takes the same documents wherever they stand, and a larger limit takes more", async () => {
  const taken = texts(await take(DOCUMENTS, { most: 300 }));
  assertEquals(texts(await take(DOCUMENTS.toReversed(), { most: 300 })).sort(), taken.toSorted());
  const more = new Set(texts(await take(DOCUMENTS, { most: 301 })));
  assert(taken.every((text) => more.has(text)) && more.size === 301);
  const same = Array.from({ length: 9 }, () => ({ text: "same", source: "" }));
  assertEquals((await take(same, { most: 4 })).length, 4);
});

Deno.test("takeByHash() measures what it takes: it ends with the document that reaches the limit", async () => {
  const total = (documents: Document[]) => documents.reduce((sum, { text }) => sum + text.length, 0);
  for (const least of [(characters: number) => characters / 2, (characters: number) => characters * 9]) {
    const taken = await take(DOCUMENTS, { most: 5000, sizes: lengths, least }); // 9 times too large: measured anew
    const size = total(taken);
    assert(size >= 5000 && size < 5000 + 55, `${size}`);
  }
  assertEquals(
    total(await take(DOCUMENTS, { most: 1e9, sizes: lengths, least: (n) => n })),
    total(DOCUMENTS),
  );
});

Deno.test("takeByHash() tells the sources of which nothing is taken", async () => {
  const rare = [...DOCUMENTS, { text: "one", source: "rare" }, { text: "two", source: "rarer" }];
  const reported: unknown[] = [];
  const onLeftOut = (...left: unknown[]) => reported.push(left);
  const taken = await take(rare, { most: 30, onLeftOut });
  const without = ["rare", "rarer"].filter((name) => !taken.some(({ source }) => source === name));
  assertGreater(without.length, 0);
  assertEquals(reported, [[without, 5]]);
  await take(DOCUMENTS, { most: 300, onLeftOut });
  assertEquals(reported.length, 1);
});
