import { assert, assertEquals, assertRejects } from "@std/assert";
import fc from "fast-check";
import { InputError } from "../../../kernels/errors.ts";
import { type Block, cutFiles, gatherBlocks, type Piece } from "../../../pipeline/text/blocks.ts";
import { listInputs } from "../../../pipeline/text/inputs.ts";
import { readPiece } from "../../../pipeline/text/readers.ts";
import { exists, sha256 } from "../../../pipeline/graph/files.ts";
import { toTable, writeArrowFile } from "../../../pipeline/rows/arrow.ts";
import { arrowBytes } from "../../../pipeline/rows/ipc/write.ts";
import { inFolder, ROOT } from "../../tasks/support.ts";

async function gatherTextBlocks(
  inputs: string[],
  most: number,
  known?: Parameters<typeof cutFiles>[2],
): Promise<Block[]> {
  const { files } = await listInputs(inputs);
  return gatherBlocks(await cutFiles(files, most, known), most);
}

const readTexts = async (blocks: readonly Block[]) => {
  const texts: string[] = [];
  for (const { pieces } of blocks) {
    for (const piece of pieces) {
      for await (const { text, place } of readPiece(piece, {})) {
        texts.push(`${place ?? "-"} ${text}`);
      }
    }
  }
  return texts;
};

const pieceOf = (text: string): Piece => ({
  file: { path: text, format: "txt" },
  bytes: text.length,
  sha256: sha256(text),
});

Deno.test("a file that is added, changed or removed touches few blocks, wherever it stands", () => {
  const texts = Array.from({ length: 300 }, (_, i) => `text ${i} `.repeat(5 + i % 7));
  const names = (texts: readonly string[]) =>
    new Set(gatherBlocks(texts.map(pieceOf), 1_000).map(({ name }) => name));
  const before = names(texts);
  assert(before.size > 20);
  for (const at of [0, 77, 150, 299]) {
    for (
      const changed of [
        texts.toSpliced(at, 0, "one more"),
        texts.with(at, "changed"),
        texts.toSpliced(at, 1),
      ]
    ) {
      const after = names(changed);
      assert([...after].filter((name) => !before.has(name)).length <= 8);
    }
  }
});

Deno.test("blocks hold all pieces in order, none more than it may unless one piece does, and no two have a name or number in common", () =>
  fc.assert(
    fc.property(
      fc.array(fc.string({ maxLength: 60 }), { maxLength: 60 }),
      fc.integer({ min: 10, max: 200 }),
      (texts, most) => {
        const blocks = gatherBlocks(texts.map(pieceOf), most);
        assertEquals(
          blocks.flatMap(({ pieces }) => pieces.map(({ file: { path } }) => path)),
          texts,
        );
        assert(blocks.every(({ bytes, pieces }) => pieces.length === 1 || bytes <= most));
        for (const name of ["name", "id"] as const) {
          assertEquals(new Set(blocks.map((block) => block[name])).size, blocks.length);
        }
      },
    ),
  ));

Deno.test("a large file of lines is cut between lines, and its documents are those of the whole with their lines", () =>
  inFolder(async (folder) => {
    const lines = Array.from(
      { length: 400 },
      (_, i) => JSON.stringify({ text: `line ${i} ${"é".repeat(i % 50)}` }),
    );
    for (const end of ["\n", ""]) {
      await Deno.writeTextFile(`${folder}/a.jsonl`, lines.join("\n") + end);
      const [whole] = await gatherTextBlocks([`${folder}/a.jsonl`], 1e9);
      const blocks = await gatherTextBlocks([`${folder}/a.jsonl`], 700);
      assert(blocks.length > 20);
      assertEquals(await readTexts(blocks), await readTexts([whole]));
      const longer = [...lines, JSON.stringify({ text: "at the end" })].join("\n") + "\n";
      await Deno.writeTextFile(`${folder}/a.jsonl`, longer);
      const more = await gatherTextBlocks([`${folder}/a.jsonl`], 700);
      assert(more.filter(({ name }) => !blocks.some((block) => block.name === name)).length <= 2);
    }
  }));

Deno.test("Parquet is cut between row groups", async () => {
  const path = `${ROOT}fixtures/zero_shot/mmlu.parquet`;
  const file = { path, format: "parquet" as const };
  const pieces = await cutFiles([file], 1);
  const [whole] = await cutFiles([file], 1e9);
  assertEquals(pieces.map(({ groups }) => groups?.from), pieces.map((_, i) => i));
  const options = { textColumn: "question" };
  const read = async (piece: Piece) =>
    (await Array.fromAsync(readPiece(piece, options))).map(({ text, place }) => `${place} ${text}`);
  assertEquals((await Promise.all(pieces.map(read))).flat(), await read(whole));
});

Deno.test("Arrow is cut between batches, in files and streams, and refused once it is another file", () =>
  inFolder(async (folder) => {
    const batches = Array.from(
      { length: 5 },
      (_, i) =>
        toTable({ text: [`${i} a`, `${i} b`], kind: Uint16Array.of(i, i) }, {
          format: 1,
          stage: "test",
        }),
    );
    const [path, streamed] = [`${folder}/a.arrow`, `${folder}/b.arrow`];
    await writeArrowFile(path, ReadableStream.from(batches));
    await Deno.writeFile(streamed, arrowBytes(ReadableStream.from(batches)));
    for (const at of [path, streamed]) {
      const file = { path: at, format: "arrow" as const };
      const read = async (piece: Piece) =>
        (await Array.fromAsync(readPiece(piece, {}))).map(({ text, place }) => `${place} ${text}`);
      const pieces = await cutFiles([file], 1);
      const [whole] = await cutFiles([file], 1e9);
      assertEquals(pieces.map(({ groups }) => groups?.from), [0, 1, 2, 3, 4]);
      assertEquals((await Promise.all(pieces.map(read))).flat(), await read(whole));
      assertEquals((await read(whole)).at(-1), "9 4 b");
      await writeArrowFile(at, ReadableStream.from(batches.toReversed()));
      await assertRejects(() => read(pieces[0]), InputError, "it has changed");
    }
  }));

Deno.test("what was hashed is known again, until a file changes that a link leads to; a file that changes while it is read is refused", () =>
  inFolder(async (folder) => {
    const path = `${folder}/a.txt`;
    const link = `${folder}/link.txt`;
    await Deno.symlink(path, link);
    await Deno.writeTextFile(path, "one");
    const old = new Date("2026-01-01");
    await Deno.utime(path, old, old); // one that was written just now is read again
    const place = `${folder}/files.json`;
    const [before] = await gatherTextBlocks([link], 1_000, { place, keep: true });
    const nameNow = async (check = false) =>
      (await gatherTextBlocks([link], 1_000, { place, check }))[0].name;
    // The same size and time: taken for the same without a look, as its hash shows.
    const { mtime } = await Deno.stat(path);
    await Deno.writeTextFile(path, "two");
    await Deno.utime(path, mtime!, mtime!);
    assertEquals(await nameNow(), before.name);
    await assertRejects(() => readTexts([before]), InputError, "it has changed");
    assert(await nameNow(true) !== before.name);
    const kept = await Deno.readTextFile(place);
    await Deno.writeTextFile(
      place,
      kept.replace(/(?<="sha256":\["..)./, (digit) => digit === "0" ? "1" : "0"),
    );
    assert(await nameNow() !== before.name);
    await Deno.writeTextFile(place, kept);
    await Deno.writeTextFile(path, "three");
    assert(await nameNow() !== before.name);
    await Deno.writeTextFile(place, "damaged");
    assert(await nameNow() !== before.name);
  }));

Deno.test("a run has the file of what was hashed however fresh its text is, and believes it of none that is", () =>
  inFolder(async (folder) => {
    const path = `${folder}/a.txt`;
    const place = `${folder}/files.json`;
    await Deno.writeTextFile(path, "one");
    const [before] = await gatherTextBlocks([path], 1_000, { place, keep: true });
    assert(await exists(place));
    await Deno.writeTextFile(path, "two");
    const [after] = await gatherTextBlocks([path], 1_000, { place, keep: true });
    assert(before.name !== after.name);
  }));

Deno.test("what was hashed is known again where files are added, changed or removed, and in another order", () =>
  inFolder(async (folder) => {
    const place = `${folder}/files.json`;
    const old = new Date("2026-01-01");
    const write = async (name: string, letter: string, lines = 90) => {
      await Deno.writeTextFile(`${folder}/${name}`, `{"text": "${letter}"}\n`.repeat(lines));
      await Deno.utime(`${folder}/${name}`, old, old);
    };
    const cut = async (names: string[], known?: Parameters<typeof cutFiles>[2]) =>
      await cutFiles(
        (await listInputs(names.map((name) => `${folder}/${name}`))).files,
        300,
        known,
      );
    const names = ["a.txt", "b.jsonl", "c.txt", "d.jsonl", "e.jsonl"];
    for (const name of names) await write(name, "x");
    const before = await cut(names, { place, keep: true });
    assert(before.length > 10);
    // The same size and time: taken for the same without a look.
    for (const name of names) await write(name, "y");
    await write("d.jsonl", "y", 80);
    await write("f.jsonl", "y");
    const looked = await cut(["d.jsonl", "f.jsonl"]);
    for (const order of ["abcde", "edcba", "fabcde", "afce", "dfbd", "e"]) {
      const some = [...new Set(order)].map((letter) =>
        `${letter}.${"ac".includes(letter) ? "txt" : "jsonl"}`
      );
      const expected = some.flatMap((name) =>
        (/[df]/.test(name[0]) ? looked : before).filter(({ file }) =>
          file.path === `${folder}/${name}`
        )
      );
      assertEquals(await cut(some, { place }), expected, order);
    }
  }));
