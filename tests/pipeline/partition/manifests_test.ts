import { assertEquals, assertNotEquals, assertRejects } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import {
  expertFolder,
  partHash,
  type PartitionManifest,
  type PartManifest,
  readPart,
  readPartition,
} from "../../../pipeline/partition/manifests.ts";
import { inFolder } from "../../tasks/support.ts";
import { LINEAGE } from "./support.ts";

const HASHES = ["a", "b", "c"].map((digit) => digit.repeat(64));
const shard = (name: string, sha256: string) => ({ name, rows: 3, tokens: 30, bytes: 999, sha256 });
const TOTAL = { sequences: 3, tokens: 30, nllPerToken: 4.5 };
const SOURCE = { sequences: 3, tokens: 30 };
const COUNTS = { ...TOTAL, sources: { news: SOURCE, constructor: SOURCE, ["__proto__"]: SOURCE } };
const PART: PartManifest = {
  format: 1,
  expert: 2,
  files: [
    shard("train-00000.arrow", HASHES[0]),
    shard("train-00001.arrow", HASHES[1]),
    shard("test-00000.arrow", HASHES[2]),
  ],
  train: COUNTS,
  test: { ...COUNTS, nllPerToken: null },
};
const WHOLE: PartitionManifest = {
  format: 1,
  experts: 1,
  lineage: LINEAGE,
  train: { ...TOTAL, regret: 0, nmi: null, tokenImbalance: 0, shares: [1] },
  parts: [{ folder: "expert-00", sha256: HASHES[0] }],
};

/** Writes a manifest into a folder. */
const write = (folder: string, manifest: unknown) =>
  Deno.writeTextFile(`${folder}/manifest.json`, JSON.stringify(manifest));

Deno.test("expertFolder() names folders that sort by expert up to a hundred", () => {
  assertEquals([0, 9, 10, 99, 100].map(expertFolder), [
    "expert-00",
    "expert-09",
    "expert-10",
    "expert-99",
    "expert-100",
  ]);
});

Deno.test("partHash() depends on the training shards, their names and order, and on nothing else", () => {
  const [first, second, held] = PART.files;
  const hash = partHash(PART);
  assertEquals(partHash({ files: [first, second] }), hash);
  assertEquals(partHash({ files: [{ ...first, bytes: 1, rows: 9 }, second, held] }), hash);
  for (const files of [[second, first], [first], [{ ...first, sha256: HASHES[2] }, second]]) {
    assertNotEquals(partHash({ files }), hash);
  }
});

Deno.test("partHash() is what sha256sum gives of the lines that it prints for the shards", async () => {
  const lines = PART.files.slice(0, 2).map(({ name, sha256 }) => `${sha256}  ${name}\n`).join("");
  const child = new Deno.Command("sha256sum", { stdin: "piped", stdout: "piped" }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(lines));
  await writer.close();
  const { stdout } = await child.output();
  assertEquals(new TextDecoder().decode(stdout).slice(0, 64), partHash(PART));
});

Deno.test("readPart() and readPartition() give back what was written, and name the field that is wrong", () =>
  inFolder(async (folder) => {
    await assertRejects(() => readPart(folder), InputError, "it is missing");
    await write(folder, PART);
    assertEquals(await readPart(folder), PART);
    const outside = { ...PART, files: [shard("../train-00000.arrow", HASHES[0])] };
    for (const [field, wrong] of [["files.0.name", outside], ["format", { ...PART, format: 9 }]]) {
      await write(folder, wrong);
      await assertRejects(() => readPart(folder), InputError, `${field}: `);
    }
    await write(folder, { ...WHOLE, lineage: { ...LINEAGE, later: "field" } });
    assertEquals(await readPartition(folder), WHOLE);
    const elsewhere = { ...WHOLE, parts: [{ folder: "../expert-00", sha256: HASHES[0] }] };
    const unknown = { ...WHOLE, lineage: { ...LINEAGE, prefix: "many" } };
    for (const [field, wrong] of [["parts.0.folder", elsewhere], ["lineage.prefix", unknown]]) {
      await write(folder, wrong);
      await assertRejects(() => readPartition(folder), InputError, `${field}: `);
    }
  }));
