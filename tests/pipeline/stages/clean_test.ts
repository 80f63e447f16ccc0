import { assertEquals, assertRejects } from "@std/assert";
import { lockRun } from "../../../pipeline/run/lock.ts";
import { cleanRun } from "../../../pipeline/stages/clean.ts";
import { partition } from "../../../pipeline/stages/partition.ts";
import { trainDense, trainExpert } from "../../../pipeline/stages/train.ts";
import { verifyRun } from "../../../pipeline/stages/verify.ts";
import { gpu } from "../../kernels/support.ts";
import { hashes } from "../../tasks/support.ts";
import { withPartition } from "./support.ts";

const flags = { expertHidden: 8, expertLayers: 1, expertHeads: 2, expertBatch: 4, expertSteps: 8 };
const TRAINING = { sources: { flags }, gpu, checkpointEvery: 2, keep: 3 };
const HALVES = [
  "config.json.77.partial",
  "tokenizer.json.partial",
  "tokens/train-00003.arrow.partial",
  "tokens/spill.partial/12.arrows",
  "tokens/spill.partial/00012/3.arrows", // of parts, as the next six
  "tokens/files/00000-test.arrow.partial",
  "tokens/exchange/00000/00001.arrows.partial",
  "manifests/tokenize/exchange-00000.json.partial",
  "scores/train-00001.arrow.partial",
  "manifests/score/train-00001.arrow.json.partial",
  "manifests/split/expert-01/train-00000.arrow.json.partial",
  "partition/expert-01/test-00000.arrow.partial",
  "experts/expert-01/model.safetensors.partial",
  "experts/expert-01/checkpoints/step-00000009.safetensors.partial",
  "manifests/split.json.partial",
  "evaluation/expert-00.f32.partial",
  "manifests/evaluate/dense.f32.json.partial",
  "report.html.partial",
  "reproduction.json.7.partial",
  "manifests/report.json.partial",
  "jobs/plan.json.partial",
];
/** Files that are not the run's, though they look alike. */
const MINE = [
  "notes.partial",
  "tokens/mine.arrow.partial",
  "experts/expert-00/checkpoints/mine.safetensors",
  "experts/expert-00/mine.partial",
  "other/train-00000.arrow.partial",
  "evaluation/mine.f32.partial",
  "export/mine/export.json", // which says nothing of an export
  "export/mine/download.partial",
];

async function write(run: string, paths: string[]) {
  for (const path of paths) {
    await Deno.mkdir(`${run}/${path}`.replace(/\/[^/]+$/, ""), { recursive: true });
    await Deno.writeTextFile(`${run}/${path}`, "half");
  }
}

/** Trains expert 0 and the dense model, and stops expert 1 in the middle. */
async function trained(run: string) {
  await trainExpert(0, { run, ...TRAINING });
  await trainDense("batch", { run, ...TRAINING });
  const stop = new AbortController();
  const onEvent = (event: { type: string; done?: number }) => {
    if (event.type === "progress" && event.done! >= 6) stop.abort(new DOMException("stop", "AbortError"));
  };
  const watch = { onEvent, signal: stop.signal };
  await assertRejects(
    () => trainExpert(1, { run, ...TRAINING, checkpointEvery: 1, keep: 5 }, watch),
    DOMException,
  );
}

const differences = (before: Record<string, string>, after: Record<string, string>) =>
  Object.keys(before).filter((path) => !(path in after));

Deno.test("cleanRun() removes checkpoints of complete trainings and unfinished files, says how much, and nothing of the user's", () =>
  withPartition(async (run) => {
    await trained(run);
    await write(run, [...HALVES, ...MINE]);
    const before = await hashes(run);
    const states = (folder: string) =>
      Object.keys(before).filter((path) =>
        path.startsWith(`${folder}/checkpoints/step-`) && !/partial$/.test(path)
      );
    assertEquals([states("experts/expert-00").length, states("dense").length], [3, 3]);
    const begun = states("experts/expert-01");
    const gone = [...states("experts/expert-00"), ...states("dense"), ...begun.slice(0, -2)].sort();
    const sizeOf = async (paths: string[]) => {
      const sizes = await Promise.all(paths.map((path) => Deno.stat(`${run}/${path}`)));
      return sizes.reduce((sum, { size }) => sum + size, 0);
    };
    const expected = {
      run,
      dryRun: true,
      checkpoints: { files: gone.length, bytes: await sizeOf(gone) },
      unfinished: { files: HALVES.length, bytes: 4 * HALVES.length },
      left: [],
    };
    assertEquals(await cleanRun({ run, dryRun: true }), expected);
    assertEquals(await hashes(run), before);
    assertEquals(await cleanRun({ run }), { ...expected, dryRun: false });
    assertEquals(differences(before, await hashes(run)).sort(), [...gone, ...HALVES].sort());
    const { checkpoints, unfinished } = await cleanRun({ run });
    assertEquals([checkpoints.files, unfinished.files], [0, 0]);

    // What is left is a run that goes on to the same bytes.
    for (const path of MINE) await Deno.remove(`${run}/${path}`);
    assertEquals((await verifyRun(run)).problems, []);
    await trainExpert(1, { run, ...TRAINING });
    assertEquals((await partition({ run })).stages.every(({ state }) => state === "skipped"), true);
  }));

Deno.test("cleanRun() keeps as many checkpoints as it is told, and touches nothing that is being made", () =>
  withPartition(async (run) => {
    await trained(run);
    await write(run, HALVES);
    const before = await hashes(run);
    const shared = await lockRun(run, "split", "split 1/2", { mode: "part" });
    const training = await lockRun(run, "train-dense", "train-dense");
    const cleaned = await cleanRun({ run, keep: 2 });
    const left = cleaned.left.map(({ place, holders }) => [place, ...holders.map(({ task }) => task)]);
    assertEquals(left, [["split", "split 1/2"], ["dense", "train-dense"]]);
    const gone = differences(before, await hashes(run));
    const others = HALVES.filter((path) => !/^partition|split/.test(path));
    const own = ["experts/expert-00/checkpoints/step-00000004.safetensors", ...others];
    assertEquals(
      gone.filter((path) => !path.startsWith("experts/expert-01/checkpoints/step-0000000")).sort(),
      own.filter((path) => !path.startsWith("experts/expert-01/checkpoints/")).sort(),
    );
    assertEquals(gone.some((path) => path.startsWith("dense/")), false);
    await training();
    await shared();
    assertEquals((await cleanRun({ run, keep: 2 })).left, []);
  }));

Deno.test("cleanRun() follows no link out of the run", () =>
  withPartition(async (run) => {
    await trained(run);
    const elsewhere = `${run}/../elsewhere`;
    await Deno.rename(`${run}/dense/checkpoints`, elsewhere);
    await Deno.symlink(elsewhere, `${run}/dense/checkpoints`);
    const before = await hashes(elsewhere);
    await cleanRun({ run });
    assertEquals(await hashes(elsewhere), before);
  }));

Deno.test("cleanRun() keeps the checkpoints of a model that is gone, which it comes back from", () =>
  withPartition(async (run) => {
    await trainDense("batch", { run, ...TRAINING });
    const states = async () => (await Array.fromAsync(Deno.readDir(`${run}/dense/checkpoints`))).length;
    const before = await states();
    await Deno.remove(`${run}/dense/model.safetensors`);
    await cleanRun({ run });
    assertEquals(await states(), Math.min(before, 2));
  }));
