import { assert, assertEquals, assertFalse, assertMatch, assertStringIncludes } from "@std/assert";
import { checkValue, type Field } from "../../pipeline/settings/field.ts";
import { listFields, type Task, writeHelp } from "../../tasks/cli/command.ts";
import { inFolder, ok, ROOT, smallCorpus, task } from "./support.ts";

const CONFIG = JSON.parse(Deno.readTextFileSync(`${ROOT}deno.json`));
const TASKS = Object.keys(CONFIG.tasks).filter((name) =>
  CONFIG.tasks[name].command?.includes(`tasks/${name}.ts`)
);

/** Gives what a task file defines. */
async function tableOf(name: string): Promise<{ task: Task; fields: Record<string, Field> }> {
  const { TASK } = await import(`../../tasks/${name}.ts`);
  return { task: TASK, fields: listFields(TASK) };
}

Deno.test("every task file has a task of its name, a set of permissions and no more, and flags whose defaults they take", async () => {
  for (const name of TASKS) {
    const { command, description } = CONFIG.tasks[name];
    assertMatch(description, /^[A-Z].*\.$/, name);
    const [, set] =
      /^(?:DENO_\S+ )?deno run --quiet --no-prompt (?:--(?:v8|unstable)\S+ )*-P=(\w+) \S+$/.exec(
        command,
      ) ??
        [];
    assert(set in CONFIG.permissions, command);
    const { run, net, env, sys } = CONFIG.permissions[set];
    for (const list of [run, net, env, sys]) assert(list === undefined || Array.isArray(list), set);
    const { task, fields } = await tableOf(name);
    assertEquals(task.name, name);
    const flags = Object.values(fields).map(({ flag }) => flag);
    assertEquals(new Set(flags).size, flags.length, name);
    for (const [key, field] of Object.entries(fields)) {
      assertEquals(field.name, key);
      if (typeof field.default !== "object" && field.default !== undefined) {
        checkValue(field, field.default);
      }
    }
    assert("json" in fields && "verbose" in fields, name);
    const usesGpu = command.includes("WEBGPU");
    // By which it looks for other cards.
    if (usesGpu && "onGpu" in fields) assert(run.includes("ls"), set);
    // A task that opens no device of its own takes no flag of one; some only say which one others
    // are to use.
    if (!usesGpu) assertEquals(["onGpu", "variants"].filter((flag) => flag in fields), [], name);
  }
  assert(TASKS.includes("partition") && TASKS.length >= 10);
});

Deno.test("--help all lists every flag of the table, with its default; --help what most need, within the terminal's width", async () => {
  for (const name of TASKS) {
    const { task, fields } = await tableOf(name);
    const all = writeHelp(task, { all: true });
    assertStringIncludes(all, `Usage: deno task ${name}`);
    assertFalse(/object|undefined|default (true|false)/.test(all), all);
    for (const { flag, help } of Object.values(fields)) {
      assertMatch(all, new RegExp(`^  --${flag}( |$)`, "m"), `${name} ${flag}`);
      if (typeof help === "string") assertStringIncludes(all, help);
    }
    const few = writeHelp(task, { columns: 80 });
    const shown = [...few.matchAll(/^ {2}--([a-z]\S*)/gm)].length;
    const [, more = "0"] = /^(\d+) more flags: --help all$/m.exec(few) ?? [];
    assertEquals(shown + Number(more), Object.keys(fields).length + 1, name); // --help is one
    assert(shown <= 32, `${name}: ${shown}`);
    assertEquals(
      few.split("\n").filter((line) => line.includes(" ") && line.length > 90),
      [],
      name,
    );
  }
  const { task: partition } = await tableOf("partition");
  const { code, out, err } = await task("partition", ["--help", "all"]);
  assertEquals([code, out], [0, writeHelp(partition, { all: true }) + "\n"], err);
  assertMatch(out, /^ {2}--experts E\|AxB +experts.* \[E\].*\(default 4\)$/m);
  assertMatch(out, /^ {2}--text-column NAME +.*; without it that of --text-field$/m);
  assertMatch(
    out,
    /^ {2}--partitioner em\|ctbm\|random\|source\n +how text is split: em .*\(default em\)$/m,
  );
  const brief = await task("partition", ["--help"]);
  assertEquals([brief.code, brief.out], [0, writeHelp(partition) + "\n"]);
});

Deno.test("--config takes fields or a run's config.json, and flags override it", () =>
  inFolder(async (folder) => {
    const config = `${folder}/config.json`;
    const plan = async (...flags: string[]) => {
      const planned = ["--dry-run", "--json", "--run", `${folder}/run`];
      const { code, out, err } = await task("partition", [...planned, ...flags]);
      return { code, err, assumptions: code === 0 ? JSON.parse(out).assumptions[0] : "" };
    };
    await Deno.writeTextFile(config, '{"corpusCharacters": 1000}');
    assertStringIncludes((await plan("--config", config)).assumptions, "6,000 characters");
    await Deno.writeTextFile(
      config,
      '{"configuration": {"corpusCharacters": 2000}, "versions": {}}',
    );
    assertStringIncludes((await plan("--config", config)).assumptions, "12,000 characters");
    assertStringIncludes(
      (await plan("--config", config, "--corpus-characters", "3000")).assumptions,
      "18,000",
    );
    for (const text of ["{", "[]", '{"expert": 4}']) {
      await Deno.writeTextFile(config, text);
      const { code, err } = await plan("--config", config);
      assertEquals(code, 2);
      assertStringIncludes(err, `Cannot read "${config}"`);
    }
  }));

Deno.test("relative paths are those of the folder where the task was called", () =>
  inFolder(async (folder) => {
    await Deno.writeTextFile(`${folder}/docs.jsonl`, smallCorpus(4));
    const { out } = await ok(task("corpus", ["--input", "docs.jsonl", "--output", "-"], {
      env: { INIT_CWD: folder },
    }));
    assertEquals(out.split("\n").length, 5);
  }));

Deno.test("Ctrl-C waits for all checkpoints that are being saved, and for nothing else", () =>
  inFolder(async (folder) => {
    const script = `
      import { defineTask } from ${
      JSON.stringify(new URL("../../tasks/cli/command.ts", import.meta.url))
    };
      const wait = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));
      await defineTask({ name: "partition", options: {}, async run({ onEvent, tell }) {
        const stage = "train-expert-00"; // of two runs
        const save = async (name, milliseconds) => {
          onEvent({ type: "checkpoint", stage, state: "started" });
          await wait(milliseconds);
          Deno.writeTextFileSync(${JSON.stringify(folder)} + "/" + name, "saved");
          onEvent({ type: "checkpoint", stage, state: "done" });
        };
        const all = [save("brief", 300), save("long", 4_000)];
        tell("saves");
        await Promise.all(all);
        await wait(600_000);
      } }, { main: true });`;
    await Deno.writeTextFile(`${folder}/save.ts`, script);
    const child = new Deno.Command(Deno.execPath(), {
      args: ["run", "--allow-all", "--config", `${ROOT}deno.json`, `${folder}/save.ts`],
      stdout: "null",
      stderr: "piped",
    }).spawn();
    let err = "";
    for await (const text of child.stderr.pipeThrough(new TextDecoderStream())) {
      if (/saves/.test(text)) child.kill("SIGINT");
      err += text;
    }
    assertEquals((await child.status).code, 130, err);
    const names = Array.from(Deno.readDirSync(folder), ({ name }) => name).sort();
    assertEquals(names, ["brief", "long", "save.ts"], err);
  }));
