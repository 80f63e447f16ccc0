import { assertEquals, assertFalse, assertMatch, assertStringIncludes } from "@std/assert";
import { exists } from "../pipeline/graph/files.ts";
import { ignore, mount, onDisk } from "./disk.ts";
import {
  hashes,
  inFolder,
  lastOfEach,
  ok,
  SMALL,
  smallCorpus,
  smallRunAt,
  task,
  taskHere,
} from "./tasks/support.ts";

/** Checks that a task ended with a code and one line that holds every text, and wrote no result. */
function assertFails(
  { code, out, err }: Awaited<ReturnType<typeof taskHere>>,
  expected: number,
  ...texts: string[]
): void {
  // The tokenizers library prints blank lines.
  assertEquals([code, out.trim()], [expected, ""], err);
  const line = err.trim().split("\n").at(-1)!;
  assertMatch(line, /^error: [^\n]+$/);
  for (const text of texts) assertStringIncludes(line, text);
  assertFalse(/^\s+at /m.test(err), err);
}

/** Runs a small partition of some text. */
async function partitionOf(
  folder: string,
  text: string | Uint8Array,
  more: string[] = [],
  name = "docs.jsonl",
) {
  const path = `${folder}/${name}`;
  await Deno.writeFile(path, typeof text === "string" ? new TextEncoder().encode(text) : text);
  return await taskHere(
    "partition",
    lastOfEach(["--run", `${folder}/run`, "--input", path, ...SMALL, ...more]),
  );
}

async function withRun(test: (folder: string, run: string) => Promise<void>): Promise<void> {
  await inFolder(async (folder) => {
    const { run, docs } = await smallRunAt(`${folder}/run`);
    await Deno.copyFile(docs, `${folder}/docs.jsonl`);
    await test(folder, run);
  });
}

Deno.test("without an adapter a task reports which package to install", () =>
  withRun(async (_, run) => {
    const env = {
      DENO_WEBGPU_BACKEND: "vulkan",
      VK_DRIVER_FILES: "/none",
      VK_ICD_FILENAMES: "/none",
    };
    const outcome = await task("train-routers", ["--run", run, "--force"], { env });
    assertFails(outcome, 1, "apt-get install mesa-vulkan-drivers libvulkan1");
  }));

Deno.test("variants of kernels that are unknown, or that the adapter cannot run, are named with what there is", () =>
  withRun(async (_, run) => {
    const config = `${run}/config.json`;
    const before = await Deno.readTextFile(config);
    const routers = (variants: string) => ["--run", run, "--force", "--variants", variants];
    const none = await taskHere("train-routers", routers("conv=tiles"));
    assertFails(none, 2, '"conv=tiles"', "attention=query|subgroup|workgroup");
    const narrow = { env: { LP_NATIVE_VECTOR_WIDTH: "128" } }; // lavapipe then has subgroups of 4
    const outcome = await task(
      "train-routers",
      routers("rows=workgroup,attention=subgroup"),
      narrow,
    );
    const { kind } = JSON.parse(before).adapter;
    if (kind === "software") { // another adapter does not heed the variable
      assertFails(
        outcome,
        2,
        "attention=subgroup as the adapter must offer subgroups of 8",
        "query, workgroup",
      );
    }
    assertEquals(await Deno.readTextFile(config), before);
    await ok(taskHere("train-routers", routers("rows=workgroup,attention=query")));
  }));

Deno.test("more experts than sequences, and a vocabulary that the text does not support, give both numbers", () =>
  inFolder(async (folder) => {
    const few = smallCorpus(2, 40);
    const flags = [
      "--vocab-size",
      "260",
      "--holdout",
      "0",
      "--experts",
      "500",
      "--round-sequences",
      "8",
    ];
    assertFails(await partitionOf(folder, few, flags), 2, "experts is 500", "fewer --experts");
    assertFails(
      await partitionOf(folder, few, ["--force", "--vocab-size", "20000", "--holdout", "0"]),
      2,
      "20000 ids",
    );
  }));

Deno.test("a first attempt that failed holds no flag, and what is refused changes nothing", () =>
  inFolder(async (folder) => {
    const run = `${folder}/run`;
    const docs = `${folder}/docs.jsonl`;
    assertEquals((await partitionOf(folder, smallCorpus(), ["--vocab-size", "20000"])).code, 2);
    const made = await partitionOf(folder, smallCorpus());
    assertEquals(made.code, 0, made.err);
    const none = ["--run", `${folder}/none`, "--input", docs, "--routers", `${folder}/no`];
    assertFails(await taskHere("partition", none), 2, `${folder}/no`);
    assertFails(
      await taskHere("partition", [...none.slice(0, 3), `${folder}/none.txt`]),
      2,
      "none.txt",
    );
    assertFalse(await exists(`${folder}/none`)); // what is refused leaves no folder

    const complete = await hashes(run);
    const away = ["--run", run, "--force", "--experts", "3"];
    assertFails(await taskHere("partition", [...away, "--adapter", "nosuch"]), 2, "nosuch");
    assertFails(
      await taskHere("partition", [...away, "--input", `${folder}/none.txt`]),
      2,
      "none.txt",
    );
    const other = await taskHere("partition", ["--run", run, "--sequence-length", "64"]);
    assertFails(other, 2, "--sequence-length must be what", "--force");
    assertEquals(await hashes(run), complete);
  }));

Deno.test({
  name:
    "a run folder that cannot be written refuses who would write there on one line, and tells how it stands",
  ignore,
  fn: async () =>
    void await onDisk("16m", async (folder) => {
      const run = ["--run", `${folder}/run`];
      const made = await partitionOf(folder, smallCorpus());
      assertEquals(made.code, 0, made.err);
      await mount("-o", "remount,ro", folder);
      for (
        const [name, ...args] of [
          ["partition", "--force"],
          ["train-expert", "--expert", "0"],
          ["submit", "--executor", "local"],
        ]
      ) {
        assertFails(await task(name, [...run, ...args]), 2, `${folder}/run`, "must be writable");
      }
      assertEquals((await taskHere("status", run)).code, 0);
      assertEquals((await taskHere("verify", [`${folder}/run`])).code, 0);
    }),
});
