import { assert, assertEquals, assertFalse, assertMatch, assertStringIncludes } from "@std/assert";
import { listCheckpoints } from "../pipeline/training/resume.ts";
import {
  hashes,
  inFolder,
  lastOfEach,
  ok,
  sendSignal,
  SMALL,
  smallCorpus,
  smallRunAt,
  taskCommand,
  taskHere,
  trainingFlags,
} from "./tasks/support.ts";

const MOST_MS = 30_000; // two seconds on a machine that is not busy: only what hangs fails here
const SIGNALS = ["SIGTERM", "SIGHUP", "SIGINT"] as const;

/**
 * Starts a task, sends it a signal once it says that a stage has started, and gives its exit code,
 * what it said and how long that took.
 */
async function interrupt(name: string, args: string[], stage: string, signal: Deno.Signal) {
  const child = taskCommand(name, args, { stdout: "null" }).spawn();
  let [err, sent] = ["", 0];
  for await (const text of child.stderr.pipeThrough(new TextDecoderStream())) {
    err += text;
    if (sent > 0 || !new RegExp(`^(?:\\S+Z )?${stage} +started`, "m").test(err)) continue;
    sent = performance.now();
    sendSignal(child, signal);
  }
  const { code } = await child.status;
  return { code, err, milliseconds: performance.now() - sent, sent: sent > 0 };
}

Deno.test("a signal in the middle of any stage ends a task with 130 soon, and what follows gives the same bytes", () =>
  inFolder(async (folder) => {
    await Deno.writeTextFile(`${folder}/docs.jsonl`, smallCorpus(150));
    const partition = [
      "--input",
      `${folder}/docs.jsonl`,
      ...SMALL,
      "--rounds",
      "8",
      "--holdout",
      "0.2",
    ];
    const training = [...trainingFlags(60), "--expert-warmup", "2", "--checkpoint-every", "25"];
    const tasks: [string, string[], string[]][] = [
      ["partition", partition, ["tokenize", "train-routers", "split"]],
      ["train-expert", ["--expert", "0", ...training], ["train-expert-00"]],
      ["train-expert", ["--expert", "1", ...training], []],
      ["evaluate", [], ["evaluate"]],
    ];
    let sent = 0;
    for (const [name, args, stages] of tasks) {
      for (const run of [`${folder}/undisturbed`, `${folder}/disturbed`]) {
        for (const stage of run.endsWith("/disturbed") ? stages : []) {
          const signal = SIGNALS[sent++ % 3];
          const outcome = await interrupt(name, ["--run", run, ...args], stage, signal);
          assert(outcome.sent, `${stage} did not start: ${outcome.err}`);
          assertEquals(outcome.code, 130, `${signal} in ${stage}: ${outcome.err}`);
          assert(
            outcome.milliseconds < MOST_MS,
            `${signal} in ${stage} took ${outcome.milliseconds} ms`,
          );
          assertStringIncludes(
            outcome.err,
            "interrupted: run the same command again to continue\n",
          );
          assertFalse(/^\s+at /m.test(outcome.err), outcome.err);
        }
        await ok(taskHere(name, lastOfEach(["--run", run, ...args])));
      }
    }
    assertEquals(await hashes(`${folder}/disturbed`), await hashes(`${folder}/undisturbed`));
  }));

Deno.test("a signal while the tokenizer is trained on long words ends it", () =>
  inFolder(async (folder) => {
    let state = 5;
    const letter = () =>
      String.fromCharCode(97 + ((state = (Math.imul(state, 1103515245) + 12345) >>> 0) >>> 8) % 26);
    const words = Array.from({ length: 400 }, () => Array.from({ length: 9000 }, letter).join(""));
    await Deno.writeTextFile(`${folder}/long.txt`, words.join(" "));
    const args = ["--input", `${folder}/long.txt`, "--run", `${folder}/run`, ...SMALL];
    const child = taskCommand("partition", args, { stdout: "null" }).spawn();
    while (!await Deno.stat(`${folder}/run/config.json`).catch(() => null)) {
      await new Promise((done) => setTimeout(done, 20));
    }
    await new Promise((done) => setTimeout(done, 1000)); // it is at work now, for minutes
    const start = performance.now();
    child.kill("SIGTERM");
    const { code, stderr } = await child.output();
    const milliseconds = performance.now() - start;
    assertEquals(code, 130, new TextDecoder().decode(stderr));
    assert(milliseconds < MOST_MS, `it took ${milliseconds} ms`);
  }));

Deno.test("a signal in the middle of a long step lets it end, and saves it", () =>
  inFolder(async (folder) => {
    const run = ["--run", (await smallRunAt(`${folder}/run`)).run];
    const large = [
      "--expert-hidden",
      "256",
      "--expert-layers",
      "2",
      "--expert-heads",
      "4",
      "--expert-batch",
    ];
    const args = [
      ...run,
      "--expert",
      "0",
      ...large,
      "48",
      "--micro-batch",
      "8",
      "--checkpoint-every",
      "0",
    ];
    const stopped = await interrupt("train-expert", args, "train-expert-00", "SIGTERM");
    assertEquals(stopped.code, 130, stopped.err);
    const [{ name }] = Deno.readDirSync(`${folder}/run/scratch`);
    const [path] = await listCheckpoints(`${folder}/run/scratch/${name}`);
    assertMatch(path, /step-0000000[1-9]\.safetensors$/, stopped.err);
  }));
