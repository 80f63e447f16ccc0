/** Trains experts and dense baselines as a user does, in run folders. */
import { assert, assertEquals, assertNotEquals, assertStringIncludes } from "@std/assert";
import { loadCheckpoint, saveCheckpoint } from "../pipeline/model/checkpoints/checkpoint.ts";
import { openGpu } from "../kernels/device/gpu.ts";
import { exists } from "../pipeline/graph/files.ts";
import {
  copyFolder,
  flip,
  hashes,
  inFolder,
  lastOfEach,
  ok,
  refused,
  sendSignal,
  smallRunAt,
  task,
  taskCommand,
  taskHere,
} from "./tasks/support.ts";

/** Whether the adapter at hand runs on the processor. */
const SOFTWARE = await openGpu().then((gpu) => {
  gpu.close();
  return gpu.kind === "software";
});

/** Flags of a training that takes a second. */
const BRIEF = [
  ...["--expert-hidden", "8", "--expert-layers", "1", "--expert-heads", "2", "--expert-batch", "4"],
  ...["--expert-steps", "40", "--expert-warmup", "4", "--log-every", "3", "--validate-every", "8"],
];
const CHECKPOINTS = ["--checkpoint-every", "5"];

async function namesIn(folder: string): Promise<string[]> {
  return await exists(folder)
    ? (await Array.fromAsync(Deno.readDir(folder))).map(({ name }) => name)
    : [];
}

/**
 * Interrupts the training of an expert in the middle, and gives the step of the checkpoint that it
 * leaves.
 */
async function interrupt(run: string, args: string[], signal: Deno.Signal): Promise<number> {
  const child = taskCommand("train-expert", ["--run", run, ...args], { stdout: "null" }).spawn();
  const sizeOf = (path: string) => Deno.stat(path).then(({ size }) => size, () => 0);
  const isBegun = async () =>
    (await Promise.all(
      (await namesIn(`${run}/partial`)).map((name) =>
        sizeOf(`${run}/partial/${name}/metrics.jsonl`)
      ),
    )).some((size) => size > 0);
  while (!await isBegun()) await new Promise((resolve) => setTimeout(resolve, 5));
  sendSignal(child, signal);
  const { code, stderr } = await child.output();
  const err = new TextDecoder().decode(stderr);
  assertEquals(code, 130, err);
  const found: string[] = [];
  for (const name of await namesIn(`${run}/scratch`)) {
    found.push(...await namesIn(`${run}/scratch/${name}`));
  }
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
const succeed = (name: string, args: string[]) => ok(taskHere(name, lastOfEach(args)));

/** Runs a test in a folder with a copy of the partition, `run`. */
const inRun = (test: (run: string, folder: string) => Promise<void>) =>
  inFolder(async (folder) => {
    await smallRunAt(`${folder}/run`);
    await test(`${folder}/run`, folder);
  });

/** Trains a model, which must succeed, and gives what is printed of it. */
async function trained(name: string, run: string, ...args: string[]) {
  const { out } = await succeed(name, ["--run", run, ...BRIEF, "--json", ...args]);
  return JSON.parse(out).models[0];
}

/** Does a task in this process that must be refused, with a line that holds `text`. */
const refuse = (name: string, args: string[], text: string) =>
  refused(taskHere(name, lastOfEach(args)), text);

Deno.test("two processes that train all experts share them, and both end with all of them trained", () =>
  inRun(async (run, folder) => {
    const alone = `${folder}/alone`;
    copyFolder(run, alone);
    const args = (run: string) => ["--run", run, "--expert", "all", ...BRIEF];
    const both = await Promise.all([
      task("train-expert", args(run)),
      task("train-expert", args(run)),
    ]);
    for (const name of ["train-expert-00", "train-expert-01"]) {
      const started = both.flatMap(({ err }) =>
        err.match(new RegExp(`${name} +started`, "g")) ?? []
      );
      assertEquals(started.length, 1, both.map(({ err }) => err).join("\n"));
    }
    assertEquals(both[0].out, both[1].out);
    await succeed("train-expert", args(alone));
    const models = async (run: string) =>
      Object.entries(await hashes(run)).filter(([path]) => path.startsWith("experts/"));
    assertEquals(await models(run), await models(alone));
  }));

Deno.test("a Switch Transformer in bf16, killed after checkpoints and run again, ends with the bytes of an undisturbed one", () =>
  inRun(async (run, folder) => {
    const undisturbed = `${folder}/undisturbed`;
    copyFolder(run, undisturbed);
    const numbers = ["--switch-capacity", "1", "--dtype", "bf16"];
    const flags = [...numbers, ...BRIEF, "--expert-steps", "40", ...CHECKPOINTS];
    const args = (run: string) => ["--run", run, ...flags];
    await succeed("train-switch", args(undisturbed));
    const expected = await kept(undisturbed);
    for (const name of ["model.safetensors", "metrics.jsonl"]) {
      assert(`switch/${name}` in expected, name);
    }
    const checkpoints = async () => {
      const [folder] = await namesIn(`${run}/scratch`);
      return folder === undefined ? [] : await namesIn(`${run}/scratch/${folder}`);
    };
    const goesOn = "goes on after step";
    // Recomputation takes other memory, to the same bits.
    for (const [i, more] of [[], ["--recompute"]].entries()) {
      const before = await checkpoints();
      const child = taskCommand("train-switch", [...args(run), ...more], { stdout: "null" })
        .spawn();
      let isOver = false;
      const ending = child.output().finally(() => isOver = true);
      const isNew = (name: string) => name.endsWith(".safetensors") && !before.includes(name);
      while (!isOver && !(await checkpoints()).some(isNew)) {
        await new Promise((resolve) => setTimeout(resolve, 2));
      }
      sendSignal(child, "SIGKILL");
      const { signal, stderr } = await ending;
      assertEquals(signal, "SIGKILL", "the training ended before its kill");
      assertEquals(new TextDecoder().decode(stderr).includes(goesOn), i > 0);
    }
    assertStringIncludes((await succeed("train-switch", args(run))).err, goesOn);
    assertEquals(await kept(run), expected);
  }));

Deno.test("train-expert skips what is up to date, refuses other values, and makes again what is damaged", () =>
  inRun(async (run) => {
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
    await flip(`${run}/${model}`);
    assertStringIncludes(
      (await succeed("train-expert", ["--run", run, "--expert", "1"])).err,
      "up to date",
    );
    await succeed("train-expert", ["--run", run, "--expert", "1", "--check"]);
    assertEquals(await kept(run), before);

    await succeed("train-expert", [...other, "--force"]);
    const after = await kept(run);
    const first = "experts/expert-00/model.safetensors";
    assertNotEquals(after[first], before[first]);
    assertEquals(after[model], before[model]);
    // The other expert keeps what it was trained with until asked otherwise.
    const then = ["--run", run, "--expert", "1"];
    await refuse("train-expert", then, "trained with another rate: 0.003 then, 0.1 now");
    const uneven = await succeed("evaluate", ["--run", run, "--resamples", "10"]);
    assertStringIncludes(
      uneven.err,
      "warning: experts were trained with different rate: 0.1, 0.003",
    );
  }));

Deno.test("train-expert writes the weights as f16 or bf16 and starts from a checkpoint", () =>
  inRun(async (run, folder) => {
    const expert = `${run}/experts/expert-00`;
    const one = ["--expert", "0", "--force"];
    const firstLoss = async () =>
      JSON.parse((await Deno.readTextFile(`${expert}/metrics.jsonl`)).split("\n")[0]).loss;
    const sizes: Record<string, number> = {};
    for (const [dtype, name] of [["f32", "float32"], ["f16", "float16"], ["bf16", "bfloat16"]]) {
      await trained("train-expert", run, ...one, "--save-dtype", dtype);
      sizes[dtype] = (await Deno.stat(`${expert}/model.safetensors`)).size;
      assertEquals(JSON.parse(await Deno.readTextFile(`${expert}/config.json`)).torch_dtype, name);
    }
    assert(Math.abs(sizes.f16 - sizes.bf16) < 100); // headers alone differ
    assert(sizes.f16 < 0.6 * sizes.f32);

    // Going on from trained weights, the first loss is near the last one before, far below that of
    // new weights.
    const [init, untied, loss] = [`${folder}/init`, `${folder}/untied`, await firstLoss()];
    copyFolder(expert, init);
    // A head that is stored apart and equals the embedding is left out.
    const export_ = ["--run", run, "--to", "safetensors", "--expert", "0"];
    await succeed("export", [...export_, "--untie", "--output", untied]);
    const models: Uint8Array[] = [];
    for (const from of [init, untied]) {
      await trained("train-expert", run, ...one, "--init", from);
      assert(await firstLoss() < loss - 0.5);
      models.push(await Deno.readFile(`${expert}/model.safetensors`));
    }
    assertEquals(models[0], models[1]);
    const wider = ["--run", run, ...one, "--init", init, "--expert-hidden", "16"];
    await refuse(
      "train-expert",
      wider,
      "hidden must be that of the model to train: there it is 8, here it is 16",
    );
  }));

Deno.test("train-expert trains in bf16 where reported, and refuses to go on in other numbers", () =>
  inRun(async (run) => {
    const one = ["--run", run, "--expert", "0"];
    await succeed("train-expert", [...one, ...BRIEF, "--dtype", "bf16"]);
    assertEquals(
      JSON.parse(await Deno.readTextFile(`${run}/config.json`)).configuration.dtype,
      "bf16",
    );
    assertStringIncludes((await succeed("train-expert", one)).err, "up to date");
    await refuse("train-expert", [...one, "--dtype", "f32"], "--dtype must be what");
    const model = `${run}/experts/expert-00/model.safetensors`;
    const before = await Deno.readFile(model);
    await succeed("train-expert", ["--run", run, "--expert", "1", "--dtype", "f32", "--force"]);
    await refuse("train-expert", one, 'trained with another dtype: "bf16" then, "f32" now');
    const { out } = await succeed("status", ["--run", run]);
    assertStringIncludes(out, `next: deno task train-expert --run ${run} --expert 0 --force`);
    await succeed("train-expert", [...one, "--force"]);
    assertNotEquals(await Deno.readFile(model), before);
  }));

Deno.test("train-expert keeps the checkpoints of another adapter, or of other variants of kernels, until reported", () =>
  inRun(async (run) => {
    const step = await interrupt(
      run,
      ["--expert", "0", ...BRIEF, "--expert-steps", "200"],
      "SIGINT",
    );
    const before = await hashes(run);
    const args = ["--run", run, "--expert", "0"];
    for (const wish of ["attention=query", "rows=invocation", "matmul=registers"]) { // in no adapter's table together
      const with_ = `its checkpoint of step ${step} was made with other variants`;
      await refuse("train-expert", [...args, "--variants", wish], with_);
      assertEquals(await hashes(run), before);
    }
    // Lavapipe then has another name, and other kernels.
    const other = { env: { LP_NATIVE_VECTOR_WIDTH: "128" } };
    const refused = await task("train-expert", args, other);
    if (!SOFTWARE && refused.code === 0) return; // the variable concerns lavapipe alone
    assertEquals(refused.code, 2, refused.err);
    assertStringIncludes(
      refused.err,
      `its checkpoint of step ${step} was made with another adapter`,
    );
    assertEquals(await hashes(run), before);
    const { out } = await ok(task("train-expert", [...args, "--resume", "--json"], other));
    assertEquals(JSON.parse(out).models[0].resumed.map(({ step }: { step: number }) => step), [
      step,
    ]);
  }));

Deno.test("train-expert stops at a loss that is no number and reports how to go on; --resume goes on with another rate", () =>
  inRun(async (run, folder) => {
    const args = ["--run", run, "--expert", "0", ...BRIEF];
    await succeed("train-expert", args);
    const { config, weights, notes } = await loadCheckpoint(`${run}/experts/expert-00`);
    weights.get("gpt_neox.embed_in.weight")!.fill(3e38);
    await saveCheckpoint(`${folder}/huge`, config, weights, notes);
    const diverged = await taskHere("train-expert", [
      ...args,
      "--init",
      `${folder}/huge`,
      "--force",
    ]);
    assertEquals(diverged.code, 1);
    const error = diverged.err.trim().split("\n").at(-1)!;
    for (const part of ["must be finite", "at step 1 of expert-00"]) {
      assertStringIncludes(error, part);
    }
    const command = `deno task train-expert --run ${run} --expert 0 --expert-rate 0.0015 --force`;
    assertStringIncludes(error, command);

    const longer = ["--expert", "0", ...BRIEF, "--expert-steps", "200", "--init", "", "--force"];
    const step = await interrupt(run, longer, "SIGINT");
    const resume = ["--run", run, "--expert", "0", "--expert-rate", "0.0015", "--resume", "--json"];
    const settings = await Deno.readTextFile(`${run}/config.json`);
    await Deno.writeTextFile(`${run}/config.json`, settings.replace("0.003", "0.004"));
    await refuse("train-expert", resume, "it must be what the run wrote, by its checksum");
    await Deno.writeTextFile(`${run}/config.json`, settings);
    const resumed = await succeed("train-expert", resume);
    assertStringIncludes(resumed.err, `goes on after step ${step} of 200`);
    assertEquals(JSON.parse(resumed.out).models[0].resumed[0].step, step);
    const steps = (await Deno.readTextFile(`${run}/experts/expert-00/metrics.jsonl`)).trim().split(
      "\n",
    )
      .map((line) => JSON.parse(line).step);
    assertEquals(steps, [...new Set(steps)].sort((a, b) => a - b));
  }));

Deno.test("train-expert and train-dense name what is missing, damaged or does not fit", () =>
  inRun(async (run, folder) => {
    const of = (
      expert: string,
      ...more: string[]
    ) => ["--run", run, "--expert", expert, ...BRIEF, ...more];
    const part = `${run}/partition/expert-00`;
    const cases: [
      text: string,
      args: string[],
      damaged?: string,
      change?: (path: string) => Promise<unknown>,
    ][] = [
      ["--expert must be one of 0 to 1, or all", ["--run", run]],
      ["must be one of 0 to 1", of("2")],
      ["run deno task partition", ["--run", `${folder}/none`, "--expert", "0"]],
      ["no such file", of("0", "--init", `${folder}/none`)],
      ["a multiple of --micro-batch", of("0", "--micro-batch", "3")],
      ['its name must hold "no such GPU"', of("0", "--adapter", "no such GPU")],
      [
        "must be there, as it was made",
        of("0"),
        `${part}/train-00000.arrow`,
        (path) => Deno.truncate(path, 9),
      ],
      ["it must be as it was made", of("0"), `${part}/train-00000.arrow`, flip],
      ["must be the manifest of a folder of a run", of("0"), `${part}/manifest.json`, flip],
    ];
    for (const [text, args, path, change] of cases) {
      const before = path && await Deno.readFile(path);
      if (path) await change!(path);
      await refuse("train-expert", args, text);
      if (path) await Deno.writeFile(path, before as Uint8Array);
    }
    await refuse("train-dense", ["--run", `${folder}/none`], "run deno task partition");
    await Deno.remove(`${run}/tokenizer`, { recursive: true });
    await refuse("train-expert", of("1"), "its tokenizer must be there");
  }));

Deno.test(
  "--require-gpu stops with 2 where the adapter runs on the processor, before anything is made",
  {
    ignore: !SOFTWARE,
  },
  () =>
    inRun(async (run) => {
      const before = await hashes(run);
      const args = ["--run", run, "--expert", "0", ...BRIEF, "--require-gpu"];
      const err = await refused(
        taskHere("train-expert", args),
        "one is required: the adapter obtained is ",
      );
      assertStringIncludes(err, ", which runs on the processor");
      assertStringIncludes(err, "deno task doctor tells what is wrong; leave --require-gpu out");
      assertEquals(await hashes(run), before);
    }),
);
