import { assertEquals, assertRejects } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { writeManifest } from "../../../pipeline/graph/mod.ts";
import { hashFile } from "../../../pipeline/run/files.ts";
import { readVerified, verifyFile } from "../../../pipeline/run/verified.ts";
import { inFolder } from "../../tasks/support.ts";

/** Writes files into a node and notes them in its manifest. */
async function makeNode(node: string, files: Record<string, string>): Promise<void> {
  const records: Record<string, Awaited<ReturnType<typeof hashFile>>> = {};
  for (const [name, text] of Object.entries(files)) {
    await Deno.mkdir(`${node}/${name}/..`, { recursive: true });
    await Deno.writeTextFile(`${node}/${name}`, text);
    records[name] = await hashFile(`${node}/${name}`);
  }
  const known = {
    name: "node",
    revision: 1,
    settings: {},
    inputs: {},
    result: {},
    key: String(Math.random()),
  };
  await writeManifest(node, { ...known, files: records });
}

Deno.test("readVerified() gives what the manifest notes, refuses anything else by name, and passes what none knows", () =>
  inFolder(async (folder) => {
    const node = `${folder}/node`, path = `${node}/a.txt`;
    await Deno.mkdir(`${node}/deep`, { recursive: true });
    await makeNode(node, { "a.txt": "sound", "deep/b.txt": "deeper" });
    const read = async (path: string) => new TextDecoder().decode(await readVerified(path));
    await Deno.symlink("node/a.txt", `${folder}/link.txt`);
    for (const same of [path, `${node}/./a.txt`, `${folder}/link.txt`]) {
      assertEquals(await read(same), "sound");
    }
    assertEquals(await read(`${node}/deep/b.txt`), "deeper");
    await Deno.writeTextFile(path, "sounD");
    const error = await assertRejects(() => read(path), InputError, "as it was made: its SHA-256 is");
    assertEquals(error.where, path);
    await assertRejects(() => verifyFile(path), InputError, "as it was made");
    await assertRejects(() => read(`${folder}/link.txt`), InputError, "as it was made");
    await Deno.writeTextFile(path, "cut");
    await assertRejects(() => read(path), InputError, "it has 3 bytes, its maker noted 5");
    await Deno.writeTextFile(`${node}/deep/b.txt`, "deepeR");
    await assertRejects(() => read(`${node}/deep/b.txt`), InputError, "as it was made");
    await Deno.writeTextFile(`${node}/other.txt`, "of the user");
    assertEquals(await read(`${node}/other.txt`), "of the user");
    await makeNode(node, { "a.txt": "anew" }); // another manifest counts at once
    assertEquals(await read(path), "anew");
    const manifest = `${node}/manifest.json`;
    await Deno.writeTextFile(manifest, (await Deno.readTextFile(manifest)).replace('"node"', '"nodE"'));
    await assertRejects(() => read(path), InputError, "its checksum is not that of what it says");
    await Deno.writeTextFile(manifest, ""); // as a full disk leaves it
    await assertRejects(() => read(path), InputError, "its checksum is not that of what it says");
    await Deno.writeTextFile(manifest, '{"version": 3}'); // of another program
    assertEquals(await read(path), "anew");
  }));
