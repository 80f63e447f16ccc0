import { assert, assertEquals, assertFalse, assertRejects } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import {
  askAll,
  exists,
  filesUnder,
  hashFile,
  refuseLink,
  removeFiles,
  removeIfThere,
  wholeName,
  writeAtomic,
} from "../../../pipeline/run/files.ts";
import { inFolder } from "../../tasks/support.ts";

const ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"; // of "abc"

Deno.test("writeAtomic() returns the size and hash that hashFile() finds, for all kinds of source", () =>
  inFolder(async (folder) => {
    const path = `${folder}/new/folder/file`;
    const bytes = new TextEncoder().encode("abc");
    const stream = ReadableStream.from([bytes.subarray(0, 1), bytes.subarray(1, 1), bytes.subarray(1)]);
    for (const source of ["abc", bytes, stream]) {
      assertEquals(await writeAtomic(path, source), { bytes: 3, sha256: ABC });
      assertEquals(await hashFile(path), { bytes: 3, sha256: ABC });
    }
  }));

Deno.test("writeAtomic() leaves the old file and no partial one when its source fails", () =>
  inFolder(async (folder) => {
    const path = `${folder}/file`;
    await writeAtomic(path, "old");
    const failing = async function* () {
      yield new Uint8Array(100_000);
      await Promise.resolve();
      throw new SyntaxError("bad source");
    };
    await assertRejects(() => writeAtomic(path, failing()), SyntaxError, "bad source");
    assertEquals(await Deno.readTextFile(path), "old");
    assertEquals([...Deno.readDirSync(folder)].map(({ name }) => name), ["file"]);
  }));

Deno.test("writeAtomic() shows nothing under the final name before the end", () =>
  inFolder(async (folder) => {
    const path = `${folder}/file`;
    const looking = async function* () {
      yield new Uint8Array(10);
      assertFalse(await exists(path));
      yield new Uint8Array(10);
    };
    await writeAtomic(path, looking());
    assertEquals((await Deno.stat(path)).size, 20);
  }));

Deno.test("writeAtomic() leaves what another process has begun at the same place to that one", () =>
  inFolder(async (folder) => {
    for (const fails of [false, true]) {
      const path = `${folder}/${fails}`;
      const [begun, goOn] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
      let other: Promise<unknown> | undefined;
      const slow = async function* () {
        yield new Uint8Array(10);
        begun.resolve();
        await goOn.promise;
        yield new Uint8Array(10);
      };
      const overtaken = async function* () {
        yield new Uint8Array(5);
        other = writeAtomic(path, slow());
        await begun.promise;
        if (fails) throw new InputError("bad source");
      };
      const what = fails ? "bad source" : "nobody else may write it meanwhile";
      await assertRejects(() => writeAtomic(path, overtaken()), Error, what);
      assertFalse(await exists(path));
      goOn.resolve();
      await other;
      assertEquals((await Deno.stat(path)).size, 20);
    }
  }));

Deno.test("writeAtomic() writes through no link that lies where its partial file does", () =>
  inFolder(async (folder) => {
    await Deno.writeTextFile(`${folder}/mine`, "mine");
    await Deno.symlink(`${folder}/mine`, `${folder}/file.partial`);
    await writeAtomic(`${folder}/file`, "new");
    assertEquals(await Deno.readTextFile(`${folder}/mine`), "mine");
    assertEquals(await Deno.readTextFile(`${folder}/file`), "new");
  }));

Deno.test("wholeName() knows partial files, of one process too", () => {
  assertEquals(["a/b.arrow.partial", "c.json.123.partial", "a", ".partial", "a.partial/b"].map(wholeName), [
    "a/b.arrow",
    "c.json",
    undefined,
    undefined,
    undefined,
  ]);
});

Deno.test("removeFiles() removes what it is reported, with the folders that this empties, and follows no link", () =>
  inFolder(async (folder) => {
    const run = `${folder}/run`;
    for (const path of ["a/b/gone", "a/keep", "empty/gone"]) await writeAtomic(`${run}/${path}`, "x");
    await writeAtomic(`${folder}/away/gone`, "mine");
    await Deno.symlink(`${folder}/away`, `${run}/a/link`);
    await Deno.symlink(`${folder}/away`, `${run}/link`);
    await Deno.symlink(`${folder}/away/gone`, `${run}/a/gone`);
    await Deno.mkdir(`${run}/a/mine`);
    await removeFiles(run, ["a/b/gone", "a/gone"]);
    assertEquals([...Deno.readDirSync(`${run}/a`)].map(({ name }) => name).sort(), ["keep", "link", "mine"]);
    assertEquals([
      await Array.fromAsync(filesUnder(run, "link")),
      await Array.fromAsync(filesUnder(run, "none")),
    ], [[], []]);
    assertEquals((await Array.fromAsync(filesUnder(run, ""))).sort(), [
      "a/keep",
      "a/link",
      "empty/gone",
      "link",
    ]);
    assertEquals(await Deno.readTextFile(`${folder}/away/gone`), "mine");
    await assertRejects(
      () => refuseLink(`${run}/link`),
      InputError,
      "it is a symbolic link; remove the link",
    );
    await refuseLink(`${run}/a`);
  }));

Deno.test("removeIfThere() removes a file or a link, accepts a missing one, and leaves a folder that holds something", () =>
  inFolder(async (folder) => {
    await writeAtomic(`${folder}/a/b`, "x");
    await Deno.symlink(`${folder}/a`, `${folder}/link`);
    await assertRejects(() => removeIfThere(`${folder}/a`));
    await removeIfThere(`${folder}/link`);
    await removeIfThere(`${folder}/link`);
    assert(await exists(`${folder}/a/b`));
    await removeIfThere(`${folder}/a/b`);
    await removeIfThere(`${folder}/a`);
    assertFalse(await exists(`${folder}/a`));
  }));

Deno.test("askAll() asks about some paths at a time, and keeps their order", async () => {
  const paths = Array.from({ length: 23 }, (_, i) => `${i}`);
  let open = 0, most = 0;
  const answers = await askAll(paths, async (path) => {
    most = Math.max(most, ++open);
    await new Promise((done) => setTimeout(done, 5 - Number(path) % 5));
    open--;
    return Number(path);
  }, 8);
  assertEquals([answers, most], [paths.map(Number), 8]);
  await assertRejects(() => askAll(["a"], () => Promise.reject(new Error("refused"))), Error, "refused");
});
