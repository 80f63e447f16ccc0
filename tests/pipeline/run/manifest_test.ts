import { assert, assertEquals, assertNotEquals, assertRejects } from "@std/assert";
import { writeAtomic } from "../../../pipeline/run/files.ts";
import {
  canonical,
  type Manifest,
  manifestPath,
  outputsHash,
  readManifest,
  stageKey,
  upToDate,
  writeManifest,
} from "../../../pipeline/run/manifest.ts";

async function withRun(test: (run: string, manifest: Manifest) => Promise<void>): Promise<void> {
  const run = await Deno.makeTempDir();
  try {
    const outputs = { "tokens/a": await writeAtomic(`${run}/tokens/a`, "abc") };
    await test(run, {
      stage: "tokenize",
      key: "key",
      code: "1",
      configuration: {},
      inputs: {},
      outputs,
      result: { sequences: 3 },
    });
  } finally {
    await Deno.remove(run, { recursive: true });
  }
}

Deno.test("canonical() does not depend on the order of keys, but on that of lists", () => {
  assertEquals(canonical({ b: { d: 1, c: [2, 1] }, a: null }), '{"a":null,"b":{"c":[2,1],"d":1}}');
});

Deno.test("stageKey() changes with the stage, each input and each value", () => {
  const base = stageKey("score", { prefix: 32 }, { tokens: "1" });
  assertEquals(stageKey("score", { prefix: 32 }, { tokens: "1" }), base);
  assertNotEquals(stageKey("assign", { prefix: 32 }, { tokens: "1" }), base);
  assertNotEquals(stageKey("score", { prefix: 33 }, { tokens: "1" }), base);
  assertNotEquals(stageKey("score", { prefix: 32 }, { tokens: "2" }), base);
});

Deno.test("outputsHash() depends on names and contents, not on their order, and on a folder alone where asked", () =>
  withRun((_, manifest) => {
    const record = (sha256: string) => ({ bytes: 1, sha256 });
    const hash = (outputs: Manifest["outputs"], under?: string) =>
      outputsHash({ ...manifest, outputs }, under);
    const base = hash({ "x/a": record("1"), "y/b": record("2") });
    assertEquals(hash({ "y/b": record("2"), "x/a": record("1") }), base);
    assertNotEquals(hash({ "x/a": record("1"), "y/b": record("3") }), base);
    assertNotEquals(hash({ "x/a": record("1"), "y/c": record("2") }), base);
    assertEquals(hash({ "x/a": record("1"), "y/b": record("2") }, "x/"), hash({ "x/a": record("1") }));
    return Promise.resolve();
  }));

Deno.test("upToDate() accepts the same key with every output in its size, and nothing else", () =>
  withRun(async (run, manifest) => {
    assertEquals(await upToDate(run, "tokenize", "key"), null);
    await writeManifest(run, manifest);
    assertEquals(await upToDate(run, "tokenize", "key"), manifest);
    assertEquals(await upToDate(run, "tokenize", "other"), null);
    await Deno.writeTextFile(`${run}/tokens/a`, "ab");
    assertEquals(await upToDate(run, "tokenize", "key"), null);
    await Deno.remove(`${run}/tokens/a`);
    assertEquals(await upToDate(run, "tokenize", "key"), null);
  }));

Deno.test("readManifest() names the file that is none", () =>
  withRun(async (run) => {
    for (const text of ['{"key": "x', "[]", '{"key": 1, "outputs": {}}']) {
      await writeAtomic(manifestPath(run, "score"), text);
      const error = await assertRejects(
        () => readManifest(run, "score"),
        SyntaxError,
        "must be a stage's manifest",
      );
      assert(error.message.includes("manifests/score.json"));
    }
  }));
