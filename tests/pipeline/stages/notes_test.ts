import { assertEquals, assertRejects } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import {
  noteOf,
  notePath,
  readNote,
  shareOf,
  writeMissing,
  writeNote,
} from "../../../pipeline/stages/notes.ts";
import type { Work } from "../../../pipeline/stages/stage.ts";
import { inFolder } from "../../tasks/support.ts";

Deno.test("shareOf() gives every thing to one part, whatever their numbers", () => {
  for (const things of [0, 1, 5, 16, 97]) {
    for (const parts of [1, 2, 3, 16, 100]) {
      const shares = Array.from({ length: parts }, (_, i) => shareOf({ index: i + 1, of: parts }, things));
      const all = shares.flatMap(({ from, to }) => Array.from({ length: to - from }, (_, i) => from + i));
      assertEquals(all, Array.from({ length: things }, (_, i) => i));
    }
  }
});

Deno.test("noteOf() believes a note that is whole, of the file's size and of the same key", () =>
  inFolder(async (run) => {
    const place = { run, stage: "score", folder: "scores", file: "train-00000.arrow" };
    const note = { key: "a", bytes: 5, sha256: "00", rows: 3 };
    await writeNote(run, "score", place.file, note);
    assertEquals(await noteOf({ ...place, key: "a" }), null); // no file
    await Deno.mkdir(`${run}/scores`);
    await Deno.writeTextFile(`${run}/scores/${place.file}`, "12345");
    assertEquals((await noteOf({ ...place, key: "a" }))?.rows, 3);
    assertEquals(await noteOf({ ...place, key: "b" }), null);
    const path = notePath(run, "score", place.file);
    await Deno.writeTextFile(path, (await Deno.readTextFile(path)).replace('"rows": 3', '"rows": 4'));
    assertEquals(await noteOf({ ...place, key: "a" }), null);
    await assertRejects(() => readNote(path), InputError, "its checksum is not that of what it says");
    assertEquals(await readNote(notePath(run, "score", "other")), null);
  }));

Deno.test("writeMissing() holds what is missing and what lies between, and nothing where nothing is", async () => {
  const told: string[] = [];
  const lock = (name: string) => {
    told.push(`hold ${name}`);
    return Promise.resolve(() => Promise.resolve(void told.push(`release ${name}`)));
  };
  const work = { lock } as unknown as Work;
  const looks: number[][] = [[], [2, 4], [3, 4, 9], [5], []];
  const write = () =>
    writeMissing(work, {
      nameOf: (number) => `shard-${number}`,
      missing: () => Promise.resolve(looks.shift()!),
      write: (first, last) => Promise.resolve(`${first}-${last}`),
    });
  assertEquals([await write(), told], [undefined, []]);
  assertEquals(await write(), "3-4"); // another process has written one of those between
  const names = ["shard-2", "shard-3", "shard-4"];
  assertEquals(told, [...names.map((name) => `hold ${name}`), ...names.map((name) => `release ${name}`)]);
  assertEquals(await write(), undefined);
});
