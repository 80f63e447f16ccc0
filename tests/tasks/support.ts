/**
 * Runs tasks as a user does, for the tests of tasks and of whole runs.
 *
 * @module
 */

import { fileURLToPath } from "node:url";
import { assertEquals, assertStringIncludes } from "@std/assert";
import type { Frame } from "../../tasks/cli/command.ts";
import { shareDevice } from "../device.ts";

/** The project's folder. */
export const ROOT = fileURLToPath(new URL("../../", import.meta.url));

/** What a task did. */
export interface Outcome {
  code: number;
  stdout: Uint8Array;
  out: string;
  err: string;
}

const TASKS: Record<string, { description: string; command: string }> =
  JSON.parse(Deno.readTextFileSync(`${ROOT}deno.json`)).tasks;

/** Gives the arguments that make Deno run a task, permissions among them. */
export function commandOf(name: string): string[] {
  const words = TASKS[name].command.split(" ");
  return words.slice(words.indexOf("deno") + 1);
}

/** Gives the environment variables that a task sets before it runs Deno. */
function variablesOf(name: string): Record<string, string> {
  const words = TASKS[name].command.split(" ");
  return Object.fromEntries(words.slice(0, words.indexOf("deno")).map((word) => word.split("=")));
}

/**
 * Leaves out every `--flag value` that a later one of the same name replaces: a task itself refuses
 * two.
 */
export function lastOfEach(args: string[]): string[] {
  const isReplaced = (i: number) =>
    args[i]?.startsWith("--") && !["--input", "--stop"].includes(args[i]) &&
    args.includes(args[i], i + 1) &&
    args[i + 1] !== undefined && !args[i + 1].startsWith("--");
  return args.filter((_, i) => !isReplaced(i) && !isReplaced(i - 1));
}

/** Makes a command that runs in the project's folder unless another one is given. */
function command(
  program: string,
  args: readonly string[],
  options: Deno.CommandOptions,
): Deno.Command {
  const streams = { stdin: "null", stdout: "piped", stderr: "piped" } as const;
  const env = { NO_COLOR: "1", ...options.env };
  return new Deno.Command(program, { args: [...args], cwd: ROOT, ...streams, ...options, env });
}

/**
 * What a program is run with, apart from its arguments: also what comes from its standard input.
 */
type RunOptions = Deno.CommandOptions & { input?: string | Uint8Array };

/** Runs a program to its end. */
export async function execute(
  program: string,
  args: readonly string[],
  { input, ...options }: RunOptions = {},
): Promise<Outcome> {
  const stdin = input === undefined ? "null" : "piped";
  const child = command(program, args, { ...options, stdin }).spawn();
  if (input !== undefined) {
    const bytes = typeof input === "string" ? new TextEncoder().encode(input) : input;
    // It may end before it has read all.
    await ReadableStream.from([bytes]).pipeTo(child.stdin).catch(() => {});
  }
  const { code, stdout, stderr } = await child.output();
  const text = (data: Uint8Array) => new TextDecoder().decode(data);
  return { code, stdout, out: text(stdout), err: text(stderr) };
}

/**
 * Gives what runs a task, without the process around it, so that a signal reaches it. Of two
 * `--flag value` the later one counts.
 */
const taskProgram = <Options extends Deno.CommandOptions>(
  name: string,
  args: string[],
  options: Options,
) =>
  [
    Deno.execPath(),
    [...commandOf(name), ...lastOfEach(args)],
    { ...options, env: { ...variablesOf(name), ...options.env } },
  ] as const;

/** Makes the command of a task. */
export function taskCommand(
  name: string,
  args: string[],
  options: Deno.CommandOptions = {},
): Deno.Command {
  return command(...taskProgram(name, args, options));
}

/** Runs a task to its end. */
export function task(name: string, args: string[], options: RunOptions = {}): Promise<Outcome> {
  return execute(...taskProgram(name, args, options));
}

/**
 * Does a task in this process, on one device for all of a test file; gives what its own process
 * would print. Nothing limits what it may do, and no signal reaches it: those need a process.
 */
export async function taskHere(
  name: string,
  args: readonly string[],
): Promise<Pick<Outcome, "code" | "out" | "err">> {
  shareDevice();
  const [{ perform }, { describe, exitCode }, { eventLine }, { TASK }] = await Promise.all([
    import("../../tasks/cli/command.ts"),
    import("../../tasks/cli/errors.ts"),
    import("../../tasks/cli/progress.ts"),
    import(`../../tasks/${name}.ts`),
  ]);
  const known = {};
  const [out, err]: string[][] = [[], []];
  const frame: Frame = {
    failing: known,
    signal: AbortSignal.timeout(300_000), // what hangs must fail, not stay
    onEvent(event) {
      if (event.type === "progress" || event.type === "checkpoint") return;
      err.push(`${new Date().toISOString().slice(0, 19)}Z ${eventLine(event)}`);
    },
    tell: (text) => void err.push(text),
    print: (text) => void out.push(text),
  };
  let code = 0;
  try {
    await perform(TASK, [...args], frame);
  } catch (error) {
    code = exitCode(error);
    err.push(await describe(error, known));
  }
  const text = (lines: string[]) => lines.map((line) => `${line}\n`).join("");
  return { code, out: text(out), err: text(err) };
}

/** Sends a signal to a process, which may have ended just before: then nothing happens. */
export function sendSignal(child: Deno.ChildProcess, signal: Deno.Signal): void {
  try {
    child.kill(signal);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error; // "Child process has already terminated."
  }
}

/** Waits for a task that must end with 0. */
export async function ok<Ended extends Pick<Outcome, "code" | "err">>(
  ending: Promise<Ended>,
): Promise<Ended> {
  const outcome = await ending;
  assertEquals(outcome.code, 0, outcome.err);
  return outcome;
}

/** Waits for a task that must end with 2, for a reason that holds `text`; gives what it says. */
export async function refused(
  ending: Promise<Pick<Outcome, "code" | "err">>,
  text: string,
): Promise<string> {
  const { code, err } = await ending;
  assertEquals(code, 2, err);
  assertStringIncludes(err, text);
  return err;
}

/** Gives flags of a small model that trains for so many steps. */
export const trainingFlags = (steps: number): string[] =>
  `--expert-hidden 8 --expert-layers 1 --expert-heads 2 --expert-batch 4 --expert-steps ${steps}`
    .split(" ");

const WORDS = {
  sea: "sail wave gull shore storm anchor harbour tide mast deck north wind salt rope crew".split(
    " ",
  ),
  code: "const return function await import export class type let for while if else break void"
    .split(" "),
};

/** Writes small documents of two kinds, deterministic, as JSON lines with a source. */
export function smallCorpus(documents = 48, words = 120): string {
  let state = 12345;
  const next = (n: number) => (state = (state * 1103515245 + 12345) % 2 ** 31) % n;
  const lines = Array.from({ length: documents }, (_, i) => {
    const source = i % 2 === 0 ? "sea" : "code";
    const text = Array.from({ length: words + next(words) }, () => WORDS[source][next(15)]).join(
      source === "sea" ? " " : "(",
    );
    return JSON.stringify({ text, source });
  });
  return lines.join("\n") + "\n";
}

/** Writes four questions of the task `arc_easy` into a folder. */
export function writeQuestions(folder: string): void {
  const lines = Array.from({ length: 4 }, (_, i) => {
    const choices = { text: [`${2 * i}`, `${2 * i + 1}`], label: ["A", "B"] };
    return JSON.stringify({ question: `${i} + ${i}?`, choices, answerKey: "A" });
  });
  Deno.mkdirSync(folder, { recursive: true });
  Deno.writeTextFileSync(`${folder}/arc_easy.jsonl`, lines.join("\n") + "\n");
}

/** Flags of a run that takes a second. */
export const SMALL =
  ("--vocab-size 300 --sequence-length 32 --prefix 16 --experts 2 --shard-sequences 100 --router-hidden 8 " +
    "--router-layers 1 --router-heads 2 --rounds 3 --round-sequences 32 --router-batch 8 --router-warmup 2 --router-rate 0.01 " +
    "--source-field source").split(" ");

/** A partitioned run of `docs`, and what the task said that made it. */
export interface SmallRun extends Pick<Outcome, "out" | "err"> {
  run: string;
  docs: string;
}

let small: Promise<SmallRun> | undefined;

/**
 * Gives a run of a small corpus by the flags {@linkcode SMALL}, which is made once for all tests of
 * a file: these only read it.
 */
export function smallRun(): Promise<SmallRun> {
  return small ??= (async () => {
    const folder = await lastingFolder();
    const [run, docs] = [`${folder}/run`, `${folder}/docs.jsonl`];
    await Deno.writeTextFile(docs, smallCorpus());
    const { code, out, err } = await taskHere("partition", [
      "--run",
      run,
      "--input",
      docs,
      ...SMALL,
    ]);
    if (code !== 0) throw new Error(err);
    return { run, docs, out, err };
  })();
}

/** Copies the run of {@linkcode smallRun}, for a test that changes it. */
export async function smallRunAt(run: string): Promise<SmallRun> {
  const made = await smallRun();
  copyFolder(made.run, run);
  return { ...made, run };
}

/**
 * Hashes every file of a folder, by path, but those that hold times and those that a killed process
 * leaves behind; of manifests what was made, whoever made it.
 */
export async function hashes(folder: string, under = ""): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  for (const { name, isDirectory } of Deno.readDirSync(`${folder}/${under}`)) {
    const path = `${under}${name}`;
    const notes = ["metrics/timing.jsonl", "metrics/descendants.jsonl", "text/files.json"];
    if ([...notes, "locks", "partial"].includes(path)) continue;
    if (isDirectory) Object.assign(found, await hashes(folder, `${path}/`));
    else {
      const bytes = await Deno.readFile(`${folder}/${path}`);
      const { key, files } = name === "manifest.json"
        ? JSON.parse(new TextDecoder().decode(bytes))
        : {};
      const reported = key ? new TextEncoder().encode(JSON.stringify({ key, files })) : bytes;
      const digest = await crypto.subtle.digest("SHA-256", reported);
      found[path] = new Uint8Array(digest).toHex();
    }
  }
  return Object.fromEntries(Object.entries(found).sort(([a], [b]) => a < b ? -1 : 1));
}

/**
 * Tells what a run holds: hashes of its files by path, and of manifests the keys, as they also tell
 * who made them. It leaves out what belongs to its jobs and to processes, and the report, which
 * holds times.
 */
export async function whatIsMade(run: string): Promise<Record<string, string>> {
  const made: Record<string, string> = {};
  for (const [path, hash] of Object.entries(await hashes(run))) {
    if (/^(jobs|locks|partial|scratch|report|manifests|metrics)\b|^text\/files\.json$/.test(path)) {
      continue; // files.json: when it was looked
    }
    const isManifest = path.endsWith("/manifest.json");
    made[path] = isManifest ? JSON.parse(await Deno.readTextFile(`${run}/${path}`)).key : hash;
  }
  return made;
}

/** Reads the manifests of a run by the paths of their nodes. */
export async function readManifests(run: string, under = ""): Promise<Record<string, string>> {
  const texts: Record<string, string> = {};
  for (const { name, isDirectory } of Deno.readDirSync(`${run}/${under}`)) {
    if (isDirectory) Object.assign(texts, await readManifests(run, `${under}${name}/`));
    else if (name === "manifest.json") {
      texts[under] = await Deno.readTextFile(`${run}/${under}${name}`);
    }
  }
  return Object.fromEntries(Object.entries(texts).sort());
}

/** Makes a folder that lasts until all tests of the file are done. */
export async function lastingFolder(): Promise<string> {
  const folder = await Deno.makeTempDir();
  globalThis.addEventListener("unload", () => Deno.removeSync(folder, { recursive: true }));
  return folder;
}

/** Flips a bit in the middle of a file, and gives back what it was. */
export async function flip(path: string): Promise<Uint8Array> {
  const bytes = await Deno.readFile(path);
  const at = bytes.length >> 1;
  await Deno.writeFile(path, bytes.with(at, bytes[at] ^ 1));
  return bytes;
}

/** Runs a test in a temporary folder, and gives what it gives. */
export async function inFolder<T>(test: (folder: string) => Promise<T>): Promise<T> {
  const folder = await Deno.makeTempDir();
  // A test that fails leaves its folder, in which a process of its own may still write.
  const result = await test(folder);
  await Deno.remove(folder, { recursive: true });
  return result;
}

/** Copies a folder, with links as links. */
export function copyFolder(from: string, to: string): void {
  Deno.mkdirSync(to, { recursive: true });
  for (const { name, isDirectory, isSymlink } of Deno.readDirSync(from)) {
    if (isDirectory) copyFolder(`${from}/${name}`, `${to}/${name}`);
    else if (isSymlink) Deno.symlinkSync(Deno.readLinkSync(`${from}/${name}`), `${to}/${name}`);
    else Deno.copyFileSync(`${from}/${name}`, `${to}/${name}`);
  }
}

/** Runs Deno in a folder, and gives what it prints; throws with its errors where it fails. */
export async function denoIn(folder: string, args: string[]): Promise<string> {
  const { code, out, err } = await execute(Deno.execPath(), args, { cwd: folder });
  if (code !== 0) throw new Error(`Deno ended with ${code}: ${err}`);
  return out;
}

interface Graph {
  roots: string[];
  modules: {
    specifier: string;
    dependencies?: { isDynamic?: boolean; code?: { specifier?: string } }[];
  }[];
}

const graphs = new Map<string, Promise<Graph>>();

/**
 * Lists the packages that a file of the project and what it imports load, as `deno.json` names
 * them: at once, or `later` as well.
 */
export async function importedBy(file: string, { later = false } = {}): Promise<string[]> {
  const read = async (): Promise<Graph> => JSON.parse(await denoIn(ROOT, ["info", "--json", file]));
  const graph = graphs.get(file) ?? read();
  graphs.set(file, graph);
  const { roots, modules } = await graph;
  const byName = new Map(modules.map((module) => [module.specifier, module]));
  const [seen, found, left] = [new Set<string>(), new Set<string>(), [roots[0]]];
  for (let name = left.pop(); name !== undefined; name = left.pop()) {
    if (seen.has(name)) continue;
    seen.add(name);
    for (const { isDynamic, code } of byName.get(name)?.dependencies ?? []) {
      if (isDynamic && !later || code?.specifier === undefined) continue;
      const [, named] = /^npm:\/?((@[^/]+\/)?[^/]+)/.exec(code.specifier) ?? [];
      if (named !== undefined) found.add(`npm:${named}`);
      else left.push(code.specifier);
    }
  }
  return [...found];
}
