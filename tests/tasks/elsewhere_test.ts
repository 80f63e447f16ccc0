import { fileURLToPath } from "node:url";
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import {
  copyFolder,
  inFolder,
  ok,
  refused,
  sendSignal,
  SMALL,
  smallCorpus,
  task,
  taskCommand,
  taskHere,
  trainingFlags,
} from "./support.ts";

const BRIEF = trainingFlags(2);

/** Has a process lock a node of a run, and kills it. */
async function leaveLock(run: string, node: string): Promise<void> {
  const graph = new URL("../../pipeline/graph/lock.ts", import.meta.url);
  const code = `import { takeLock } from "${graph}";
    await takeLock(${JSON.stringify(run)}, "${node}", "train");
    Deno.kill(Deno.pid, "SIGKILL");`;
  const path = `${run}/../lock.ts`;
  await Deno.writeTextFile(path, code);
  const config = fileURLToPath(new URL("../../deno.json", import.meta.url));
  const { signal } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--config", config, path],
  }).output();
  assertEquals(signal, "SIGKILL");
  assert((await Deno.stat(`${run}/locks/${node.replace("/", "~")}`)).isFile);
}

Deno.test("export, adopt, watch and clean work with the permissions that they have, and refuse what does not fit", () =>
  inFolder(async (folder) => {
    await Deno.writeTextFile(`${folder}/docs.jsonl`, smallCorpus());
    const run = `${folder}/run`;
    const permitted = new Set<string>(); // tasks that have succeeded in a process of their own
    const succeed = async (name: string, args: string[]) => {
      const { out } = await ok(
        (permitted.has(name) ? taskHere : task)(name, ["--run", run, ...args]),
      );
      permitted.add(name);
      return out;
    };
    const refuse = (name: string, args: string[], text: string) =>
      refused(taskHere(name, ["--run", run, ...args]), text);
    await succeed("partition", ["--input", `${folder}/docs.jsonl`, ...SMALL]);
    assertStringIncludes(await succeed("watch", ["--once"]), "2 waiting");
    await succeed("train-expert", ["--expert", "0", ...BRIEF, "--checkpoint-every", "1"]);
    const { trainings } = JSON.parse(await succeed("watch", ["--json"]));
    assertEquals(trainings.map(({ state }: { state: string }) => state), [
      "complete",
      "waiting",
    ]);

    await leaveLock(run, "experts/expert-01");
    assertStringIncludes(await succeed("watch", ["--once"]), "1 waiting"); // whose process is dead
    assert(!(await succeed("status", [])).includes("being made"));

    for (const to of ["megatron", "datasets", "parquet", "text"]) {
      const out = await succeed("export", ["--to", to, "--expert", "all"]);
      assertEquals(out.trim().split("\n").length, 2);
      assertStringIncludes(
        await succeed("export", ["--to", to, "--all-text"]),
        "all text is written, train 46 texts",
      );
    }
    assertStringIncludes(
      await succeed("export", ["--to", "text", "--all-text"]),
      "all text is there",
    );
    await refuse(
      "export",
      ["--to", "text", "--expert", "0", "--output", run],
      "must be new or empty",
    );

    const from = `${folder}/elsewhere`;
    await succeed("export", ["--to", "safetensors", "--untie", "--expert", "0", "--output", from]);
    await refuse(
      "adopt",
      ["--expert", "1", "--from", from],
      "must have been trained on the part of expert 1",
    );
    const own = `${folder}/own`; // a run whose experts are its own
    copyFolder(run, own);
    const untrained = `${folder}/untrained`; // a run that lacks an expert to the end
    copyFolder(run, untrained);
    assertStringIncludes(
      await succeed("adopt", ["--expert", "1", "--from", from, "--force"]),
      `adopted from ${from}`,
    );
    assertStringIncludes(await succeed("status", []), `adopted from "${from}"`);
    assertStringIncludes(await succeed("cost", []), "expert 1, adopted");
    await refuse("train-expert", ["--expert", "1", ...BRIEF], "train it here instead with --force");
    const { err } = await ok(taskHere("train-expert", ["--run", run, "--expert", "all", ...BRIEF]));
    assertStringIncludes(err, `expert 1 was adopted from "${from}": it stays`);
    const trained = await ok(taskHere("train-expert", ["--run", own, "--expert", "all", ...BRIEF]));
    for (const model of ["experts/expert-00", "experts/expert-01"]) {
      assertStringIncludes(trained.out, `${model} `);
    }
    // It ends by itself once everything is trained that was asked for, and not before.
    const follow = ["--run", run, "--every", "0.1"];
    await succeed("train-dense", BRIEF);
    const waits = ["--run", untrained, "--every", "0.1"];
    const patient = [follow.concat("--follow"), waits].map((args) =>
      taskCommand("watch", args).spawn()
    );
    assertMatch((await task("watch", follow)).out, /dense complete/);
    for (const child of patient) {
      const reader = child.stdout.getReader();
      await reader.read(); // once it has begun
      reader.releaseLock();
      sendSignal(child, "SIGTERM");
      assertEquals((await child.output()).code, 130);
    }
    await refuse("watch", ["--follow", "--once"], "only one of --follow and --once");

    await succeed("generate", ["--expert", "1", "--prompt", "sail", "--max-new-tokens", "2"]);
    await succeed("verify", []);

    const old = `${run}/scratch/experts~expert-00~0123456789abcdef`; // of a training by other settings
    await Deno.mkdir(old, { recursive: true });
    await Deno.writeTextFile(`${old}/step-00000001.safetensors`, "a state ".repeat(1000));
    await Deno.utime(`${old}/step-00000001.safetensors`, 0, 0); // before the one that there is now
    assertMatch(await succeed("clean", ["--dry-run"]), /would remove 1 checkpoint \(.* KiB\)/);
    assertMatch(await succeed("clean", []), /removed 1 checkpoint \(.* KiB\)/);
    assertStringIncludes(await succeed("clean", []), "removed nothing");
    assert((await succeed("watch", ["--once"])).includes("adopted"));
  }));
