import { assert, assertEquals } from "@std/assert";
import { exists, filesUnder, listEntries } from "../pipeline/graph/files.ts";
import {
  inFolder,
  lastOfEach,
  readManifests,
  sendSignal,
  SMALL,
  smallCorpus,
  taskCommand,
  taskHere,
  trainingFlags,
  whatIsMade,
  writeQuestions,
} from "./tasks/support.ts";

const BRIEF = trainingFlags(30);
/** Times as many kills: `deno task test:long` takes more. */
const TIMES = Number(Deno.env.get("SMALLTALK_KILLS") ?? 1);
/** The tasks of a run, and how often each is killed. */
const STEPS: [name: string, kills: number, args: string[]][] = [
  // A dozen blocks.
  ["partition", 4, lastOfEach([...SMALL, "--holdout", "0.3", "--block-bytes", "4096"])],
  // Routers are of GPT-NeoX's shape.
  ["train-expert", 2, [
    ...["--expert", "all", ...BRIEF, "--checkpoint-every", "7"],
    ...["--expert-architecture", "llama", "--expert-kv-heads", "1"],
  ]],
  // Which is trained as experts are.
  ...TIMES > 1 ? [["train-dense", 1, []] as [string, number, string[]]] : [],
  ["evaluate", 1, ["--resamples", "50"]],
  ["zero-shot", 1, ["--task", "arc_easy", "--resamples", "50"]],
  ["report", 1, []],
];

/** Calls `body` with the command line of every task of a run, in their order. */
async function eachStep(
  folder: string,
  run: string,
  body: (name: string, args: string[], kills: number) => Promise<void>,
): Promise<void> {
  for (const [name, kills, args] of STEPS) {
    const read = {
      partition: ["--input", `${folder}/docs.jsonl`],
      "zero-shot": ["--data", `${folder}/data`],
    };
    await body(name, ["--run", run, ...read[name as keyof typeof read] ?? [], ...args], kills);
  }
}

const NEVER = 600_000;

/**
 * Starts a task and kills it after some milliseconds unless it has ended by then; says whether it
 * was killed. It must not fail.
 */
async function killAfter(name: string, args: string[], after: number): Promise<boolean> {
  const child = taskCommand(name, args, { stdout: "null" }).spawn();
  const timer = setTimeout(() => sendSignal(child, "SIGKILL"), after);
  const { code, signal, stderr } = await child.output();
  clearTimeout(timer);
  assert(code === 0 || signal === "SIGKILL", `${name}: ${new TextDecoder().decode(stderr)}`);
  return signal === "SIGKILL";
}

/** Runs a task to its end. */
async function complete(name: string, args: string[]): Promise<void> {
  const { code, err } = await taskHere(name, args);
  assertEquals(code, 0, `${name}: ${err}`);
}

/**
 * Cleans a run of what kills have left, which are no checkpoints, and compares it with an
 * undisturbed one.
 */
async function checkMade(run: string, expected: Record<string, string>): Promise<void> {
  assertEquals(await listEntries(`${run}/scratch`), []);
  await complete("clean", ["--run", run]);
  assertEquals(await Array.fromAsync(filesUnder(`${run}/partial`)), []);
  assertEquals(await bytesMade(run), expected);
}

/**
 * Tells what a run holds, of its manifests every byte, and whether it notes the files it saw. It
 * leaves out the report, which holds times.
 */
async function bytesMade(run: string): Promise<Record<string, string>> {
  const manifests = Object.entries(await readManifests(run));
  const bytes: Record<string, string> = {
    ...await whatIsMade(run),
    ...Object.fromEntries(manifests.filter(([folder]) => !folder.startsWith("report/"))),
  };
  bytes["text/files.json"] = String(await exists(`${run}/text/files.json`));
  return bytes;
}

/** Takes away every lock of a run as soon as somebody has it, until it is stopped. */
function withoutLocks(run: string): () => void {
  const timer = setInterval(() => {
    try {
      for (const { name } of Deno.readDirSync(`${run}/locks`)) {
        Deno.removeSync(`${run}/locks/${name}`);
      }
    } catch {
      // There is none, or its owner has just removed it.
    }
  }, 3);
  return () => clearInterval(timer);
}

/**
 * Checks that what stands under its name is whole. The GPU's name is still to come in config.json.
 */
async function checkWhole(
  run: string,
  expected: Record<string, string>,
  when: string,
): Promise<void> {
  for (const [path, hash] of Object.entries(await whatIsMade(run).catch(() => ({})))) {
    if (path in expected && path !== "config.json") {
      assertEquals(hash, expected[path], `${path} ${when}`);
    }
  }
}

Deno.test("all tasks of a run killed at random moments, with locks and without, give the bytes of an undisturbed one", () =>
  inFolder(async (folder) => {
    await Deno.writeTextFile(`${folder}/docs.jsonl`, smallCorpus());
    writeQuestions(`${folder}/data`);
    const durations = new Map<string, number>();
    await eachStep(folder, `${folder}/undisturbed`, async (name, args) => {
      const start = performance.now();
      await killAfter(name, args, NEVER); // in a process, as it takes longer there
      durations.set(name, performance.now() - start);
    });
    const expected = await bytesMade(`${folder}/undisturbed`);
    assertEquals(Object.keys(expected).filter((path) => path.includes(".partial")), []);

    let killed = 0;
    const killedRun = `${folder}/killed`;
    await eachStep(folder, killedRun, async (name, args, kills) => {
      for (let kill = 0; kill < TIMES * kills; kill++) {
        const after = durations.get(name)! * (0.2 + 0.7 * Math.random());
        if (await killAfter(name, args, after)) killed++;
        await checkWhole(killedRun, expected, `after ${name} was killed after ${after} ms`);
      }
      await complete(name, args);
    });
    await checkMade(killedRun, expected);
    assert(killed > 0, "no task was killed before its end");

    const unlocked = `${folder}/unlocked`;
    const stop = withoutLocks(unlocked);
    await eachStep(folder, unlocked, async (name, args) => {
      const after = durations.get(name)! * (0.5 + Math.random());
      const both = await Promise.allSettled([
        killAfter(name, args, NEVER),
        killAfter(name, args, after),
      ]);
      for (const one of both) if (one.status === "rejected") throw one.reason;
    });
    stop();
    await checkMade(unlocked, expected);
    await complete("verify", [unlocked]);
  }));

Deno.test("a derivation killed at random moments gives the bytes of an undisturbed one", {
  ignore: TIMES === 1,
}, () =>
  inFolder(async (folder) => {
    for (const name of ["old", "new"]) {
      await Deno.writeTextFile(`${folder}/${name}.jsonl`, smallCorpus(name === "old" ? 48 : 20));
    }
    const from = `${folder}/a`;
    const run = ["--run", from];
    const text = ["--input", `${folder}/old.jsonl`, "--block-bytes", "4096"];
    await complete("partition", [...run, ...text, ...SMALL]);
    await complete("train-expert", [...run, "--expert", "all", ...BRIEF]);
    const before = await whatIsMade(from);
    const changes = [
      ...[["--forget-source", "code"], ["--add", `${folder}/new.jsonl`]],
      ...[["--drop-expert", "1"], ["--split-expert", "0"]],
    ];
    for (const [i, change] of changes.entries()) {
      const args = (name: string) => ["--from", from, "--run", `${folder}/${name}-${i}`, ...change];
      const start = performance.now();
      await killAfter("derive", args("undisturbed"), NEVER);
      const time = performance.now() - start;
      // A certificate names the other runs that derive from the same one.
      await Deno.remove(`${from}/metrics/descendants.jsonl`);
      for (let kill = 0; kill < 2 * TIMES; kill++) {
        await killAfter("derive", args("killed"), time * (0.1 + 0.8 * Math.random()));
      }
      await complete("derive", args("killed"));
      await checkMade(`${folder}/killed-${i}`, await bytesMade(`${folder}/undisturbed-${i}`));
    }
    assertEquals(await whatIsMade(from), before);
  }));
