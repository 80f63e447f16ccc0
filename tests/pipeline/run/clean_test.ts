import { assert, assertEquals, assertRejects } from "@std/assert";
import { dirname } from "node:path";
import { InputError } from "../../../kernels/errors.ts";
import { takeLock } from "../../../pipeline/graph/lock.ts";
import { cleanRun } from "../../../pipeline/run/clean.ts";
import { verifyRun } from "../../../pipeline/run/verify.ts";
import { writeRunConfiguration } from "../../../pipeline/graph/configuration.ts";
import { filesUnder } from "../../../pipeline/graph/files.ts";
import { copyFolder, inFolder } from "../../tasks/support.ts";
import { makeSmall, smallSettings, writeTexts } from "./support.ts";

const ID = "5f0c2a34-0000-4000-8000-000000000000";
const KEY = "0123456789abcdef";
const state = (node: string, step: number, key = KEY) =>
  ["safetensors", "metrics.jsonl"].map((end) =>
    `scratch/experts~${node}~${key}/step-0000000${step}.${end}`
  );
/** What killed processes left. */
const LEFT = [
  "config.json.77.partial",
  "text/files.json.5.partial",
  `partial/tokens~0011~${ID}/train.arrow.8.partial`,
  `partial/report.html~${ID}`,
  `scratch/tokenizer~${KEY}/${ID}/words.bin`,
  `scratch/experts~expert-01~${KEY}/step-00000009.safetensors.8.partial`,
  `scratch/experts~expert-01~${KEY}/step-00000009.metrics.jsonl`, // without its state
  `export/a/train.jsonl.8.partial`,
];
/** Files that are not the run's, though they look alike. */
const MINE = [
  "notes.partial",
  "tokens/mine.arrow.partial",
  "partial/mine/half.txt",
  "locks/mine.txt",
  "locks/mine/half.txt",
  "partial/notes~2026-11-30",
  `scratch/experts~expert-01~${KEY}/mine.safetensors`,
  "export/mine/download.partial",
];

/** Makes a run of few nodes, with files that stand for what was left. */
const inRun = (body: (run: string, paths: () => Promise<string[]>) => Promise<void>) =>
  inFolder(async (folder) => {
    const run = `${folder}/run`;
    await writeTexts(`${folder}/text`, 3);
    const settings = smallSettings(`${folder}/text`, {
      partitioner: "random",
      blockBytes: 100_000,
    });
    await makeSmall(run, settings);
    await writeRunConfiguration(run, settings);
    for (
      const path of [
        ...LEFT,
        ...MINE,
        ...[1, 2, 3].flatMap((step) => state("expert-01", step)),
      ]
    ) {
      await Deno.mkdir(dirname(`${run}/${path}`), { recursive: true });
      await Deno.writeTextFile(`${run}/${path}`, "half");
    }
    await body(run, async () => (await Array.fromAsync(filesUnder(run, ""))).sort());
  });

const without = (paths: string[], gone: string[]) => paths.filter((path) => !gone.includes(path));
// Which no note of an export tells of.
const EXPORT = LEFT.filter((path) => path.startsWith("export/"));

Deno.test("cleanRun() removes old checkpoints and what killed processes left, says how much, and nothing of the user's", () =>
  inRun(async (run, paths) => {
    const before = await paths();
    const left = without(LEFT, EXPORT);
    const old = state("expert-01", 1);
    const expected = {
      run,
      dryRun: true,
      left: [],
      checkpoints: { files: 2, bytes: 8 },
      unfinished: { files: left.length, bytes: 4 * left.length },
    };
    assertEquals(await cleanRun({ run, dryRun: true }), expected);
    assertEquals(await paths(), before);
    assertEquals(await cleanRun({ run }), { ...expected, dryRun: false });
    assertEquals(await paths(), without(before, [...left, ...old]));
    assertEquals((await cleanRun({ run })).unfinished.files, 0);
    // The last two of an incomplete one stay.
    assertEquals((await cleanRun({ run, keep: 1 })).checkpoints.files, 0);
    for (const step of [2, 3]) {
      for (const path of state("expert-01", step)) await Deno.remove(`${run}/${path}`);
    }
    assertEquals((await verifyRun(run)).problems, []);
  }));

Deno.test("cleanRun() keeps as many checkpoints of what is made as it is reported, and touches nothing that is being made", () =>
  inRun(async (run, paths) => {
    copyFolder(`${run}/partition/expert-00`, `${run}/experts/expert-01`);
    const manifest = `${run}/experts/expert-01/manifest.json`;
    const now = new Date();
    // A training that takes its place was stopped since then.
    await Deno.utime(manifest, now, new Date(0));
    assertEquals((await cleanRun({ run, dryRun: true })).checkpoints.files, 2);
    await Deno.utime(manifest, now, now);
    const lock = await takeLock(run, "tokens/0011", "partition");
    assert("release" in lock);
    const { left, checkpoints } = await cleanRun({ run, keep: 1 });
    assertEquals(left.map(({ place, holders: [{ task }] }) => [place, task]), [[
      "tokens/0011",
      "partition",
    ]]);
    assertEquals(checkpoints.files, 4);
    const there = await paths();
    assert(there.includes(LEFT[2]) && there.includes(state("expert-01", 3)[0]));
    const record = await Deno.readTextFile(`${run}/locks/tokens~0011`);
    lock.release();
    await Deno.writeTextFile(`${run}/locks/tokens~0011`, record); // as a killed process leaves it
    assertEquals((await cleanRun({ run })).checkpoints.files, 2);
    const after = await paths();
    assert(
      !after.includes(LEFT[2]) && !after.includes("locks/tokens~0011") && after.includes(MINE[2]),
    );
  }));

Deno.test("cleanRun() leaves alone what is begun while it looks", () =>
  inRun(async (run, paths) => {
    const begun = `partial/tokens~0012~${ID}/train.arrow`;
    let begins: ReturnType<typeof takeLock> | undefined;
    const throwIfAborted = () => {
      begins ??= takeLock(run, "tokens/0012", "partition");
      Deno.mkdirSync(dirname(`${run}/${begun}`), { recursive: true });
      Deno.writeTextFileSync(`${run}/${begun}`, "half");
    };
    await cleanRun({ run }, { signal: { throwIfAborted } as AbortSignal });
    const lock = await begins!;
    assert("release" in lock && (await paths()).includes(begun));
    lock.release();
  }));

Deno.test("cleanRun() follows no link out of the run, and leaves files of the user's in a node that was to change places", () =>
  inRun(async (run, paths) => {
    const elsewhere = `${run}/../elsewhere`;
    await Deno.mkdir(elsewhere);
    await Deno.writeTextFile(`${elsewhere}/step-00000001.safetensors`, "mine");
    await Deno.symlink(elsewhere, `${run}/scratch/experts~expert-00~${KEY}`);
    const old = `partial/partition~expert-00~old-${ID}`;
    await Deno.rename(`${run}/partition/expert-00`, `${run}/${old}`);
    await Deno.writeTextFile(`${run}/${old}/notes.txt`, "mine");
    await cleanRun({ run });
    assertEquals(await Deno.readTextFile(`${elsewhere}/step-00000001.safetensors`), "mine");
    assertEquals((await paths()).filter((path) => path.startsWith(old)), []);
    assertEquals(await Deno.readTextFile(`${run}/partition/expert-00/notes.txt`), "mine");
    await Deno.rename(`${run}/partial`, `${run}/../moved`);
    await Deno.symlink("../moved", `${run}/partial`);
    await assertRejects(() => cleanRun({ run }), InputError, "it is a symbolic link");
  }));
