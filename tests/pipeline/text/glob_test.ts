import { assertEquals } from "@std/assert";
import { compareBytes, glob } from "../../../pipeline/text/glob.ts";
import { inFolder } from "../../tasks/support.ts";

Deno.test("glob() lists matches in byte order, without dot files and folders", async () => {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.mkdir(`${folder}/sub/deep`, { recursive: true });
    await Deno.mkdir(`${folder}/.git`);
    const names = [
      "b.txt",
      "a.txt",
      "B.txt",
      "é.txt",
      "a.md",
      "a10.txt",
      "a9.txt",
      ".h.txt",
      "sub/c.txt",
      "sub/deep/d.txt",
    ];
    for (const name of [...names, "x[1].txt", ".git/e.txt"]) {
      await Deno.writeTextFile(`${folder}/${name}`, "");
    }
    const cases: [string, string[]][] = [
      ["*.txt", ["B.txt", "a.txt", "a10.txt", "a9.txt", "b.txt", "x[1].txt", "é.txt"]],
      ["?.txt", ["B.txt", "a.txt", "b.txt", "é.txt"]],
      ["[ab].txt", ["a.txt", "b.txt"]],
      ["[!ab]?.txt", []],
      ["[a-b]*", ["a.md", "a.txt", "a10.txt", "a9.txt", "b.txt"]],
      ["a.{txt,md}", ["a.md", "a.txt"]],
      ["{a,{b,B}}.txt", ["B.txt", "a.txt", "b.txt"]],
      ["**/[cd].txt", ["sub/c.txt", "sub/deep/d.txt"]],
      ["**/a.txt", ["a.txt"]],
      ["sub/**", ["sub/c.txt", "sub/deep/d.txt"]],
      ["*/c.txt", ["sub/c.txt"]],
      [".*.txt", [".h.txt"]],
      ["none/*.txt", []],
      ["a.txt/*", []],
    ];
    for (const [pattern, expected] of cases) {
      assertEquals(
        (await glob(`${folder}/${pattern}`)).map((path) => path.slice(folder.length + 1)),
        expected,
        pattern,
      );
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("glob() follows links to folders and files, and leaves out links to nothing", () =>
  inFolder(async (folder) => {
    await Deno.mkdir(`${folder}/data`);
    await Deno.writeTextFile(`${folder}/data/a.txt`, "");
    await Deno.symlink(`${folder}/data`, `${folder}/link`);
    await Deno.symlink(`${folder}/data/a.txt`, `${folder}/data/b.txt`);
    await Deno.symlink(`${folder}/none`, `${folder}/data/c.txt`);
    const names = ["data/a.txt", "data/b.txt", "link/a.txt", "link/b.txt"];
    for (const pattern of ["*/*.txt", "**/*.txt"]) {
      assertEquals(await glob(`${folder}/${pattern}`), names.map((name) => `${folder}/${name}`), pattern);
    }
  }));

Deno.test("compareBytes() orders by UTF-8 bytes, not by UTF-16 units", () => {
  assertEquals(["😀", "ﬀ", "z", "a", "ab"].sort(compareBytes), ["a", "ab", "z", "ﬀ", "😀"]);
});
