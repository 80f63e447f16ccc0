import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { statfsSync } from "node:fs";
import { RunError } from "../kernels/errors.ts";
import { findDamage, readManifest } from "../pipeline/graph/node.ts";
import { MANIFEST } from "../pipeline/graph/schema.ts";
import { filesUnder, writeAtomic } from "../pipeline/graph/files.ts";
import { ignore, mount, onDisk, onGrowingDisk } from "./disk.ts";
import { makeSmall, rootHash, smallSettings, writeTexts } from "./pipeline/run/support.ts";
import {
  commandOf,
  execute,
  hashes,
  inFolder,
  SMALL,
  smallCorpus,
  task,
  taskHere,
} from "./tasks/support.ts";

const FULL =
  /^Cannot write "([^"\n]+)" as the disk must have room for it: it is full( \([^()\n]+\))?; free [^\n]+$/;

/**
 * Checks that an error says on one line which file in a folder lacks room; returns its path in
 * there.
 */
function assertFull(error: unknown, folder: string): string {
  assert(error instanceof RunError, String(error));
  assertMatch(error.message, FULL);
  const [, path] = FULL.exec(error.message)!;
  assert(path.startsWith(`${folder}/`), path);
  return path.slice(folder.length + 1);
}

/** Runs a task that must succeed, or throws the error that its last line tells. */
async function run(
  name: string,
  args: string[],
  options?: Parameters<typeof task>[2],
): Promise<void> {
  const { code, err, out } = options ? await task(name, args, options) : await taskHere(name, args);
  if (code === 0) return;
  const [, line] = /(?:^|\n)error: ([^\n]+)\n$/.exec(err) ?? [];
  assertEquals([code, out.trim()], [1, ""], err);
  assert(line !== undefined, err);
  throw new RunError(line);
}

Deno.test({
  name: "every stage of a partition meets a full disk with one line, and goes on to the same bytes",
  ignore,
  fn: () =>
    inFolder(async (roomy) => {
      await writeTexts(`${roomy}/text`);
      const settings = smallSettings(`${roomy}/text`);
      await makeSmall(`${roomy}/run`, settings);
      const stages = new Set<string>();
      const sizes = [8, 48, 80, 600, 1000, 1200, 1500];
      await onGrowingDisk(
        sizes,
        async (folder) => void await makeSmall(`${folder}/run`, settings),
        async (error, folder) => {
          stages.add(/^run\/[^/]+\/(\w+)/.exec(assertFull(error, folder))![1]);
          assertEquals(
            [...Deno.readDirSync(`${folder}/run`)].filter(({ name }) => name === "locks").length,
            1,
          );
          for await (const path of filesUnder(`${folder}/run`, "")) {
            assert(!path.startsWith("partial/"), path);
            if (!path.endsWith(`/${MANIFEST}`)) continue;
            const node = `${folder}/run/${path.slice(0, -MANIFEST.length - 1)}`;
            assertEquals(
              await findDamage(node, (await readManifest(node))!, true),
              undefined,
              path,
            );
          }
        },
        async (folder) =>
          assertEquals(
            await rootHash(`${folder}/run`, settings),
            await rootHash(`${roomy}/run`, settings),
          ),
      );
      assert(stages.size >= 5, [...stages].join());
    }),
});

Deno.test({
  name: "train-expert meets a full disk with one line, and goes on to the same bytes",
  ignore,
  fn: () =>
    inFolder(async (roomy) => {
      await Deno.writeTextFile(`${roomy}/docs.jsonl`, smallCorpus());
      const partition = ["--input", `${roomy}/docs.jsonl`, ...SMALL];
      const expert = "--expert 0 --expert-steps 4 --expert-layers 1 --expert-hidden 16".split(" ");
      const makePartition = (folder: string) =>
        run("partition", ["--run", `${folder}/run`, ...partition]);
      const train = (folder: string) =>
        run("train-expert", ["--run", `${folder}/run`, ...expert, "--checkpoint-every", "2"]);
      await makePartition(roomy);
      await train(roomy);
      const failed = new Set<string>();
      const note = (error: unknown, folder: string) =>
        void failed.add(
          /^run\/(?:(?:partial|scratch)\/)?(\w+)/.exec(assertFull(error, folder))![1],
        );
      await onDisk("64m", async (folder) => {
        await makePartition(folder);
        const { blocks, bavail, bsize } = statfsSync(folder);
        for (const room of [1, 12, 25]) {
          await mount("-o", `remount,size=${(blocks - bavail + room) * bsize}`, folder);
          note(await assertRejects(() => train(folder), RunError), folder);
        }
        await mount("-o", "remount,size=64m", folder);
        await train(folder);
        assertEquals(await hashes(`${folder}/run`), await hashes(`${roomy}/run`));
      });
      assert(failed.has("experts"), [...failed].join());
    }),
});

Deno.test({
  name:
    "a disk that can hold no more files, and a limit of a file's size, are distinguished from a full disk",
  ignore,
  fn: async () => {
    await onDisk("64k,nr_inodes=3", async (folder) => {
      await writeAtomic(`${folder}/one`, "1");
      await writeAtomic(`${folder}/two`, "2");
      const error = await assertRejects(() => writeAtomic(`${folder}/three`, "3"), RunError);
      assertMatch(
        error.message,
        /three" as the disk must have room for it: it is full \(no file more can be made\);/,
      );
    });
    await inFolder(async (folder) => {
      await Deno.writeTextFile(`${folder}/docs.jsonl`, smallCorpus());
      const args = ["--run", `${folder}/run`, "--input", `${folder}/docs.jsonl`, ...SMALL];
      const words = [Deno.execPath(), ...commandOf("partition"), ...args].map((word) => `'${word}'`)
        .join(
          " ",
        );
      const { code, err } = await shell(`trap '' XFSZ; ulimit -f 16; ${words}`);
      assertEquals(code, 1, err);
      assertMatch(
        err,
        /(^|\n)error: Cannot write "[^"\n]+" as the system must take a file as large: it does not [^\n]+\n$/,
      );
    });
  },
});

/** Runs a line of shell in the project's folder. */
async function shell(line: string): Promise<{ code: number; err: string }> {
  const { code, err } = await execute("bash", ["-c", line], { env: { DENO_NO_UPDATE_CHECK: "1" } });
  return { code, err };
}

Deno.test({
  name:
    "standard input that is kept, a bundle and exports name the file that lacks room, and leave nothing half-written",
  ignore,
  fn: () =>
    inFolder(async (folder) => {
      await Deno.writeTextFile(`${folder}/docs.jsonl`, smallCorpus());
      await run("partition", [
        "--run",
        `${folder}/run`,
        "--input",
        `${folder}/docs.jsonl`,
        ...SMALL,
      ]);
      const [{ name: block }] = Deno.readDirSync(`${folder}/run/scores`);
      const scores = await Deno.readFile(`${folder}/run/scores/${block}/train.arrow`);
      await onDisk("4k", async (disk) => {
        const kept = { input: scores, env: { TMPDIR: disk } };
        const all = ["--run", `${folder}/run`, "--all-text"];
        for (
          const [size, name, args, options] of [
            [
              4,
              "assign",
              ["-", "--method", "optimal", "--output", `${folder}/assigned.arrow`],
              kept,
            ],
            [400, "bundle", ["--output", `${disk}/bundle.tar`]],
            [12, "export", [...all, "--to", "parquet", "--output", `${disk}/parquet`]],
            [12, "export", [...all, "--to", "megatron", "--output", `${disk}/megatron`]],
            [12, "export", [...all, "--to", "datasets", "--output", `${disk}/datasets`]],
          ] as const
        ) {
          await mount("-o", `remount,size=${size}k`, disk);
          const error = await assertRejects(() => run(name, [...args], options), RunError);
          assertFull(error, disk);
          const left = await Array.fromAsync(filesUnder(disk, ""));
          // Which says who may write there again.
          assertEquals(left.filter((path) => !path.endsWith("/export.json")), []);
          if (name === "bundle") continue; // it takes a minute
          await mount("-o", "remount,size=4m", disk);
          await run(name, [...args], options);
          for (const { name } of Deno.readDirSync(disk)) {
            await Deno.remove(`${disk}/${name}`, { recursive: true });
          }
        }
      });
    }),
});

Deno.test("standard output and standard error for a full device end with exit code 1", async () => {
  const command = (name: string) =>
    [Deno.execPath(), ...commandOf(name)].map((word) => `'${word}'`).join(" ");
  const line =
    "error: Cannot write the output as the disk must have room for it: it is full; free some space or choose another folder, and run again\n";
  assertEquals(await shell(`${command("corpus")} --help > /dev/full`), { code: 1, err: line });
  assertEquals(await shell(`${command("cost")} --preset tiny > /dev/full`), { code: 1, err: line });
  assertEquals(await shell(`${command("cost")} --nothing 2> /dev/full`), { code: 2, err: "" });
  assertEquals(await shell(`${command("cost")} --preset tiny > /dev/full 2> /dev/full`), {
    code: 1,
    err: "",
  });
});
