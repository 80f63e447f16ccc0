import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { task } from "../tasks/support.ts";

const TABLE = [
  ...[
    "tokenize",
    "exchange",
    "shuffle",
    "tokens closed",
    "scores made up",
    "assign",
    "split",
    "split closed",
  ],
  "score",
];

Deno.test("bench:scale takes text through every stage in parts, and bounds memory and disk", async () => {
  // Of less text what a run holds besides tokens would be a large part of its disk.
  const sizes = ["--size", "4MiB", "--score", "1MiB", "--vocab-size", "8200", "--sequence-length", "1024"];
  const { code, out, err } = await task("bench:scale", sizes);
  assertEquals(code, 0, err + out);
  const found = out.split("\n").flatMap((line) =>
    /^(\S.*?) +\d+ +[\d.]+ +[\d.]+ +[\d,]+ +\d+ +[\d.]+×$/.exec(line)?.[1] ?? []
  );
  assertEquals(found, TABLE);
  const [, memory, disk] = /largest process: (\d+) MiB of 600; disk at its peak: ([\d.]+) of 3/.exec(out)!;
  assert(Number(memory) > 50 && Number(memory) <= 600, memory);
  assert(Number(disk) > 1 && Number(disk) <= 3, disk);
});

Deno.test("bench:scale refuses what is no size", async () => {
  const { code, err } = await task("bench:scale", ["--size", "much"]);
  assertEquals(code, 2);
  assertStringIncludes(err, '--size must be a size like 512MiB or 2GiB: it is "much"');
});
