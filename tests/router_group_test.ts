import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { exists } from "../pipeline/run/files.ts";
import { hashes, inFolder, SMALL, smallCorpus, task, taskCommand } from "./tasks/support.ts";

const PARTITION = [...SMALL, "--experts", "4"];

/** Trains one member of a group to its end. */
const member = (run: string, place: string, ...more: string[]) =>
  task("train-routers", ["--run", run, "--group", place, ...more]);

/** Hashes a run without the plan of its jobs, which it was given its settings by. */
async function made(run: string): Promise<Record<string, string>> {
  const { ["jobs/plan.json"]: _plan, ...rest } = await hashes(run);
  return rest;
}

Deno.test("groups of two and of three processes, one of them killed, train the routers of one process", () =>
  inFolder(async (folder) => {
    await Deno.writeTextFile(`${folder}/docs.jsonl`, smallCorpus());
    const [whole, run] = [`${folder}/whole`, `${folder}/run`];
    const settings = ["--input", `${folder}/docs.jsonl`, ...PARTITION];
    for (
      const [name, ...args] of [
        ["partition", "--run", whole, ...settings],
        ["submit", "--settle", "--run", run, ...settings],
        ...["corpus", "tokenizer", "tokenize"].map((name) => [name, "--run", run]),
      ]
    ) {
      const { code, err } = await task(name, args);
      assertEquals(code, 0, err);
    }
    for (const size of [2, 3]) {
      const last = size - 1;
      const others = Array.from({ length: last }, (_, index) => member(run, `${index}/${size}`));
      const killed = taskCommand("train-routers", ["--run", run, "--group", `${last}/${size}`]).spawn();
      const first = `${run}/partitioner/group/state-${last}-of-${size}.safetensors`;
      while (!await exists(first)) await new Promise((done) => setTimeout(done, 20));
      killed.kill("SIGKILL");
      await killed.output();
      const again = await member(run, `${last}/${size}`);
      for (const { code, err } of [again, ...await Promise.all(others)]) assertEquals(code, 0, err);
      assertMatch(
        again.out,
        new RegExp(`for member ${last} of ${size}, after round 3: once all members are complete`),
      );
      const closed = await task("partition", ["--run", run]);
      assertEquals(closed.code, 0, closed.err);
      assertEquals(await made(run), await hashes(whole));
      assertStringIncludes((await member(run, `0/${size}`)).out, "as for all others");
      if (size === 2) {
        for (const gone of ["manifests/train-routers.json", "partitioner/state.safetensors"]) {
          await Deno.remove(`${run}/${gone}`);
        }
      }
    }
  }));

Deno.test("a group names who is missing, and refuses what cannot be one", () =>
  inFolder(async (folder) => {
    await Deno.writeTextFile(`${folder}/docs.jsonl`, smallCorpus());
    const run = `${folder}/run`;
    const input = ["--input", `${folder}/docs.jsonl`];
    assertEquals((await task("partition", ["--run", run, ...input, ...PARTITION])).code, 0);
    await Deno.remove(`${run}/manifests/train-routers.json`);
    await Deno.remove(`${run}/partitioner/state.safetensors`);
    const before = await hashes(run);
    for (
      const [place, what] of [
        ["4/4", '--group must be K/N with 0 <= K < N: it is "4/4"'],
        ["0/5", "there may be at most 4 parts: there are 5"],
      ]
    ) {
      const { code, err } = await member(run, place);
      assertEquals(code, 2, err);
      assertStringIncludes(err, what);
    }
    assertEquals(await hashes(run), before);
    const { code, err } = await member(run, "1/2", "--patience", "1");
    assertEquals(code, 130, err);
    assertStringIncludes(err, "round 1 of member 0 of 2, which nobody runs: it is started with --group 0/2");
    assertStringIncludes(err, "interrupted: run the same command again to continue");
    const waiting = taskCommand("train-routers", ["--run", run, "--group", "1/2"]).spawn();
    while (!await exists(`${run}/locks/train-routers-1-of-2.json`)) {
      await new Promise((done) => setTimeout(done, 20));
    }
    for (const place of ["1/2", "0/3"]) assert((await member(run, place)).code === 1);
    waiting.kill("SIGTERM");
    await waiting.output();

    const other = [...input, ...PARTITION, "--partitioner", "random"];
    assertEquals((await task("partition", ["--run", `${folder}/random`, ...other])).code, 0);
    const refused = await task("train-routers", ["--run", `${folder}/random`, "--group", "0/2"]);
    assertEquals(refused.code, 2, refused.err);
    assertStringIncludes(
      refused.err,
      'Cannot learn in a group as --partitioner must be one that several processes can learn, em: it is "random"; leave out --group',
    );
    const idle = await task("train-routers", ["--run", `${folder}/random`, "--patience", "5"]);
    assertEquals(idle.code, 2, idle.err);
    assertStringIncludes(idle.err, "Cannot use --patience as --group must be given besides: it is not");
  }));
