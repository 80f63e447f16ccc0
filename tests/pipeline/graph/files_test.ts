import { assertEquals, assertFalse, assertRejects } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import {
  exists,
  filesUnder,
  hashFile,
  refuseLink,
  removeFiles,
  writeAtomic,
} from "../../../pipeline/graph/files.ts";
import { inFolder } from "../../tasks/support.ts";

const ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"; // of "abc"

Deno.test("writeAtomic() returns the size and hash that hashFile() finds, for all kinds of source", () =>
  inFolder(async (folder) => {
    const path = `${folder}/new/folder/file`;
    const bytes = new TextEncoder().encode("abc");
    const stream = ReadableStream.from([
      bytes.subarray(0, 1),
      bytes.subarray(1, 1),
      bytes.subarray(1),
    ]);
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

Deno.test("writeAtomic() leaves a whole file where two write it at once", () =>
  inFolder(async (folder) => {
    const path = `${folder}/file`;
    const twice = async function* () {
      yield new Uint8Array(5);
      await writeAtomic(path, new Uint8Array(20));
      assertEquals((await Deno.stat(path)).size, 20);
      yield new Uint8Array(5);
    };
    await writeAtomic(path, twice());
    assertEquals((await Deno.stat(path)).size, 10);
  }));

Deno.test("writeAtomic() removes what a process left of the same file that has been silent for a minute", () =>
  inFolder(async (folder) => {
    const left = ["file.1.partial", "file.2.partial", "file.partial", "other.1.partial"];
    for (const name of left) await Deno.writeTextFile(`${folder}/${name}`, "");
    const old = Date.now() / 1000 - 90;
    for (const name of left.toSpliced(1, 1)) await Deno.utime(`${folder}/${name}`, old, old);
    await writeAtomic(`${folder}/file`, "abc");
    const there = [...Deno.readDirSync(folder)].map(({ name }) => name).sort();
    assertEquals(there, ["file", "file.2.partial", "file.partial", "other.1.partial"]);
  }));

Deno.test("removeFiles() removes what it is reported, with the folders that this empties, and follows no link", () =>
  inFolder(async (folder) => {
    const run = `${folder}/run`;
    for (const path of ["a/b/gone", "a/keep", "empty/gone"]) {
      await writeAtomic(`${run}/${path}`, "x");
    }
    await writeAtomic(`${folder}/away/gone`, "mine");
    await Deno.symlink(`${folder}/away`, `${run}/a/link`);
    await Deno.symlink(`${folder}/away`, `${run}/link`);
    await Deno.symlink(`${folder}/away/gone`, `${run}/a/gone`);
    await Deno.mkdir(`${run}/a/mine`);
    await removeFiles(run, ["a/b/gone", "a/gone"]);
    assertEquals([...Deno.readDirSync(`${run}/a`)].map(({ name }) => name).sort(), [
      "keep",
      "link",
      "mine",
    ]);
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
