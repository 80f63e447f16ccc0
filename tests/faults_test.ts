import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { exists } from "../pipeline/graph/files.ts";
import { uniform } from "../pipeline/random.ts";
import { IGNORED, readCounts, withFaults } from "./faults/faults.ts";
import {
  execute,
  inFolder,
  lastOfEach,
  ok,
  sendSignal,
  SMALL,
  smallCorpus,
  smallRunAt,
  task,
  taskCommand,
  taskHere,
  trainingFlags,
  whatIsMade,
} from "./tasks/support.ts";

/** Times as many losses: `deno task test:faults` takes more. */
const TIMES = Number(Deno.env.get("SMALLTALK_LOSSES") ?? 1);
/** The tasks of a run, and how often each loses its device. */
const STEPS: [name: string, losses: number, args: string[]][] = [
  ["partition", 3, lastOfEach([...SMALL, "--holdout", "0.3"])],
  ["train-expert", 2, ["--expert", "all", ...trainingFlags(30), "--checkpoint-every", "7"]],
  ["evaluate", 1, ["--resamples", "50"]],
];
const SEED = Number(Deno.env.get("SMALLTALK_SEED") ?? 1);
const MIB = 2 ** 20;
const KINDS = ["wait", "submit", "query"] as const;

/** What Deno prints where its wait for a lost device ends the process. */
const ABORT = /Deno has panicked[\s\S]*ext\/webgpu\/\w+\.rs[\s\S]*Lost/;

Deno.test(
  "tasks that lose their device at random moments end with 1 and words, and what follows gives the bytes of an undisturbed run",
  {
    ignore: IGNORED,
  },
  () =>
    inFolder(async (folder) => {
      await Deno.writeTextFile(`${folder}/docs.jsonl`, smallCorpus());
      const endings = { abort: 0, error: 0 };
      for (const [name, losses, own] of STEPS) {
        const input = name === "partition" ? ["--input", `${folder}/docs.jsonl`] : [];
        const argsIn = (run: string) => ["--run", `${folder}/${run}`, ...input, ...own];
        const counts = `${folder}/${name}.json`;
        await ok(task(name, argsIn("undisturbed"), { env: withFaults({ counts }) }));
        const all = await readCounts(counts);
        let lost = 0;
        for (let trial = 0; trial < 4 * TIMES * losses && lost < TIMES * losses; trial++) {
          const kind = KINDS[trial % KINDS.length];
          const most = all[kind];
          const at = 1 + Math.floor(most * uniform(SEED, `${name} loses its device`, trial));
          const { code, err } = await task(name, argsIn("disturbed"), {
            env: withFaults({ [kind]: at }),
          });
          if (code === 0) continue; // less was left to do
          lost++;
          const where = `${name}, ${kind} ${at}: ${err}`;
          assertEquals(code, 1, where);
          if (ABORT.test(err)) endings.abort++;
          else {
            endings.error++;
            assertMatch(err, /^error: .*lost its device.*(again|goes on from there)/m, where);
          }
        }
        await ok(taskHere(name, argsIn("disturbed")));
      }
      assert(endings.abort > 0 && endings.error > 0, JSON.stringify(endings));
      console.log(
        `${endings.error} losses that a task explained, ${endings.abort} that ended Deno`,
      );
      assertEquals(
        await whatIsMade(`${folder}/disturbed`),
        await whatIsMade(`${folder}/undisturbed`),
      );
    }),
);

Deno.test(
  "deno task submit begins a job again whose device was lost in a wait, to the same bytes",
  {
    ignore: IGNORED || TIMES === 1,
  },
  () =>
    inFolder(async (folder) => {
      await Deno.writeTextFile(`${folder}/docs.jsonl`, smallCorpus());
      const argsIn = (run: string) => [
        ...["--run", `${folder}/${run}`, "--input", `${folder}/docs.jsonl`, ...SMALL],
        ...[...trainingFlags(12), "--executor", "local", "--jobs", "1", "--dense", "none"],
      ];
      await ok(task("submit", argsIn("undisturbed")));
      const env = withFaults({ wait: 9, once: `${folder}/lost` });
      const { err } = await ok(task("submit", argsIn("disturbed"), { env }));
      assertStringIncludes(
        err,
        "ended with exit code 1 (its device was lost) at no checkpoint: goes on",
      );
      assertEquals(
        await whatIsMade(`${folder}/disturbed`),
        await whatIsMade(`${folder}/undisturbed`),
      );
    }),
);

Deno.test("a server whose submit loses the device refuses a request, and answers the next one", {
  ignore: IGNORED,
}, () =>
  inFolder(async (folder) => {
    const { run } = await smallRunAt(`${folder}/run`);
    await ok(taskHere("train-expert", ["--run", run, "--expert", "all", ...trainingFlags(4)]));
    const env = withFaults({ submit: 20, once: `${folder}/lost` });
    const server = taskCommand("serve", ["--run", run, "--port", "0", "--json"], { env }).spawn();
    try {
      const lines = server.stdout.pipeThrough(new TextDecoderStream());
      let printed = "";
      for await (const text of lines.values({ preventCancel: true })) {
        if (/\}\s*$/.test(printed += text)) break;
      }
      const { url } = JSON.parse(printed);
      const statuses: number[] = [];
      for (let i = 0; i < 12; i++) {
        const answer = await fetch(`${url}/v1/completions`, {
          method: "POST",
          headers: { "content-type": "application/json" },
          body: JSON.stringify({ prompt: "sail wave", max_tokens: 12 }),
        });
        statuses.push(answer.status);
        await answer.text();
      }
      assert(await exists(`${folder}/lost`), "the device was not lost");
      assertEquals([...new Set(statuses)].sort(), [200, 503], String(statuses));
      assertEquals(statuses.at(-1), 200, String(statuses));
    } finally {
      sendSignal(server, "SIGKILL");
      await server.status;
    }
  }));

Deno.test("a driver that refuses single buffers beyond 230 MiB grants more in sum, and tells so", {
  ignore: IGNORED,
}, async () => {
  const script = `
    import { openGpu } from "${import.meta.resolve("../kernels/device/gpu.ts")}";
    const gpu = await openGpu();
    const most = await gpu.largestBuffer(2 ** 30);
    console.log(JSON.stringify([most, await gpu.allocatable(2 ** 30)]));
  `;
  const [most, sum] = JSON.parse(await scriptOutput(script, withFaults({ largest: 230 * MIB })));
  assert(most > 220 * MIB && most <= 230 * MIB, `${most / MIB} MiB`);
  assertEquals(sum, 1024 * MIB);
});

Deno.test("a budget of memory that shrinks under a device is named as what may have lost it", {
  ignore: IGNORED,
}, async () => {
  const script = `
    import { openGpu } from "${import.meta.resolve("../kernels/device/gpu.ts")}";
    const gpu = await openGpu();
    const arena = gpu.arena();
    try {
      for (let i = 0; i < 100; i++) {
        arena.buffer("x" + i, ${16 * MIB});
        await gpu.read([{ buffer: gpu.empty }]);
      }
      console.log("it was never lost");
    } catch (error) { console.log(error.message); }
  `;
  const said = await scriptOutput(script, withFaults({ budget: 512 * MIB, shrink: 4 * MIB }));
  const words = {
    lost: /lost its device.*run the same again.*taken the card or its memory/,
    memory: /too little memory.*end what else uses the card/,
  };
  assert(words.lost.test(said) || words.memory.test(said), said);
});

/** Runs a script in a process of its own, and gives what it prints. */
async function scriptOutput(script: string, env: Record<string, string>): Promise<string> {
  const args = ["eval", "--no-check", script];
  const { code, out, err } = await execute(Deno.execPath(), args, {
    env: { ...env, DENO_WEBGPU_BACKEND: "vulkan" },
  });
  assertEquals(code, 0, err);
  return out;
}
