import { assert, assertEquals, assertNotEquals, assertRejects } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { sha256, writeAtomic } from "../../../pipeline/run/files.ts";
import {
  damagedOutputs,
  type Manifest,
  manifestNames,
  manifestPath,
  missingOutput,
  outputsHash,
  readManifest,
  runOf,
  stageKey,
  vouchedFiles,
  writeManifest,
  writePages,
} from "../../../pipeline/run/manifest.ts";
import { canonical } from "../../../pipeline/run/seal.ts";

async function withRun(test: (run: string, manifest: Manifest) => Promise<void>): Promise<void> {
  const run = await Deno.makeTempDir();
  try {
    const outputs = { "tokens/a": await writeAtomic(`${run}/tokens/a`, "abc") };
    await test(run, {
      format: 3,
      stage: "tokenize",
      revision: 1,
      key: "key",
      configuration: {},
      inputs: {},
      outputs,
      read: {},
      result: { sequences: 3 },
    });
  } finally {
    await Deno.remove(run, { recursive: true });
  }
}

Deno.test("canonical() does not depend on the order of keys, but on that of lists", () => {
  assertEquals(canonical({ b: { d: 1, c: [2, 1] }, a: null }), '{"a":null,"b":{"c":[2,1],"d":1}}');
});

Deno.test("stageKey() changes with the stage, its revision, each input and each value", () => {
  const base = stageKey("score", 1, { prefix: 32 }, { tokens: "1" });
  assertEquals(stageKey("score", 1, { prefix: 32 }, { tokens: "1" }), base);
  assertNotEquals(stageKey("assign", 1, { prefix: 32 }, { tokens: "1" }), base);
  assertNotEquals(stageKey("score", 2, { prefix: 32 }, { tokens: "1" }), base);
  assertNotEquals(stageKey("score", 1, { prefix: 33 }, { tokens: "1" }), base);
  assertNotEquals(stageKey("score", 1, { prefix: 32 }, { tokens: "2" }), base);
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

Deno.test("stageKey() of revision 1 is that of runs made before there were revisions", () => {
  const values = { shardSequences: 100 };
  const made = sha256(canonical({ stage: "split", code: "0.1.0", configuration: values, inputs: {} }));
  assertEquals(stageKey("split", 1, values, {}), made);
});

Deno.test("missingOutput() names the first output that is missing or has another size", () =>
  withRun(async (run, manifest) => {
    assertEquals(await missingOutput(run, manifest), null);
    await Deno.writeTextFile(`${run}/tokens/a`, "ab");
    assertEquals(await missingOutput(run, manifest), "tokens/a");
    await Deno.remove(`${run}/tokens/a`);
    assertEquals(await missingOutput(run, manifest), "tokens/a");
  }));

Deno.test("readManifest() gives what was written, and takes a manifest of before there were revisions as revision 1", () =>
  withRun(async (run, manifest) => {
    assertEquals(await readManifest(run, "tokenize"), null);
    const { format: _, outputs, read, result, ...identity } = manifest;
    assertEquals(await writeManifest(run, identity, { outputs, read, result }), manifest);
    assertEquals(await readManifest(run, "tokenize"), manifest);
    const { revision: __, ...old } = identity;
    const { read: ___, ...withoutRead } = manifest;
    await writeAtomic(
      manifestPath(run, "tokenize"),
      JSON.stringify({ ...old, code: "0.1.0", outputs, result }),
    );
    assertEquals(await readManifest(run, "tokenize"), { ...withoutRead, format: 1 });
    await writeAtomic(manifestPath(run, "tokenize"), JSON.stringify({ ...manifest, format: 4 }));
    const error = await assertRejects(() => readManifest(run, "tokenize"), InputError, "its format is 4");
    assertEquals(error.remedy, "use the version that wrote it");
  }));

Deno.test("writePages() lets several processes write the same pages, and its manifest vouches for those that are there", () =>
  withRun(async (run) => {
    const pages = ["a", "b", "c", "d"].map((letter) => ({ "report.html": letter.repeat(300_000) }));
    await Promise.all(pages.map((of) => writePages(run, "report", of)));
    assertEquals(await damagedOutputs(run, (await readManifest(run, "report"))!), []);
    assertEquals(Array.from(Deno.readDirSync(run)).filter(({ name }) => name.endsWith(".partial")), []);
  }));

Deno.test("manifestNames() lists the stages that have one", () =>
  withRun(async (run, { format: _, outputs, read: __, result, ...identity }) => {
    assertEquals(await manifestNames(run), []);
    await writeManifest(run, identity, { outputs, result });
    await Deno.mkdir(`${run}/manifests/score`);
    assertEquals(await manifestNames(run), ["tokenize"]);
  }));

Deno.test("runOf() takes no other program's folder of manifests for a run, and nothing advises to remove its files", () =>
  withRun(async (home, { format: _, outputs, read: __, result, ...identity }) => {
    const foreign = `${home}/manifests/pods.json`;
    await writeAtomic(foreign, '{"kind": "Pod"}');
    const place = `${home}/a/x.arrow`;
    for (const text of [null, '{"architectures": ["GPTNeoXForCausalLM"]}', "{", "null"]) {
      if (text !== null) await writeAtomic(`${home}/config.json`, text);
      assertEquals(await runOf(place), null, String(text));
      await vouchedFiles(place);
    }
    await writeAtomic(`${home}/config.json`, '{"configuration": {}}');
    assertEquals(await runOf(place), home);
    const error = await assertRejects(() => vouchedFiles(place), InputError, "must be a stage's manifest");
    assertEquals(error.remedy, "move it elsewhere (if it is that of a stage, this runs again)");
    await Deno.remove(foreign);
    await Deno.remove(`${home}/config.json`);
    await writeManifest(home, identity, { outputs, result });
    assertEquals(await runOf(place), home);
    await writeAtomic(manifestPath(home, "tokenize"), "{");
    const damaged = await assertRejects(() => vouchedFiles(place), InputError);
    assertEquals(damaged.remedy, "remove it to run the stage again");
  }));

Deno.test("readManifest() names the file that is none", () =>
  withRun(async (run) => {
    for (const text of ['{"key": "x', "[]", '{"key": 1, "outputs": {}}']) {
      await writeAtomic(manifestPath(run, "score"), text);
      const error = await assertRejects(
        () => readManifest(run, "score"),
        InputError,
        "must be a stage's manifest",
      );
      assert(error.where!.endsWith("manifests/score.json"));
    }
  }));
