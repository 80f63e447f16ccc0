import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { InputError, RunError } from "../../mod.ts";
import { describe, exitCode, explainSystemError } from "../../tasks/cli/errors.ts";
import {
  commandOf,
  execute,
  inFolder,
  ok,
  refused,
  ROOT,
  smallCorpus,
  smallRunAt,
  task,
  taskHere,
} from "./support.ts";

Deno.test("explainSystemError() makes an InputError of what the system says of a path, and a RunError of a full disk", () =>
  inFolder(async (folder) => {
    await Deno.writeTextFile(`${folder}/file`, "");
    const long = `${folder}/${"x".repeat(300)}`;
    const paths: [path: string, message: string, where?: string][] = [
      [`${folder}/none`, "as it must exist: there is no such file or folder", `${folder}/none`],
      [folder, "as it must be a file: it is a folder", folder],
      [`${folder}/file/below`, "as what it lies in must be a folder: it is a file"], // the path is left out of these two
      [long, "as the system must take its name: it is too long"],
    ];
    for (const [path, message, where] of paths) {
      const error = explainSystemError(await assertRejects(() => Deno.readFile(path)));
      assert(error instanceof InputError, String(error));
      assertEquals(error.where, where);
      assertMatch(
        error.message,
        new RegExp(`^Cannot (open|use) ${where ? `"${where}"` : "a path"} ${message}`),
      );
      assertEquals(exitCode(error.cause), 2);
    }
    if (await Deno.stat("/dev/full").catch(() => null)) {
      const error = explainSystemError(
        await assertRejects(() => Deno.writeTextFile("/dev/full", "x")),
      );
      assert(error instanceof RunError, String(error));
      assertMatch(
        error.message,
        /^Cannot write "\/dev\/full" as the disk must have room for it: it is full/,
      );
    }
    const bug = new RangeError("x");
    assertEquals(explainSystemError(bug), bug);
  }));

Deno.test("a pipe in the place of a model, of weights to begin with, of a tokenizer or of text is refused, not waited for", () =>
  inFolder(async (folder) => {
    const { run } = await smallRunAt(`${folder}/run`);
    await Deno.writeTextFile(`${folder}/docs.jsonl`, smallCorpus(4, 20));
    const pipes = ["model/config.json", "weights/model.safetensors", "tokenizer.json", "in.jsonl"];
    for (const name of ["model", "weights"]) await Deno.mkdir(`${folder}/${name}`);
    for (const path of pipes) await ok(execute("mkfifo", [`${folder}/${path}`]));
    const text = ["--input", `${folder}/docs.jsonl`];
    const cases: [name: string, args: string[]][] = [
      ["adopt", ["--run", run, "--expert", "0", "--from", `${folder}/model`]],
      ["train-expert", ["--run", run, "--expert", "0", "--init", `${folder}/weights`]],
      ["tokenize", [text[1], "--tokenizer", `${folder}/tokenizer.json`, "--output", "t.arrow"]],
      ["partition", ["--run", `${folder}/a`, ...text, "--tokenizer", `${folder}/tokenizer.json`]],
      ["partition", ["--run", `${folder}/b`, "--input", `${folder}/in.jsonl`]],
    ];
    for (const [name, args] of cases) {
      const patience = new AbortController();
      const waiting = new Promise<never>((_, reject) => {
        const timer = setTimeout(() => reject(new Error(`${name} ${args} waits`)), 30_000);
        patience.signal.onabort = () => clearTimeout(timer);
      });
      await refused(Promise.race([taskHere(name, args), waiting]), "it is a pipe");
      patience.abort();
    }
  }));

Deno.test("a folder that a task may not read is named without advice of Deno's, which is not the project's", async () => {
  const err = await refused(task("status", ["--run", "/proc/1"]), "/proc/1");
  assertEquals(err.includes("--allow-all"), false, err);
});

Deno.test("describe() tells a bug with its place, the versions, the adapter and how to report it", async () => {
  const text = await describe(new RangeError("Cannot\nbe"), { adapter: "a card" });
  assertMatch(
    text,
    /^bug: RangeError: Cannot be\n {2}at tests\/tasks\/errors_test\.ts:\d+, with SmallTalk [\d.]+, Deno [\d.]+, a card\n {2}please report it/,
  );
  const outside = new Error("outer", { cause: new Error("inner") });
  outside.stack = "Error: outer\n    at ext:core/01_core.js:1:2";
  assertMatch(await describe(outside), /\n {2}at tests\/tasks\/errors_test\.ts:\d+, with /);
  assertMatch(await describe("text"), /^bug: text\n {2}at an unknown place, with /);
});

Deno.test("a task that fails by a programming error ends with 1, says where it happened and how to report it", () =>
  inFolder(async (folder) => {
    const path = `${folder}/task.ts`;
    await Deno.writeTextFile(
      path,
      `import { toBatch } from "${ROOT}mod.ts";
import { defineTask } from "${ROOT}tasks/cli/command.ts";
const run = () => {
  const columns = { rows: 2, sequence: new BigUint64Array(1), length: new Uint32Array(2) };
  toBatch(columns, { format: 1, stage: "" });
  return Promise.resolve();
};
await defineTask({ name: "verify", options: {}, run }, { main: true });
`,
    );
    const run = (...more: string[]) => {
      const args = [
        ...commandOf("verify").slice(0, -1),
        `--config=${ROOT}deno.json`,
        path,
        ...more,
      ];
      return execute(Deno.execPath(), args);
    };
    const { code, err } = await run();
    assertEquals(code, 1, err);
    assertMatch(
      err,
      /^bug: RangeError: Cannot build a batch [^\n]*\n {2}at pipeline\/rows\/arrow\.ts:\d+, with SmallTalk [^\n]*, Deno [^\n]*\n {2}please report it, with this text and the command; [^\n]*\n$/,
    );
    const verbose = await run("--verbose");
    assertEquals(verbose.code, 1);
    assertMatch(verbose.err, /\n {4}at toBatch \(/);
  }));
