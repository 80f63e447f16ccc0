import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { gzipSync } from "node:zlib";
import { InputError } from "../../../kernels/errors.ts";
import {
  expandInputs,
  inputFile,
  listInputs,
  sourceOfPath,
} from "../../../pipeline/text/inputs.ts";
import { readDocuments } from "../../../pipeline/text/readers.ts";
import { inFolder } from "../../tasks/support.ts";

async function write(folder: string, files: Record<string, string | Uint8Array>): Promise<void> {
  for (const [name, content] of Object.entries(files)) {
    const path = `${folder}/${name}`;
    await Deno.mkdir(path.slice(0, path.lastIndexOf("/")), { recursive: true });
    await Deno.writeFile(
      path,
      typeof content === "string" ? new TextEncoder().encode(content) : content,
    );
  }
}

Deno.test("expandInputs() takes a file whose name looks like a pattern as itself", () =>
  inFolder(async (folder) => {
    await write(folder, { "a[1].txt": "x", "a1.txt": "y" });
    assertEquals(await expandInputs([`${folder}/a[1].txt`]), [`${folder}/a[1].txt`]);
    assertEquals(await expandInputs(["-", `${folder}/a1*`, `${folder}/a1.txt`]), [
      "-",
      `${folder}/a1.txt`,
    ]);
  }));

Deno.test("expandInputs() refuses a named pipe where inputs are read again, instead of waiting for more", () =>
  inFolder(async (folder) => {
    const fifo = `${folder}/docs.jsonl`;
    assertEquals((await new Deno.Command("mkfifo", { args: [fifo] }).output()).code, 0);
    assertEquals(await expandInputs([fifo]), [fifo]);
    await assertRejects(
      () => expandInputs(["-", fifo], { again: true }),
      InputError,
      "it is a pipe; send it to standard input",
    );
  }));

Deno.test("listInputs() reads what it can in a folder and below, and counts by ending what it passes over", () =>
  inFolder(async (folder) => {
    await write(folder, {
      "in [it]/b.txt": "b",
      "in [it]/below/a.jsonl.gz": gzipSync('{"text": "a"}\n'),
      "in [it]/below/c.py": "c",
      "in [it]/x.bin": "x",
      "in [it]/below/y.bin": "y",
      "in [it]/below/LICENSE": "z",
      "in [it]/runs/a/config.json": '{"roundSequences": 1}',
      "in [it]/mine/config.json": '{"name": "a data set"}',
      "in [it]/mine/text/d.txt": "d",
      "in [it]/runs/a/tokens/b/c.txt": "of a run",
    });
    const { files, passed } = await listInputs([`${folder}/in [it]/`]);
    const names = files.map(({ path }) => path.slice(folder.length + 9));
    assertEquals(names.toSorted(), ["b.txt", "below/a.jsonl.gz", "below/c.py", "mine/text/d.txt"]);
    assertEquals(Object.fromEntries(passed), { ".bin": 2, ".json": 1, none: 1 });
    const texts = (await Array.fromAsync(readDocuments([`${folder}/in [it]`]))).map(({ text }) =>
      text
    );
    assertEquals(texts.toSorted(), ["a", "b", "c", "d"]);
    await assertRejects(() => listInputs([`${folder}/in [it]/none`]), InputError, "must exist");
    await write(folder, { "other/x.bin": "x" });
    await assertRejects(
      () => listInputs([`${folder}/other`]),
      InputError,
      "no file in it can be read",
    );
  }));

Deno.test("inputFile() goes by the name or the format that is reported, and unpacks whatever ends in .gz or .zst", () => {
  const of = (path: string, format?: string) => {
    const { format: known, compression } = inputFile(path, { format });
    return compression ? `${known}.${compression}` : known;
  };
  assertEquals(
    ["a.txt", "a.ndjson.zst", "a.PARQUET", "a.arrows", "b.H", "a.h.GZ"].map((path) => of(path)),
    [
      ...["txt", "jsonl.zst", "parquet", "arrow", "txt", "txt.gz"],
    ],
  );
  assertEquals(of("ls.1.gz", "txt"), "txt.gz");
  assertEquals(of("a.log", "jsonl"), "jsonl");
  assertThrows(() => of("a.md", "xml"), InputError, 'format is "xml"');
});

Deno.test("sourceOfPath() gives the folder's name, or what stands at {source} in a pattern of the path's end", () => {
  assertEquals(sourceOfPath("corpus/news/a.txt", ""), "news");
  assertEquals(sourceOfPath("/data/news/../law/a.txt", ""), "law");
  assertEquals(sourceOfPath("a.txt", ""), Deno.cwd().split("/").at(-1));
  const cases: [path: string, pattern: string, source: string][] = [
    ["/data/news/2024/a.txt", "{source}/*/*.txt", "news"],
    ["/data/news/2024/05/a.txt", "data/{source}/**", "news"],
    ["/data/news-2024.jsonl.gz", "{source}-*.jsonl.gz", "news"],
    ["/data/a.b.txt", "{source}.txt", "a.b"],
  ];
  for (const [path, pattern, source] of cases) {
    assertEquals(sourceOfPath(path, pattern), source, pattern);
  }
  assertThrows(() => sourceOfPath("/data/a.md", "{source}/*.txt"), InputError, "must fit");
  assertThrows(() => sourceOfPath("/data/a.md", "*/*.txt"), InputError, "must hold {source} once");
});
