import { assertEquals } from "@std/assert";
import type { Making } from "../../../pipeline/graph/node.ts";
import { Compared, type Hashed, tableBytes } from "../../../pipeline/stages/duplicates.ts";
import { inFolder } from "../../tasks/support.ts";

const MANY = 10_000; // more than there are documents
const BLOCKS = 8;
const DOCUMENTS = 200; // of a block
const HASHES = 1400; // of a document: more than are joined in memory at once, in all blocks

/** Gives the hashes of a document, as its table takes them: those of a few documents are equal. */
function hashesOf(document: number): Int32Array {
  const halves = new Int32Array(2 * HASHES);
  const first = document % 900 * HASHES;
  for (let i = 0; i < HASHES; i++) {
    halves[i] = Math.imul(first + i, 0x9e3779b1);
    halves[HASHES + i] = Math.imul(first + i, 0x85ebca6b);
  }
  return halves;
}

Deno.test("tables of more hashes than memory takes at once are joined, each opened twice", () =>
  inFolder(async (folder) => {
    for (let block = 0; block < BLOCKS; block++) {
      await Deno.mkdir(`${folder}/${block}`);
      const isHeldOut = block >= BLOCKS / 2;
      const documents = Array.from(
        { length: DOCUMENTS },
        (_, i) => hashesOf(block * DOCUMENTS + i),
      );
      const none = documents.map(() => new Int32Array());
      await Deno.writeFile(
        `${folder}/${block}/13-train.u32`,
        tableBytes(isHeldOut ? none : documents),
      );
      await Deno.writeFile(
        `${folder}/${block}/13-test.u32`,
        tableBytes(isHeldOut ? documents : none),
      );
    }
    const making = {
      folder,
      path: (name: string) => `${folder}/${name}`,
      manifest: () => ({ result: { documents: DOCUMENTS } }),
    } as unknown as Making;
    const nodes = Array.from({ length: BLOCKS }, (_, i) => ({ name: `${i}`, kinds: [13] }));
    const compared = new Compared(making, nodes as unknown as Hashed[]);
    const opened = new Map<string, number>();
    const { openSync } = Deno;
    Deno.openSync = (path, options) => {
      opened.set(String(path), (opened.get(String(path)) ?? 0) + 1);
      return openSync(path, options);
    };
    const shared = new Map<number, number>(); // hashes that two documents share, by both
    let trained = 0;
    try {
      await compared.join(13, ["train", () => trained++], ["test", (document, [one] = []) => {
        const pair = one * MANY + document;
        shared.set(pair, (shared.get(pair) ?? 0) + 1);
      }]);
    } finally {
      Deno.openSync = openSync;
    }
    assertEquals(trained, BLOCKS / 2 * DOCUMENTS * HASHES);
    const expected = Array.from(
      { length: BLOCKS / 2 * DOCUMENTS },
      (_, i) => BLOCKS / 2 * DOCUMENTS + i,
    ).flatMap((document) =>
      document % 900 < BLOCKS / 2 * DOCUMENTS ? [document % 900 * MANY + document] : []
    );
    assertEquals([...shared.keys()].sort(), expected.sort());
    assertEquals(new Set(shared.values()), new Set([HASHES]));
    assertEquals([...new Set(opened.values())], [2]);
    assertEquals(opened.size, 2 * BLOCKS);
    const left = Array.from(Deno.readDirSync(folder), ({ name }) => name);
    assertEquals(left.length, BLOCKS);
  }));
