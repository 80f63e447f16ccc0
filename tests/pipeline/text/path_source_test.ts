import { assertEquals, assertThrows } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { sourceOfPath } from "../../../pipeline/text/path_source.ts";

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
  for (const [path, pattern, source] of cases) assertEquals(sourceOfPath(path, pattern), source, pattern);
  assertThrows(() => sourceOfPath("/data/a.md", "{source}/*.txt"), InputError, "must fit");
  assertThrows(() => sourceOfPath("/data/a.md", "*/*.txt"), InputError, "must hold {source} once");
});
