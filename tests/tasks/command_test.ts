import { assert, assertEquals, assertFalse, assertMatch, assertStringIncludes } from "@std/assert";
import { checkValue, type Field } from "../../pipeline/settings/field.ts";
import { type Call, fieldsOf, helpOf, perform, type Task } from "../../tasks/command.ts";
import { inFolder, ROOT, SMALL, smallCorpus, task, taskCommand } from "./support.ts";

const CONFIG = JSON.parse(Deno.readTextFileSync(`${ROOT}deno.json`));
const TASKS = Object.keys(CONFIG.tasks).filter((name) =>
  CONFIG.tasks[name].command.includes(`tasks/${name}.ts`)
);

Deno.test("every task file has a task of its own, under 60 lines, with a set of permissions and no more", async () => {
  for (const name of TASKS) {
    const { command, description } = CONFIG.tasks[name];
    const [, set] =
      /^(?:DENO_\S+ )?deno run --quiet --no-prompt (?:--(?:v8|unstable)\S+ )*-P=(\w+) \S+$/.exec(command) ??
        [];
    assert(set in CONFIG.permissions, command);
    const { run, net, env, sys } = CONFIG.permissions[set];
    for (const list of [run, net, env, sys]) assert(list === undefined || Array.isArray(list), set);
    assertEquals(description, (await tableOf(name)).task.about);
    const { fields } = await tableOf(name);
    const usesGpu = command.includes("WEBGPU");
    if (usesGpu && "onGpu" in fields) assert(run.includes("ls"), set); // by which it looks for other cards
    // A task that opens no device of its own takes no flag of one; some only say which one others are to use.
    if (!usesGpu) assertEquals(["onGpu", "variants"].filter((flag) => flag in fields), [], name);
    const text = await Deno.readTextFile(`${ROOT}tasks/${name}.ts`);
    assert(text.split("\n").length <= 60, `${name} has ${text.split("\n").length} lines`);
  }
  assert(TASKS.includes("partition") && TASKS.length >= 10);
});

/** Gives what a task file defines. */
async function tableOf(name: string): Promise<{ task: Task; fields: Record<string, Field> }> {
  const { TASK } = await import(`../../tasks/${name}.ts`);
  return { task: TASK, fields: fieldsOf(TASK) };
}

Deno.test("every task has the name of its file, and flags of its own whose defaults they take", async () => {
  for (const name of TASKS) {
    const { task, fields } = await tableOf(name);
    assertEquals(task.name, name);
    const flags = Object.values(fields).map(({ flag }) => flag);
    assertEquals(new Set(flags).size, flags.length, name);
    for (const [key, field] of Object.entries(fields)) {
      assertEquals(field.name, key);
      if (typeof field.default !== "object" && field.default !== undefined) checkValue(field, field.default);
    }
    assert("json" in fields && "verbose" in fields, name);
  }
});

Deno.test("--help lists every flag of the table, with its default, for every task", async () => {
  for (const name of TASKS) {
    const { task, fields } = await tableOf(name);
    const help = helpOf(task);
    assertStringIncludes(help, `Usage: deno task ${name}`);
    assertFalse(/object|undefined|default (true|false)/.test(help), help);
    for (const { flag, help: line } of Object.values(fields)) {
      assertMatch(help, new RegExp(`^  --${flag}( |$)`, "m"), `${name} ${flag}`);
      if (typeof line === "string") assertStringIncludes(help, line);
    }
  }
  const { code, out, err } = await task("partition", ["--help"]);
  assertEquals([code, out], [0, helpOf((await tableOf("partition")).task) + "\n"], err);
  assertMatch(out, /^ {2}--experts N +experts, and as many routers \[E\] \(default 4\)$/m);
  assertMatch(out, /^ {2}--text-column NAME +.*; without it that of --text-field$/m);
  assertMatch(out, /^ {2}--partitioner em\|ctbm\|random\|source\n +how text is split: em .*\(default em\)$/m);
});

Deno.test("a task refuses wrong usage with exit code 2 and one line that says what to do", async () => {
  const cases: [string, string[], string][] = [
    [
      "partition",
      ["--expert", "4"],
      '--expert is not, the nearest is --experts, but tasks "generate", "train-expert", "adopt" and 1 more take --expert; see --help',
    ],
    ["partition", ["--experts", "four"], '--experts as it must be an integer from 1 to 65535: it is "four"'],
    ["partition", ["--experts"], "--experts as it must have a value"],
    ["partition", ["--seed", "-1"], "it is -1"],
    ["partition", ["--force=no"], '--force as it takes no value but true or false: it is "no"'],
    ["partition", ["--dry-run="], '--dry-run as it takes no value but true or false: it is ""'],
    ["partition", ["--input", "a.txt", "--corpus", "wide"], "only one of --input and --corpus may be given"],
    ["tokenizer", ["-", "--output", "-"], "--output must name a file: it is -"],
    ["report", ["--output", "-"], "--output must name a file: it is -"],
    ["partition", ["docs.txt"], '"docs.txt" is none; see --help'],
    ["partition", ["--preset", "big"], "one of tiny, small, paper-335m, paper-1.3b"],
    ["partition", ["--router-hidden", "30", "--router-heads", "4"], "even multiple of --router-heads"],
    ["partition", ["--prefix", "200"], "--prefix is 200, --sequence-length is 128"],
    ["partition", ["--seed=3", "--seed", "4"], '--seed as it must be given once: it is "3" and "4"'],
    ["partition", ["--experts=4", "--experts=4"], '--experts as it must be given once: it is "4" and "4"'],
    ["partition", ["--force", "--force=false"], '--force as it must be given once: it is "true" and "false"'],
    ["partition", ["--run", ""], '--run as it must be a path: it is ""'],
    ["partition", ["--experts="], "--experts as it must have a value"],
    ["partition", ["--input", "--json"], "--input as it must have a value"],
    ["partition", ["--input", "", "--json"], "--input as it must have a value"],
    ["assign", ["--output", "--json", "-"], '--output as it must be a path: it is ""'],
    ["verify", ["--json", "runs/a", "runs/b"], '"runs/b" is a second one'],
    ["verify", ["--run=", "runs/a"], '--run as it must be a path: it is ""'],
    ["verify", ["runs/a", "--", "--json"], '"--json" is a second one'],
    ["partition", ["-x"], "-x is not; see --help"],
    ["generate", ["--prompt", "-a"], "-a is not; if it is a value, write --prompt=-a"],
    ["generate", ["--prompt", "---a;b"], "\"---a;b\" is none; if it is a value, write --prompt='---a;b'"],
    [
      "export",
      ["--input", "a"],
      '--input is not, but tasks "corpus", "partition", "submit" and 1 more take --input; see --help',
    ],
    ["partition", ["--nothing-like-it"], "--nothing-like-it is not; see --help"],
    ["partition", ["--rouds=3", "--input"], "--rouds is not, the nearest is --rounds; see --help"],
    ["partition", ["--config", "missing.json"], 'Cannot open "missing.json"'],
    ["score", ["--part", "5/4"], '--part must be I/N with 1 <= I <= N: it is "5/4"'],
    ["score", ["-"], "--routers must name a folder of routers"],
    ["tokenize", ["-"], "--tokenizer must name a tokenizer.json"],
    ["score", ["-", "--part", "1/2"], "Cannot use --part with files or a pipe"],
    ["assign", ["-", "--force"], "Cannot use --force with files or a pipe"],
    ["tokenize", ["-", "--run", "runs/a"], "Cannot use --run with files or a pipe"],
    ["verify", ["runs/a", "runs/b"], '"runs/b" is a second one'],
    ["verify", ["runs/a", "--run", "runs/b"], '"runs/a" is one, --run another'],
    ["verify", ["--run", "no/run"], "no/run"],
    ["show", [], "a shard must be named"],
    ["show", ["--limit", "-12", "a.arrow"], "--limit as it must be an integer of at least 1: it is -12"],
    ["generate", ["--prompt", "-", "--temperature", "-0.5"], "from 0 to 1000: it is -0.5"],
  ];
  for (const [name, args, text] of cases) {
    const { code, out, err } = await task(name, args, { input: "" });
    assertEquals([code, out], [2, ""], `${name} ${args}: ${err}`);
    assertStringIncludes(err, text);
    assertMatch(err, /^error: [^\n]+\n$/);
  }
});

Deno.test("--verbose shows where an error comes from", async () => {
  const { code, err } = await task("partition", ["--experts", "0", "--verbose"]);
  assertEquals(code, 2);
  assertStringIncludes(err, "    at ");
});

Deno.test("--config takes fields or a run's config.json, and flags override it", () =>
  inFolder(async (folder) => {
    const config = `${folder}/config.json`;
    const plan = async (...flags: string[]) => {
      const { code, out, err } = await task("partition", [
        "--dry-run",
        "--json",
        "--run",
        `${folder}/run`,
        ...flags,
      ]);
      return { code, err, assumptions: code === 0 ? JSON.parse(out).assumptions[0] : "" };
    };
    await Deno.writeTextFile(config, '{"corpusCharacters": 1000}');
    assertStringIncludes((await plan("--config", config)).assumptions, "6,000 characters");
    await Deno.writeTextFile(config, '{"configuration": {"corpusCharacters": 2000}, "versions": {}}');
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
    const { code, out, err } = await task("corpus", ["--input", "docs.jsonl", "--output", "-"], {
      env: { INIT_CWD: folder },
    });
    assertEquals(code, 0, err);
    assertEquals(out.split("\n").length, 5);
  }));

Deno.test("Ctrl-C waits for all checkpoints that are being saved, and for nothing else", () =>
  inFolder(async (folder) => {
    const script = `
      import { defineTask } from ${JSON.stringify(new URL("../../tasks/command.ts", import.meta.url))};
      const wait = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));
      await defineTask({ name: "partition", about: "Saves.", options: {}, async run({ onEvent, tell }) {
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

Deno.test("Ctrl-C ends a task with 130 and one line, leaves no half-written file, and the run goes on later", () =>
  inFolder(async (folder) => {
    await Deno.writeTextFile(`${folder}/docs.jsonl`, smallCorpus());
    const run = `${folder}/run`;
    const flags = ["--run", run, "--input", `${folder}/docs.jsonl`, ...SMALL];
    const child = taskCommand("partition", [...flags, "--rounds", "400"], { stdout: "null" }).spawn();
    while (!await Deno.stat(`${run}/partitioner/state.safetensors`).catch(() => null)) {
      await new Promise((done) => setTimeout(done, 20));
    }
    child.kill("SIGINT");
    const { code, stderr } = await child.output();
    const err = new TextDecoder().decode(stderr);
    assertEquals(code, 130, err);
    assertStringIncludes(err, "interrupted: run the same command again to continue\n");
    assertFalse(/^\s+at /m.test(err));
    const names = [...Deno.readDirSync(run)].map(({ name }) => name);
    assertFalse(names.some((name) => name.endsWith(".partial")), names.join());
    const again = await task("partition", [...flags, "--rounds", "3", "--force"]);
    assertEquals(again.code, 0, again.err);
  }));

Deno.test("a task is told which flags were given, and which were said to be false", async () => {
  const { task } = await tableOf("submit");
  const told: Pick<Call<Task["options"]>, "given" | "denied">[] = [];
  const run: Task["run"] = (call) => Promise.resolve(void told.push(call));
  const frame = { signal: new AbortController().signal, onEvent() {}, tell() {}, print() {} };
  const args = ["--run", "NONE", "--recompute=false", "--require-gpu", "false", "--settle", "--keep", "2"];
  await perform({ ...task, run }, args, frame);
  assertEquals([...told[0].given].sort(), ["keep", "run", "settle"]);
  assertEquals([...told[0].denied].sort(), ["recompute", "requireGpu"]);
});

Deno.test("a value that begins with a dash is one behind =, and where it holds white space", async () => {
  const { task } = await tableOf("generate");
  const told: Call<Task["options"]>["options"][] = [];
  const run: Task["run"] = ({ options }) => Promise.resolve(void told.push(options));
  const frame = { signal: new AbortController().signal, onEvent() {}, tell() {}, print() {} };
  const values = ["- a list item", "--- title", "--seed is a flag", "-- a = b", "-x\ny"];
  for (const value of values) {
    await perform({ ...task, run }, ["--prompt", value, "--stop=- b", "--seed", "3"], frame);
    await perform({ ...task, run }, [`--prompt=${value}`, "--stop", "- b", "--seed=3"], frame);
  }
  await perform({ ...task, run }, ["--prompt", "--stop=- b", "--seed", "3"], frame); // a flag, whatever its value
  assertEquals(
    told.map(({ prompt, stop, seed }) => [prompt, stop, seed]),
    [...values.flatMap((value) => [value, value]), ""].map((value) => [value, ["- b"], 3]),
  );
  const shown: string[][] = [];
  const { task: show } = await tableOf("show");
  const note: Task["run"] = ({ paths, sources }) =>
    Promise.resolve(void shown.push([...paths, String(sources.flags?.tokenizer)]));
  await perform({ ...show, run: note }, ["--tokenizer", "--a b", "c.arrow"], frame);
  assertEquals(shown, [["c.arrow", "--a b"]]);
});
