import { assertEquals } from "@std/assert";
import { glob } from "../../../pipeline/text/glob.ts";
import { inFolder } from "../../tasks/support.ts";

Deno.test("glob() lists matches in byte order, without dot files and folders", () =>
  inFolder(async (folder) => {
    for (const name of ["sub/deep", ".git"]) {
      await Deno.mkdir(`${folder}/${name}`, { recursive: true });
    }
    const names =
      "b.txt a.txt B.txt é.txt a.md a10.txt a9.txt .h.txt sub/c.txt sub/deep/d.txt x[1].txt y{1,2}.txt .git/e.txt \u{1f600}.txt \uff5e.txt";
    for (const name of names.split(" ")) await Deno.writeTextFile(`${folder}/${name}`, "");
    const cases: Record<string, string> = {
      "*.txt":
        "B.txt a.txt a10.txt a9.txt b.txt x[1].txt y{1,2}.txt é.txt \uff5e.txt \u{1f600}.txt",
      "y[{]1,2}.{txt,md}": "y{1,2}.txt",
      "?.txt": "B.txt a.txt b.txt é.txt \uff5e.txt \u{1f600}.txt",
      "[ab].txt": "a.txt b.txt",
      "[!ab]?.txt": "",
      "[a-b]*": "a.md a.txt a10.txt a9.txt b.txt",
      "a.{txt,md}": "a.md a.txt",
      "{a,{b,B}}.txt": "B.txt a.txt b.txt",
      "**/[cd].txt": "sub/c.txt sub/deep/d.txt",
      "**/a.txt": "a.txt",
      "sub/**": "sub/c.txt sub/deep/d.txt",
      "*/c.txt": "sub/c.txt",
      ".*.txt": ".h.txt",
      "none/*.txt": "",
      "a.txt/*": "",
    };
    for (const [pattern, expected] of Object.entries(cases)) {
      const found = await glob(`${folder}/${pattern}`);
      assertEquals(found.map((path) => path.slice(folder.length + 1)).join(" "), expected, pattern);
    }
  }));

Deno.test("glob() follows links to folders and files, and leaves out links to nothing", () =>
  inFolder(async (folder) => {
    await Deno.mkdir(`${folder}/data`);
    await Deno.writeTextFile(`${folder}/data/a.txt`, "");
    await Deno.symlink(`${folder}/data`, `${folder}/link`);
    await Deno.symlink(`${folder}/data/a.txt`, `${folder}/data/b.txt`);
    await Deno.symlink(`${folder}/none`, `${folder}/data/c.txt`);
    const names = ["data/a.txt", "data/b.txt", "link/a.txt", "link/b.txt"];
    for (const pattern of ["*/*.txt", "**/*.txt"]) {
      assertEquals(
        await glob(`${folder}/${pattern}`),
        names.map((name) => `${folder}/${name}`),
        pattern,
      );
    }
  }));

Deno.test("glob() leaves out pipes, which would be waited for without end, and links to them", () =>
  inFolder(async (folder) => {
    await new Deno.Command("mkfifo", { args: [`${folder}/p.jsonl`] }).output();
    await Deno.symlink(`${folder}/p.jsonl`, `${folder}/q.jsonl`);
    await Deno.writeTextFile(`${folder}/a.jsonl`, "");
    for (const pattern of ["*.jsonl", "{a,p,q}.jsonl"]) {
      assertEquals(await glob(`${folder}/${pattern}`), [`${folder}/a.jsonl`]);
    }
  }));

Deno.test("glob() follows no link back to a folder that it lies in, and finds every file once", () =>
  inFolder(async (folder) => {
    await Deno.mkdir(`${folder}/data/sub`, { recursive: true });
    for (const name of ["data/a.txt", "data/sub/b.txt"]) {
      await Deno.writeTextFile(`${folder}/${name}`, "");
    }
    for (const name of ["self", "same"]) await Deno.symlink(".", `${folder}/data/${name}`);
    for (const name of ["up", "back"]) await Deno.symlink("..", `${folder}/data/sub/${name}`);
    await Deno.symlink(folder, `${folder}/data/root`);
    const cases: [string, string[]][] = [
      ["data/**/*.txt", ["data/a.txt", "data/sub/b.txt"]],
      ["data/sub/**/a.txt", ["data/sub/back/a.txt", "data/sub/up/a.txt"]],
      ["data/self/*.txt", ["data/self/a.txt"]], // named, and so entered
    ];
    for (const [pattern, expected] of cases) {
      const found = await glob(`${folder}/${pattern}`);
      assertEquals(found.map((path) => path.slice(folder.length + 1)), expected, pattern);
    }
  }));
