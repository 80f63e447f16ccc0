import { assertEquals } from "@std/assert";
import { sha256 } from "../../../../pipeline/graph/files.ts";
import { writeMegatron } from "../../../../pipeline/rows/export/megatron.ts";
import { inFolder } from "../../../tasks/support.ts";
import { grouping, idsOf, readMegatron, someTexts } from "./readers.ts";

Deno.test("writeMegatron() writes what a reader of the format's description reads, in two and four bytes", () =>
  inFolder(async (folder) => {
    for (const [vocabulary, type] of [[300, 8], [65_499, 8], [65_500, 4], [100_000, 4]]) {
      const texts = someTexts(1000, vocabulary);
      const name = `v${vocabulary}`;
      const records = await writeMegatron(folder, name, grouping(texts, 37), vocabulary);
      assertEquals(await readMegatron(`${folder}/${name}`), { type, documents: idsOf(texts) });
      for (const [name, record] of Object.entries(records)) {
        const bytes = await Deno.readFile(`${folder}/${name}`);
        assertEquals(record, { bytes: bytes.length, sha256: sha256(bytes) });
      }
    }
    const names = (await Array.fromAsync(Deno.readDir(folder))).map(({ name }) => name);
    assertEquals(names.filter((name) => !/\.(bin|idx)$/.test(name)), []); // no scratch is left
  }));

Deno.test("writeMegatron() writes an index beyond one chunk, and one of no texts", () =>
  inFolder(async (folder) => {
    const many = Array.from(
      { length: 70_000 },
      (_, i) => ({ ids: Uint16Array.of(i % 300), source: "" }),
    );
    await writeMegatron(folder, "many", grouping(many, 1000), 300);
    assertEquals((await readMegatron(`${folder}/many`)).documents, idsOf(many));
    await writeMegatron(folder, "none", grouping([], 1), 300);
    assertEquals(await readMegatron(`${folder}/none`), { type: 8, documents: [] });
  }));
