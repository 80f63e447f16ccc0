// Runs made by the version before the last change of format are read: fixtures/runs/format-1 was made by 0.1.0 (see fixtures/runs/README.md).

import { assertEquals, assertStringIncludes } from "@std/assert";
import { statusOf, verifyRun } from "../mod.ts";
import { readManifest } from "../pipeline/run/manifest.ts";
import { gpu } from "./kernels/support.ts";
import { copyFolder, hashes, inFolder, ROOT, task } from "./tasks/support.ts";

Deno.test("a run made before there were formats and revisions is whole, up to date and answers", () =>
  inFolder(async (folder) => {
    const run = `${folder}/run`;
    copyFolder(`${ROOT}fixtures/runs/format-1`, run);
    assertEquals((await readManifest(run, "split"))?.revision, 1);
    assertEquals((await verifyRun(run)).problems, []);
    const { stages } = await statusOf(run);
    const made = stages.filter(({ state }) => state === "up to date").map(({ stage }) => stage);
    const missing = stages.filter(({ state }) => state !== "up to date").map(({ stage }) => stage);
    const asked = missing.filter((stage) => stage.startsWith("zero-shot-"));
    const added = ["train-dense-steps", "train-dense-compute", "train-switch", "evaluate"]; // evaluate has another revision now
    assertEquals([made.length, missing], [10, [...added, ...asked]]);
    if (gpu === null) return;
    const before = await hashes(run);
    const partition = await task("partition", ["--run", run]);
    assertEquals(partition.code, 0, partition.err);
    assertEquals([...partition.err.matchAll(/^\S+Z (\S+) +up to date/gm)].length, 7, partition.err);
    const { "config.json": _, ...files } = await hashes(run);
    assertEquals(
      files,
      Object.fromEntries(Object.entries(before).filter(([path]) => path !== "config.json")),
    );
    const text = await task("generate", ["--run", run, "--prompt", "sail wave", "--max-new-tokens", "2"]);
    assertEquals(text.code, 0, text.err);
    assertStringIncludes(text.err, "of 2");
  }));
