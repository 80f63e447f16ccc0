/** Trains experts and dense baselines as a user does, in run folders. */
import {
  assert,
  assertEquals,
  assertFalse,
  assertMatch,
  assertNotEquals,
  assertStringIncludes,
} from "@std/assert";
import { loadCheckpoint, saveCheckpoint } from "../pipeline/checkpoints/checkpoint.ts";
import { openGpu } from "../kernels/device/gpu.ts";
import { trainingFlops } from "../pipeline/cost/flops.ts";
import { exists } from "../pipeline/run/files.ts";
import { randomBits, uniform } from "../pipeline/random.ts";
import {
  copyFolder,
  hashes,
  inFolder,
  sendSignal,
  SMALL,
  smallCorpus,
  task,
  taskCommand,
} from "./tasks/support.ts";

/** Whether the adapter at hand runs on the processor. */
const SOFTWARE = await openGpu().then((gpu) => {
  gpu.close();
  return gpu.kind === "software";
});

const KILLS = 10;
const MOST_TRIES = 60;

/** Flags of a training that takes a second. */
const BRIEF = [
  ...["--expert-hidden", "8", "--expert-layers", "1", "--expert-heads", "2", "--expert-batch", "4"],
  ...["--expert-steps", "40", "--expert-warmup", "4", "--log-every", "3", "--validate-every", "8"],
];
const CHECKPOINTS = ["--checkpoint-every", "5"];

/** Partitions a small text once for all tests. */
let made: Promise<string> | undefined;
const scratch = await Deno.makeTempDir();
globalThis.addEventListener("unload", () => Deno.removeSync(scratch, { recursive: true }));

function partitioned(): Promise<string> {
  return made ??= (async () => {
    await Deno.writeTextFile(`${scratch}/docs.jsonl`, smallCorpus());
    const run = `${scratch}/partitioned`, input = `${scratch}/docs.jsonl`;
    await succeed("partition", ["--run", run, "--input", input, ...SMALL]);
    return run;
  })();
}

async function namesIn(folder: string): Promise<string[]> {
  return await exists(folder) ? (await Array.fromAsync(Deno.readDir(folder))).map(({ name }) => name) : [];
}

/** Interrupts the training of an expert in the middle, and gives the step of the checkpoint that it leaves. */
async function interrupt(run: string, args: string[], signal: Deno.Signal): Promise<number> {
  const child = taskCommand("train-expert", ["--run", run, ...args], { stdout: "null" }).spawn();
  const isBegun = async () =>
    (await Promise.all((await namesIn(`${run}/partial`)).map((name) => namesIn(`${run}/partial/${name}`))))
      .some((files) => files.includes("metrics.jsonl"));
  while (!await isBegun()) await new Promise((resolve) => setTimeout(resolve, 5));
  await new Promise((resolve) => setTimeout(resolve, 200));
  sendSignal(child, signal);
  const { code, stderr } = await child.output();
  const err = new TextDecoder().decode(stderr);
  assertEquals(code, 130, err);
  const found: string[] = [];
  for (const name of await namesIn(`${run}/scratch`)) found.push(...await namesIn(`${run}/scratch/${name}`));
  const [, step] = /step-(\d+)/.exec(found.sort().at(-1) ?? "") ?? [];
  assert(step !== undefined, err);
  return Number(step);
}

/** Hashes what stays of a run. */
const kept = async (run: string) =>
  Object.fromEntries(
    Object.entries(await hashes(run)).filter(([path]) => !/^(partial|scratch|locks)\//.test(path)),
  );

/** Runs a task that must succeed. */
async function succeed(name: string, args: string[]): Promise<{ out: string; err: string }> {
  const outcome = await task(name, args);
  assertEquals(outcome.code, 0, outcome.err);
  return outcome;
}

/** Runs a task that must end with exit code 2 and one line that holds `text`. */
async function refuse(name: string, args: string[], text: string): Promise<void> {
  const { code, err } = await task(name, args);
  assertEquals(code, 2, err);
  const lines = err.trim().split("\n").filter((line) => !/^\S+Z (adapter|train-)/.test(line));
  assertEquals(lines.length, 1, err);
  assertStringIncludes(`${lines[0]}\n`, text);
}

Deno.test("two processes that train all experts share them, and both end with all of them trained", () =>
  inFolder(async (folder) => {
    const [run, alone] = [`${folder}/run`, `${folder}/alone`];
    for (const to of [run, alone]) copyFolder(await partitioned(), to);
    const args = (run: string) => ["--run", run, "--expert", "all", ...BRIEF];
    const both = await Promise.all([succeed("train-expert", args(run)), succeed("train-expert", args(run))]);
    for (const name of ["train-expert-00", "train-expert-01"]) {
      const started = both.flatMap(({ err }) => err.match(new RegExp(`${name} +started`, "g")) ?? []);
      assertEquals(started.length, 1, both.map(({ err }) => err).join("\n"));
    }
    assertEquals(both[0].out, both[1].out);
    await succeed("train-expert", args(alone));
    const models = async (run: string) =>
      Object.entries(await hashes(run)).filter(([path]) => path.startsWith("experts/"));
    assertEquals(await models(run), await models(alone));
  }));

Deno.test("train-expert in a folder with its part, the tokenizer and the configuration alone gives the run's expert", () =>
  inFolder(async (folder) => {
    const run = `${folder}/run`;
    copyFolder(await partitioned(), run);
    await succeed("train-expert", ["--run", run, "--expert", "1", ...BRIEF]);

    const alone = `${folder}/alone`;
    for (const name of ["partition/expert-01", "tokenizer"]) copyFolder(`${run}/${name}`, `${alone}/${name}`);
    await Deno.copyFile(`${run}/config.json`, `${alone}/config.json`);
    await succeed("train-expert", ["--run", alone, "--expert", "1"]);
    const [trained, expected] = [await hashes(alone), await hashes(run)];
    const names = Object.keys(trained).filter((name) => name.startsWith("experts/"));
    assert(names.length > 5 && names.includes("experts/expert-01/metrics.jsonl"));
    for (const name of names) assertEquals(trained[name], expected[name], name);
    const whole = "this folder holds the part of expert 1 alone: name the whole run that it was copied from";
    await refuse("train-expert", ["--run", alone, "--expert", "0"], whole);
    await refuse("train-dense", ["--run", alone], whole);
    await refuse("evaluate", ["--run", alone], whole);
    await Deno.writeTextFile(`${folder}/other.json`, JSON.stringify({ expertBatch: 7, seed: 5 }));
    const other = ["--run", alone, "--expert", "1", "--config", `${folder}/other.json`];
    await refuse("train-expert", other, "must be what its config.json says");
    assertEquals(await hashes(alone), trained);
    await Deno.remove(`${alone}/config.json`);
    const copy =
      "this folder holds the part of expert 1 alone: copy config.json and tokenizer from the run as well";
    await refuse("train-expert", ["--run", alone, "--expert", "1"], copy);
  }));

Deno.test("experts and dense models killed, or interrupted, at random moments and run again end with the bytes of undisturbed ones", () =>
  inFolder(async (folder) => {
    const models: [name: string, args: string[]][] = [
      ["train-expert", ["--expert", "0"]],
      ["train-dense", ["--match", "steps"]],
    ];
    const base = `${folder}/base`;
    copyFolder(await partitioned(), base);
    copyFolder(base, `${folder}/undisturbed`);
    const durations: number[] = [];
    for (const [name, args] of models) {
      const start = performance.now();
      await succeed(name, ["--run", `${folder}/undisturbed`, ...args, ...BRIEF, ...CHECKPOINTS]);
      durations.push(performance.now() - start);
    }
    const expected = await kept(`${folder}/undisturbed`);

    let kills = 0;
    let resumed = 0;
    for (let tries = 0; kills < KILLS && tries < MOST_TRIES; tries++) {
      const run = `${folder}/run-${tries}`;
      copyFolder(base, run);
      for (const [i, [name, args]] of models.entries()) {
        for (let attempt = 0;; attempt++) {
          const child = taskCommand(name, ["--run", run, ...args, ...BRIEF, ...CHECKPOINTS], {
            stdout: "null",
          }).spawn();
          const share =
            Number(randomBits(1, `kill ${tries} ${i}`, BigUint64Array.of(BigInt(attempt))[0]) % 1000n) / 1000;
          const kill = () => sendSignal(child, attempt < 2 ? "SIGKILL" : "SIGINT");
          const timer = attempt < 3 ? setTimeout(kill, durations[i] * share) : undefined;
          const { signal, code, stderr } = await child.output();
          clearTimeout(timer);
          if (signal !== null || code === 130) {
            if (attempt < 2) kills++;
            continue;
          }
          const text = new TextDecoder().decode(stderr);
          assertEquals(code, 0, text);
          if (text.includes("goes on after step")) resumed++;
          break;
        }
      }
      assertEquals(await kept(run), expected);
      await Deno.remove(run, { recursive: true });
    }
    assert(kills >= KILLS, `only ${kills} of ${KILLS} trainings were killed before their end`);
    assert(resumed > 0, "no training went on from a checkpoint");
  }));

Deno.test("a Switch Transformer killed at random moments after checkpoints and run again ends with the bytes of an undisturbed one", () =>
  inFolder(async (folder) => {
    const base = `${folder}/base`;
    copyFolder(await partitioned(), base);
    for (const dtype of ["f32", "bf16"]) {
      const [run, undisturbed] = [`${folder}/${dtype}`, `${folder}/${dtype}-undisturbed`];
      for (const place of [run, undisturbed]) copyFolder(base, place);
      const own = ["--switch-capacity", "1", "--dtype", dtype, ...BRIEF, ...CHECKPOINTS];
      const args = (run: string) => ["--run", run, ...own];
      const checkpoints = async (run: string) => {
        const [folder] = await namesIn(`${run}/scratch`);
        return folder === undefined ? [] : await namesIn(`${run}/scratch/${folder}`);
      };
      /** Starts the training, and waits until it has written a checkpoint. */
      const start = async (run: string, more: string[] = []) => {
        const before = await checkpoints(run);
        const child = taskCommand("train-switch", [...args(run), ...more], { stdout: "null" }).spawn();
        const output = child.output();
        const ended = output.then(() => true);
        const isNew = (name: string) => name.endsWith(".safetensors") && !before.includes(name);
        while (!(await checkpoints(run)).some(isNew)) {
          if (await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, 2))])) break;
        }
        return { child, output };
      };
      const whole = await start(undisturbed);
      const first = performance.now();
      const { code, stderr } = await whole.output;
      const rest = performance.now() - first; // from the first checkpoint to the end
      assertEquals(code, 0, new TextDecoder().decode(stderr));
      const expected = await kept(undisturbed);
      for (const name of ["model.safetensors", "metrics.jsonl"]) assert(`switch/${name}` in expected, name);

      const goesOn = "goes on after step";
      for (const [i, more] of [[], ["--recompute"]].entries()) { // recomputation takes other memory, to the same bits
        const { child, output } = await start(run, more);
        await new Promise((resolve) => setTimeout(resolve, rest / 6 * uniform(1, `kill of ${dtype}`, i)));
        sendSignal(child, "SIGKILL");
        const { signal, stderr } = await output;
        assertEquals(signal, "SIGKILL", "the training ended before its kill");
        assertEquals(new TextDecoder().decode(stderr).includes(goesOn), i > 0);
      }
      assertStringIncludes((await succeed("train-switch", args(run))).err, goesOn);
      assertEquals(await kept(run), expected);
    }
  }));

Deno.test("a training that is interrupted saves, is told of, goes on at that very step and leaves no checkpoint", () =>
  inFolder(async (folder) => {
    const [run, undisturbed] = [`${folder}/run`, `${folder}/undisturbed`];
    for (const place of [run, undisturbed]) copyFolder(await partitioned(), place);
    const args = ["--expert", "0", ...BRIEF, "--expert-steps", "200", "--checkpoint-every", "0"];
    await succeed("train-expert", ["--run", undisturbed, ...args]);
    for (const signal of ["SIGINT", "SIGTERM"] as const) {
      const step = await interrupt(run, args, signal);
      const { out } = await succeed("watch", ["--run", run, "--json"]);
      const { trainings: [expert] } = JSON.parse(out);
      assertEquals([expert.state, expert.checkpoint.step, expert.steps], ["stopped", step, 200]);
      const other = ["--run", run, "--expert", "0", "--expert-steps", "100"];
      await refuse("train-expert", other, "it is 100, there it is 200");
    }
    const { err } = await succeed("train-expert", ["--run", run, ...args]);
    assertStringIncludes(err, "goes on after step");
    assertEquals(await namesIn(`${run}/scratch`), []);
    assertEquals(await kept(run), await kept(undisturbed));
  }));

Deno.test("train-expert skips what is up to date, refuses other values, and makes again what is damaged", () =>
  inFolder(async (folder) => {
    const run = `${folder}/run`;
    copyFolder(await partitioned(), run);
    await succeed("train-expert", ["--run", run, "--expert", "all", ...BRIEF]);
    const before = await kept(run);
    const again = await succeed("train-expert", ["--run", run, "--expert", "all"]);
    assertEquals(again.err.match(/up to date/g)?.length, 2);
    const other = ["--run", run, "--expert", "0", "--expert-rate", "0.1"];
    await refuse("train-expert", other, "it is 0.1, there it is 0.003");
    await refuse("train-expert", [...other, "--resume"], "its training has ended");
    assertEquals(await kept(run), before);

    const model = "experts/expert-01/model.safetensors";
    await Deno.truncate(`${run}/${model}`, 100);
    await succeed("train-expert", ["--run", run, "--expert", "1"]);
    assertEquals(await kept(run), before);
    const bytes = await Deno.readFile(`${run}/${model}`);
    bytes[bytes.length >> 1] ^= 1;
    await Deno.writeFile(`${run}/${model}`, bytes);
    assertStringIncludes((await succeed("train-expert", ["--run", run, "--expert", "1"])).err, "up to date");
    await succeed("train-expert", ["--run", run, "--expert", "1", "--check"]);
    assertEquals(await kept(run), before);

    await succeed("train-expert", [...other, "--force"]);
    const after = await kept(run), first = "experts/expert-00/model.safetensors";
    assertNotEquals(after[first], before[first]);
    assertEquals(after[model], before[model]);
    // The other expert keeps what it was trained with until told otherwise.
    const then = ["--run", run, "--expert", "1"];
    await refuse("train-expert", then, "trained with another rate: 0.003 then, 0.1 now");
    const uneven = await succeed("evaluate", ["--run", run, "--resamples", "10"]);
    assertStringIncludes(uneven.err, "warning: experts were trained with different rate: 0.1, 0.003");
  }));

Deno.test("train-expert writes the weights as f16 or bf16 and starts from a checkpoint", () =>
  inFolder(async (folder) => {
    const base = `${folder}/base`;
    copyFolder(await partitioned(), base);
    const sizes: Record<string, number> = {};
    for (const dtype of ["f32", "f16", "bf16"]) {
      const run = `${folder}/${dtype}`;
      copyFolder(base, run);
      await succeed("train-expert", ["--run", run, "--expert", "0", ...BRIEF, "--save-dtype", dtype]);
      const { size } = await Deno.stat(`${run}/experts/expert-00/model.safetensors`);
      sizes[dtype] = size;
      const config = JSON.parse(await Deno.readTextFile(`${run}/experts/expert-00/config.json`));
      assertEquals(config.torch_dtype, { f32: "float32", f16: "float16", bf16: "bfloat16" }[dtype]);
    }
    assert(Math.abs(sizes.f16 - sizes.bf16) < 100); // headers alone differ
    assert(sizes.f16 < 0.6 * sizes.f32);

    // Going on from trained weights, the first loss is near the last one before, far below that of new weights.
    const first = async (run: string) =>
      JSON.parse((await Deno.readTextFile(`${run}/experts/expert-00/metrics.jsonl`)).split("\n")[0]).loss;
    const run = `${folder}/init`;
    copyFolder(base, run);
    const init = `${folder}/bf16/experts/expert-00`;
    await succeed("train-expert", ["--run", run, "--expert", "0", ...BRIEF, "--init", init]);
    assert(await first(run) < await first(`${folder}/f32`) - 0.5);
    // A head that is stored apart and equals the embedding is left out.
    const untied = ["--run", `${folder}/bf16`, "--to", "safetensors", "--expert", "0", "--untie"];
    await succeed("export", [...untied, "--output", `${folder}/untied`]);
    const other = ["--run", base, "--expert", "0", ...BRIEF, "--init", `${folder}/untied`];
    await succeed("train-expert", other);
    const model = "experts/expert-00/model.safetensors";
    assertEquals(await Deno.readFile(`${base}/${model}`), await Deno.readFile(`${run}/${model}`));
    await refuse(
      "train-expert",
      ["--run", run, "--expert", "0", "--init", init, "--expert-hidden", "16", "--force"],
      "hidden must be that of the model to train: there it is 8, here it is 16",
    );
  }));

Deno.test("train-expert trains in bf16 where told, and refuses to go on in other numbers", () =>
  inFolder(async (folder) => {
    const base = `${folder}/base`;
    copyFolder(await partitioned(), base);
    const models: Record<string, string> = {};
    for (const dtype of ["f32", "bf16"]) {
      const run = `${folder}/${dtype}`;
      copyFolder(base, run);
      await succeed("train-expert", ["--run", run, "--expert", "0", ...BRIEF, "--dtype", dtype]);
      const { configuration } = JSON.parse(await Deno.readTextFile(`${run}/config.json`));
      assertEquals(configuration.dtype, dtype);
      models[dtype] = (await hashes(run))["experts/expert-00/model.safetensors"];
    }
    assertNotEquals(models.bf16, models.f32);
    const run = `${folder}/bf16`;
    const again = await succeed("train-expert", ["--run", run, "--expert", "0"]);
    assertStringIncludes(again.err, "up to date");
    await refuse("train-expert", ["--run", run, "--expert", "0", "--dtype", "f32"], "--dtype must be what");
    await succeed("train-expert", ["--run", run, "--expert", "1", "--dtype", "f32", "--force"]);
    await refuse(
      "train-expert",
      ["--run", run, "--expert", "0"],
      'trained with another dtype: "bf16" then, "f32" now',
    );
  }));

Deno.test("train-expert counts its steps by tokens and by epochs, and names what makes none", () =>
  inFolder(async (folder) => {
    const run = `${folder}/run`;
    copyFolder(await partitioned(), run);
    const part = JSON.parse(await Deno.readTextFile(`${run}/partition/expert-00/manifest.json`));
    const steps = async (...flags: string[]) => {
      const { out } = await succeed("train-expert", [
        "--run",
        run,
        "--expert",
        "0",
        ...BRIEF,
        "--force",
        "--json",
        ...flags,
      ]);
      return JSON.parse(out).models[0].steps;
    };
    assertEquals(await steps("--tokens", "1300"), Math.floor(1300 / (4 * 32)));
    assertEquals(
      await steps("--tokens", "0", "--epochs", "0.5"),
      Math.floor(0.5 * part.result.train.sequences / 4),
    );
    const { out } = await succeed("train-dense", [
      "--run",
      run,
      ...BRIEF,
      "--force",
      "--json",
      "--epochs",
      "0",
      "--tokens",
      "1300",
    ]);
    assertEquals(JSON.parse(out).models[0].steps, Math.floor(1300 / (4 * 32))); // of E times the batch
    const { out: harder } = await succeed("train-dense", ["--run", run, "--match", "steps", "--json"]);
    assertEquals(JSON.parse(harder).models[0].steps, 2 * Math.floor(1300 / (4 * 32)));
    const brief = ["--run", run, "--expert", "0", ...BRIEF, "--force"];
    await refuse(
      "train-expert",
      [...brief, "--tokens", "100", "--epochs", "1"],
      "only one of --tokens and --epochs",
    );
    await refuse("train-expert", [...brief, "--epochs", "0", "--tokens", "100"], "at least one step");
  }));

Deno.test("train-expert warns of a warm-up that is longer than the training, and of no shorter one", () =>
  inFolder(async (folder) => {
    const run = `${folder}/run`;
    copyFolder(await partitioned(), run);
    const args = ["--run", run, "--expert", "0", ...BRIEF, "--expert-steps", "10", "--force"];
    const warmup = async (steps: string) =>
      (await succeed("train-expert", [...args, "--expert-warmup", steps])).err.match(/warning: .*$/gm);
    assertEquals(await warmup("10"), null);
    assertEquals((await warmup("11"))?.length, 1);
    assertEquals(await warmup("40"), [
      "warning: expert-00 warms up for 40 steps and trains for 10: its rate ends at 7.5e-4 while it still " +
      "rises to 3.0e-3; give a smaller --expert-warmup or more steps",
    ]);
  }));

Deno.test("train-dense sees as many tokens as all experts together, with E times the batch or the steps", () =>
  inFolder(async (folder) => {
    const run = `${folder}/run`;
    copyFolder(await partitioned(), run);
    const train = async (...args: string[]) =>
      JSON.parse((await succeed("train-dense", ["--run", run, "--json", ...BRIEF, ...args])).out).models[0];
    const dense = await train();
    const steps = await train("--match", "steps", "--dense-steps-rate", "0.002");
    assertEquals([dense.steps, dense.batch, dense.folder], [40, 8, "dense"]);
    assertEquals([steps.steps, steps.batch, steps.folder], [80, 4, "dense-steps"]);
    assertEquals([dense.rate, steps.rate], [0.003, 0.002]);
  }));

Deno.test("train-expert keeps the checkpoints of another adapter, or of other kernel forms, until told", () =>
  inFolder(async (folder) => {
    const run = `${folder}/run`;
    copyFolder(await partitioned(), run);
    const step = await interrupt(run, ["--expert", "0", ...BRIEF, "--expert-steps", "200"], "SIGINT");
    const before = await hashes(run);
    const args = ["--run", run, "--expert", "0"];
    for (const wish of ["attention=query", "rows=invocation", "matmul=registers"]) { // in no adapter's table together
      const with_ = `its checkpoint of step ${step} was made with other variants`;
      await refuse("train-expert", [...args, "--variants", wish], with_);
      assertEquals(await hashes(run), before);
    }
    const other = { env: { LP_NATIVE_VECTOR_WIDTH: "128" } }; // lavapipe then has another name, and other kernels
    const refused = await task("train-expert", args, other);
    if (!SOFTWARE && refused.code === 0) return; // the variable concerns lavapipe alone
    assertEquals(refused.code, 2, refused.err);
    assertStringIncludes(refused.err, `its checkpoint of step ${step} was made with another adapter`);
    assertEquals(await hashes(run), before);
    const { code, err, out } = await task("train-expert", [...args, "--resume", "--json"], other);
    assertEquals(code, 0, err);
    assertEquals(JSON.parse(out).models[0].resumed.map(({ step }: { step: number }) => step), [step]);
  }));

Deno.test("train-expert stops at a loss that is no number and says how to go on; --resume goes on with another rate", () =>
  inFolder(async (folder) => {
    const run = `${folder}/run`;
    copyFolder(await partitioned(), run);
    const args = ["--run", run, "--expert", "0", ...BRIEF];
    await succeed("train-expert", args);
    const { config, weights, notes } = await loadCheckpoint(`${run}/experts/expert-00`);
    weights.get("gpt_neox.embed_in.weight")!.fill(3e38);
    await saveCheckpoint(`${folder}/huge`, config, weights, notes);
    const diverged = await task("train-expert", [...args, "--init", `${folder}/huge`, "--force"]);
    assertEquals(diverged.code, 1);
    const error = diverged.err.trim().split("\n").at(-1)!;
    for (const part of ["must be finite", "at step 1 of expert-00"]) assertStringIncludes(error, part);
    const command = `deno task train-expert --run ${run} --expert 0 --expert-rate 0.0015 --force`;
    assertStringIncludes(error, command);

    const longer = ["--expert", "0", ...BRIEF, "--expert-steps", "200", "--init", "", "--force"];
    const step = await interrupt(run, longer, "SIGINT");
    const resume = ["--run", run, "--expert", "0", "--expert-rate", "0.0015", "--resume", "--json"];
    const resumed = await succeed("train-expert", resume);
    assertStringIncludes(resumed.err, `goes on after step ${step} of 200`);
    assertEquals(JSON.parse(resumed.out).models[0].resumed[0].step, step);
    const steps = (await Deno.readTextFile(`${run}/experts/expert-00/metrics.jsonl`)).trim().split("\n")
      .map((line) => JSON.parse(line).step);
    assertEquals(steps, [...new Set(steps)].sort((a, b) => a - b));
  }));

Deno.test("train-expert and train-dense name what is missing, damaged or does not fit", () =>
  inFolder(async (folder) => {
    const run = `${folder}/run`;
    copyFolder(await partitioned(), run);
    await refuse("train-expert", ["--run", `${folder}/none`, "--expert", "0"], "run deno task partition");
    await refuse("train-dense", ["--run", `${folder}/none`], "run deno task partition");
    await refuse("train-expert", ["--run", run], "--expert must be one of 0 to 1, or all");
    await refuse("train-expert", ["--run", run, "--expert", "2"], "must be one of 0 to 1");
    await refuse("train-expert", ["--run", run, "--expert", "0", "--init", `${folder}/none`], "no such file");
    await refuse(
      "train-expert",
      ["--run", run, "--expert", "0", "--micro-batch", "3", ...BRIEF],
      "a multiple of the micro-batch",
    );

    const part = `${run}/partition/expert-00`;
    const shard = `${part}/train-00000.arrow`;
    const whole = await Deno.readFile(shard);
    const brief = ["--run", run, "--expert", "0", ...BRIEF];
    await Deno.writeFile(shard, whole.subarray(0, whole.length / 2));
    await refuse("train-expert", brief, "must be there, as it was made");
    const flipped = whole.slice();
    flipped[whole.length >> 1] ^= 1;
    await Deno.writeFile(shard, flipped);
    await refuse("train-expert", brief, "it must be as it was made");
    await Deno.writeFile(shard, whole);
    const manifest = await Deno.readTextFile(`${part}/manifest.json`);
    for (const [from, to] of [[/.*/s, "{"], [/"sequences": \d+/, '"sequences": 3']] as [RegExp, string][]) {
      await Deno.writeTextFile(`${part}/manifest.json`, manifest.replace(from, to));
      await refuse("train-expert", brief, "must be the manifest of a folder of a run");
    }
    await Deno.writeTextFile(`${part}/manifest.json`, manifest);
    const config = await Deno.readTextFile(`${run}/config.json`);
    await Deno.writeTextFile(`${run}/config.json`, config.replace(/"experts": 2/, '"experts": "many"'));
    await refuse("train-expert", ["--run", run, "--expert", "all"], "--experts as it must be an integer");
    await Deno.writeTextFile(`${run}/config.json`, config);
    for (const name of ["train-expert", "train-dense"]) {
      const args = name === "train-expert" ? ["--expert", "1"] : [];
      const { code, err } = await task(name, ["--run", run, ...args, ...BRIEF, "--adapter", "no such GPU"]);
      assertEquals(code, 2);
      assertStringIncludes(err, 'its name must hold "no such GPU"');
    }
    await Deno.remove(`${run}/tokenizer`, { recursive: true });
    const none = ["--run", run, "--expert", "1", ...BRIEF];
    await refuse("train-expert", none, "its tokenizer must be there");
  }));

Deno.test("--require-gpu stops with 2 where the adapter runs on the processor, before anything is made", {
  ignore: !SOFTWARE,
}, () =>
  inFolder(async (folder) => {
    const run = `${folder}/run`;
    copyFolder(await partitioned(), run);
    const before = await hashes(run);
    const { code, err } = await task("train-expert", [
      "--run",
      run,
      "--expert",
      "0",
      ...BRIEF,
      "--require-gpu",
    ]);
    assertEquals(code, 2, err);
    assertMatch(err, /one is required: the adapter obtained is "[^"]+", which runs on the processor/);
    assertStringIncludes(err, "deno task doctor tells what is wrong; leave --require-gpu out");
    assertEquals(await hashes(run), before);
  }));

Deno.test("a training tells which share of the measured roof it reaches, and dry runs and cost take the measurement", () =>
  inFolder(async (folder) => {
    const run = `${folder}/run`;
    copyFolder(await partitioned(), run);
    const { adapter } = await openGpu();
    const at = "2026-01-01T00:00:00.000Z";
    const figures = { gflops: 20, gbytes: 2, utilisation: 0.5, at };
    await Deno.writeTextFile(`${folder}/devices.json`, JSON.stringify({ [adapter]: figures }));
    const env = { SMALLTALK_CACHE: folder };
    const expert = ["--run", run, "--expert", "0", ...BRIEF];

    await Deno.remove(`${run}/metrics/timing.jsonl`); // else the rounds that are measured there say more
    const plan = await task("train-expert", [...expert, "--dry-run"], { env });
    assertStringIncludes(plan.out, `10.0 GFLOP/s, 50% of what "${adapter}" was measured to reach`, plan.err);
    const cost = await task("cost", ["--run", run], { env });
    assertStringIncludes(cost.out, `at 50% of it, as doctor measured "${adapter}"`, cost.err);
    const other = await task("cost", ["--run", run, "--flops", "1e12"], { env });
    assertStringIncludes(other.out, "time: on a device of 1.00e12 FLOP/s at 40% of it\n");

    const trained = await task("train-expert", [...expert, "--log", "json"], { env });
    assertEquals(trained.code, 0, trained.err);
    const lines = (await Deno.readTextFile(`${run}/metrics/timing.jsonl`)).trim().split("\n");
    const times = lines.map((line) => JSON.parse(line)).filter(({ step }) => step > 0);
    assert(times.length > 0);
    const model = { vocabulary: 300, hidden: 8, layers: 1, heads: 2, context: 32 };
    for (const { tokensPerSecond, utilisation } of times) {
      const flops = tokensPerSecond * trainingFlops(model, 1, 32) / 32;
      assert(Math.abs(utilisation / (flops / 20e9) - 1) < 1e-6, `${utilisation}, ${flops}`);
    }
    assertMatch(trained.err, /"utilisation":0\.\d/);
    assertFalse((await Deno.readTextFile(`${run}/experts/expert-00/metrics.jsonl`)).includes("utilisation"));
  }));
