import { assert, assertEquals } from "@std/assert";
import { hashes, inFolder, SMALL, smallCorpus, task, taskCommand } from "./tasks/support.ts";

const KILLS = 12;
const MOST_TRIES = 40;

/** Starts a partition, kills it with SIGKILL after `milliseconds`, and says whether it was still running. */
async function killAfter(args: string[], milliseconds: number): Promise<boolean> {
  const child = taskCommand("partition", args, { stdout: "null", stderr: "null" }).spawn();
  const timer = setTimeout(() => child.kill("SIGKILL"), milliseconds);
  const { signal } = await child.status;
  clearTimeout(timer);
  return signal === "SIGKILL";
}

Deno.test("partition killed at many moments and run again gives the bytes of an undisturbed run", () =>
  inFolder(async (folder) => {
    await Deno.writeTextFile(`${folder}/docs.jsonl`, smallCorpus());
    const args = (run: string) => ["--run", `${folder}/${run}`, "--input", `${folder}/docs.jsonl`, ...SMALL];
    const undisturbed = await task("partition", args("undisturbed"));
    assertEquals(undisturbed.code, 0, undisturbed.err);
    const expected = await hashes(`${folder}/undisturbed`);
    assert(!Object.keys(expected).some((name) => name.includes(".partial") || name === "lock.json"));

    let duration = Infinity; // of a whole run, the shortest seen: the machine may be busy with other things
    for (let i = 0; i < 2; i++) {
      const start = performance.now();
      await task("partition", args(`timed-${i}`));
      duration = Math.min(duration, performance.now() - start);
    }
    let killed = 0;
    for (let tries = 0; killed < KILLS && tries < MOST_TRIES; tries++) {
      const run = `run-${tries}`;
      const start = performance.now();
      if (await killAfter(args(run), duration * (killed + 0.5) / KILLS)) killed++;
      else {
        duration = Math.min(duration, performance.now() - start);
        continue;
      }
      // What stands under a final name is whole. The GPU's name and the next round are still to come in two files.
      const left = await hashes(`${folder}/${run}`).catch(() => ({}));
      for (const [name, hash] of Object.entries(left)) {
        if (!(name in expected) || name === "config.json" || name === "partitioner/state.safetensors") {
          continue;
        }
        assertEquals(hash, expected[name], `${name} after kill ${killed} of ${KILLS}`);
      }
      const again = await task("partition", args(run));
      assertEquals(again.code, 0, again.err);
      assertEquals(await hashes(`${folder}/${run}`), expected);
    }
    assertEquals(killed, KILLS, `of ${MOST_TRIES} runs, too few were killed before their end`);
  }));
