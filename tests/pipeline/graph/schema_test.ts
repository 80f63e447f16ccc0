import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import * as v from "valibot";
import { InputError } from "../../../kernels/errors.ts";
import { writeManifest } from "../../../pipeline/graph/mod.ts";
import { hashFile } from "../../../pipeline/graph/files.ts";
import {
  byLabel,
  conform,
  count,
  readJson,
  readJsonLines,
  readVerified,
  share,
  verifyFile,
} from "../../../pipeline/graph/schema.ts";
import { inFolder } from "../../tasks/support.ts";

const SCHEMA = v.object({ rows: v.array(v.object({ n: count, part: share })) });

Deno.test("readJson() gives what the schema knows, and names file and field that are wrong", () =>
  inFolder(async (folder) => {
    const path = `${folder}/a.json`;
    const must = `Cannot read "${path}" as it must be a list: `;
    const read = () => readJson(path, SCHEMA, "a list");
    await assertRejects(read, InputError, `${must}it is missing`);
    const wrong: [text: string, fact: string][] = [
      ["{", ""],
      ["[]", "rows: "],
      [`{"rows":[{"n":1,"part":0},{"n":-1,"part":0}]}`, "rows.1.n: "],
      [`{"rows":[{"n":1.5,"part":0}]}`, "rows.0.n: "],
      [`{"rows":[{"n":1,"part":1.01}]}`, "rows.0.part: "],
    ];
    for (const [text, fact] of wrong) {
      await Deno.writeTextFile(path, text);
      const { where } = await assertRejects(read, InputError, must + fact);
      assertEquals(where, path);
    }
    await Deno.writeTextFile(path, `{"rows":[{"n":1,"part":1,"new":2}],"other":3}`);
    assertEquals(await read(), { rows: [{ n: 1, part: 1 }] });
  }));

Deno.test("readJsonLines() leaves out a line that is being written, and names the line that is wrong", () =>
  inFolder(async (folder) => {
    const path = `${folder}/a.jsonl`;
    const read = () => readJsonLines(path, v.object({ n: count }), "metrics");
    await Deno.writeTextFile(path, `{"n":1}\n{"n":2}\n{"n`);
    assertEquals(await read(), [{ n: 1 }, { n: 2 }]);
    await Deno.writeTextFile(path, `{"n":1}\n{"m":2}\n`);
    await assertRejects(
      read,
      InputError,
      `Cannot read "${path}" as it must be metrics: line 2: n: `,
    );
  }));

Deno.test("byLabel() keeps labels that every object has as keys, and names the label that is wrong", () => {
  const schema = byLabel(v.object({ n: count }));
  for (
    const text of [
      "{}",
      '{"b":{"n":1},"__proto__":{"n":2},"prototype":{"n":3},"constructor":{"n":4},"":{"n":5}}',
    ]
  ) {
    assertEquals(JSON.stringify(conform(schema, JSON.parse(text))), text);
  }
  const wrong: [value: unknown, field: string][] = [
    [{ b: { n: 1 }, constructor: { n: -1 } }, "constructor.n: "],
    ...[null, [], "b"].map((value): [unknown, string] => [value, "it must be an object"]),
  ];
  for (const [value, field] of wrong) assertThrows(() => conform(schema, value), InputError, field);
});

/** Writes files into a node and notes them in its manifest. */
async function makeNode(node: string, files: Record<string, string>): Promise<void> {
  const records: Record<string, Awaited<ReturnType<typeof hashFile>>> = {};
  for (const [name, text] of Object.entries(files)) {
    const path = `${node}/${name}`;
    await Deno.mkdir(path.slice(0, path.lastIndexOf("/")), { recursive: true });
    await Deno.writeTextFile(path, text);
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
    const node = `${folder}/node`;
    const path = `${node}/a.txt`;
    await Deno.mkdir(`${node}/deep`, { recursive: true });
    await makeNode(node, { "a.txt": "sound", "deep/b.txt": "deeper" });
    const read = async (path: string) => new TextDecoder().decode(await readVerified(path));
    await Deno.symlink("node/a.txt", `${folder}/link.txt`);
    for (const same of [path, `${node}/./a.txt`, `${folder}/link.txt`]) {
      assertEquals(await read(same), "sound");
    }
    assertEquals(await read(`${node}/deep/b.txt`), "deeper");
    await Deno.writeTextFile(path, "sounD");
    const error = await assertRejects(
      () => read(path),
      InputError,
      "as it was made: its SHA-256 is",
    );
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
    await Deno.writeTextFile(
      manifest,
      (await Deno.readTextFile(manifest)).replace('"node"', '"nodE"'),
    );
    // A disk may tell times no finer than this test is fast.
    await Deno.utime(manifest, new Date(), new Date(Date.now() + 5_000));
    await assertRejects(() => read(path), InputError, "its checksum is not that of what it says");
    await Deno.writeTextFile(manifest, ""); // as a full disk leaves it
    await assertRejects(() => read(path), InputError, "its checksum is not that of what it says");
    await Deno.writeTextFile(manifest, '{"version": 3}'); // of another program
    assertEquals(await read(path), "anew");
  }));
