/**
 * Frames every task: flags from the table, `--help`, errors on one line, exit codes, Ctrl-C.
 * Exit codes: 0 done; 1 failed while running; 2 wrong usage or bad input; 130 interrupted.
 *
 * @module
 */

import { parseArgs } from "@std/cli/parse-args";
import { resolve } from "node:path";
import { InputError, say, setting, type Text } from "../kernels/mod.ts";
import { readConfiguration, type RunEvent } from "../pipeline/run/mod.ts";
import {
  type Field,
  field,
  FIELDS,
  type Fields,
  parseValue,
  someValuesOf,
  type Sources,
  type Values,
  valuesOf,
} from "../pipeline/settings/mod.ts";
import { settingsOf } from "../pipeline/stages/mod.ts";
import { describe, exitCode, type Known } from "./errors.ts";
import { unknownFlag } from "./flags.ts";
import { checkOneCard } from "./gpu.ts";
import { PRINTING } from "./options.ts";
import { startProgress } from "./progress.ts";
import { quoted, worded } from "./wording.ts";

/** Describes a task. */
export interface Task<Options extends Fields = Fields> {
  /** Name, as in `deno task <name>`. */
  name: string;
  /** What it does, in one sentence. */
  about: string;
  /** Its positional arguments, as the help shows them; undefined where it takes none. */
  positional?: string;
  /** Whether it, or a call of it, begins anew after an interruption. Others go on where they were. */
  startsAnew?: true | ((call: Pick<Call<Options>, "paths" | "given">) => boolean);
  /**
   * Whether it completes its work in its own time when it is interrupted. Other tasks have some seconds. A
   * second interruption ends any task.
   */
  drains?: true;
  /** Its options, besides settings and besides the options of every task. */
  options: Options;
  /** Does the work. */
  run: (call: Call<Options>) => Promise<void>;
}

/** The arguments and the means of a task. */
export interface Call<Options extends Fields> {
  /** Positional arguments: paths, or `-`. */
  paths: string[];
  /** Where the configuration's values come from. */
  sources: Sources;
  /** Values of the options, by name. */
  options: Values<Options & typeof PRINTING>;
  /** Names of the options that were given. */
  given: ReadonlySet<string>;
  /** Names of the flags that were said to be false. */
  denied: ReadonlySet<string>;
  /** Ends the work when the user interrupts it. */
  signal: AbortSignal;
  /** Shows an event on standard error. */
  onEvent: (event: RunEvent) => void;
  /** Shows a warning on standard error. */
  onWarning: (message: Text) => void;
  /** Shows a line that is no part of the result on standard error. */
  tell: (text: string) => void;
  /** Prints the result: as JSON where that is asked for, in words elsewhere. */
  print: (result: unknown, text: string) => void;
}

/** Makes a task with the types of its options, and runs it if its file is the one that was started. */
export async function defineTask<Options extends Fields>(
  task: Task<Options>,
  { main }: { main: boolean },
): Promise<Task<Options>> {
  field.section("Command", task.options);
  if (main) await runTask(task);
  return task;
}

const GRACE_MS = 1500;
/**
 * Milliseconds within which two signals count as one: a scheduler sends a signal to a task and also to `deno
 * task`, which passes it on.
 */
const SAME_MS = 500;
const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/** Runs a task with the process's arguments and ends the process with its exit code. */
async function runTask<Options extends Fields>(task: Task<Options>): Promise<never> {
  const { args } = Deno;
  if (args.includes("--help") || args.includes("-h")) {
    try {
      console.log(helpOf(task));
    } catch (error) {
      console.error(await describe(error));
      Deno.exit(exitCode(error));
    }
    Deno.exit(0);
  }
  const interruption = new AbortController();
  const { signal } = interruption;
  let interrupted = 0;
  const interrupt = () => {
    if (signal.aborted && performance.now() - interrupted < SAME_MS) return;
    if (signal.aborted) Deno.exit(130);
    interrupted = performance.now();
    interruption.abort(new DOMException("interrupted", "AbortError"));
    if (!task.drains) setTimeout(endAnyway, GRACE_MS);
  };
  let saving = 0; // trainings that save a checkpoint: several may go on side by side, also of other runs
  /**
   * Ends a process that does not react to the signal: no file under a final name is half written. Checkpoints
   * that are being saved are waited for.
   */
  const endAnyway = () => saving > 0 ? setTimeout(endAnyway, 50) : void tellAndExit(signal.reason);
  SIGNALS.forEach((name) => Deno.addSignalListener(name, interrupt));
  // Beyond the limit of a file's size a write then fails, and is told of, where it would end the process without a word.
  if (Deno.build.os !== "windows") Deno.addSignalListener("SIGXFSZ", () => {});

  const isJson = /(^|\n)--log[\n=]json(\n|$)/.test(args.join("\n")); // also where flags are refused
  const progress = await startProgress(isJson ? "json" : "text");
  const known: Known = { startsAnew: task.startsAnew === true };
  const onEvent = (event: RunEvent) => {
    if (event.type === "checkpoint") saving += event.state === "started" ? 1 : -1;
    if (event.type === "adapter") known.adapter = event.adapter;
    if (event.type !== "checkpoint") progress.show(event);
  };
  let ending: Promise<never> | undefined; // that of the first error, as others may follow from it
  const end = (error: unknown): Promise<never> => ending ??= tellAndExit(error);
  const tellAndExit = async (error: unknown): Promise<never> => {
    progress.stop();
    const code = signal.aborted ? 130 : exitCode(error);
    if (code === 130) {
      const again = args.includes("--force") ? "the same command without --force" : "the same command";
      const text = known.startsAnew ? "interrupted" : `interrupted: run ${again} again to continue`;
      progress.tell("error", text, { code });
    } else if (code !== 0) {
      const text = await describe(error, known);
      progress.tell("error", isJson ? text.replace(/^error: /, "") : text, { code });
      if (args.includes("--verbose")) console.error(error);
    }
    Deno.exit(code);
  };
  globalThis.addEventListener("unhandledrejection", (event) => {
    event.preventDefault();
    end(event.reason);
  });
  try {
    const tell = (text: string) => progress.tell("note", text);
    await perform(task, args, { known, signal, onEvent, tell, print: (text) => console.log(text) });
  } catch (error) {
    await end(error);
  }
  progress.stop();
  Deno.exit(0);
}

/** What a task is given to work with, besides its arguments. */
export interface Frame {
  /** Takes what the arguments say, for what is told at the end. */
  known?: Known;
  /** Ends the work. */
  signal: AbortSignal;
  /** Takes what happens. */
  onEvent: (event: RunEvent) => void;
  /** Takes a line that is no part of the result. */
  tell: (text: string) => void;
  /** Takes the result, as JSON or in words. */
  print: (text: string) => void;
}

/** Reads a task's arguments and does it. Throws what is wrong with them, and what it throws. */
export async function perform<Options extends Fields>(
  task: Task<Options>,
  args: string[],
  { known = {}, signal, onEvent, tell, print }: Frame,
): Promise<void> {
  const call = await readArguments(task, args);
  if (typeof task.startsAnew === "function") known.startsAnew = task.startsAnew(call);
  if ("run" in call.options) known.run = String(call.options.run);
  known.choosing = "expert" in task.options;
  if ("onGpu" in call.options && call.given.has("onGpu")) {
    await checkOneCard(Number(call.options.onGpu), task.name);
  }
  await task.run({
    ...{ ...call, signal, onEvent, tell },
    onWarning: (message) => onEvent({ type: "warning", message }),
    print: (result, text) => print(call.options.json ? JSON.stringify(result, null, 2) : text),
  });
}

/** Lists the fields that a task takes, by name: settings, then options. */
export function fieldsOf<Options extends Fields>({ name, options }: Task<Options>): Fields {
  const settings = settingsOf(name).map((name) => [name, FIELDS[name]]);
  return { ...Object.fromEntries(settings), ...options, ...PRINTING };
}

async function readArguments<Options extends Fields>(task: Task<Options>, args: string[]) {
  const table = { ...task.options, ...PRINTING };
  const { words, paths, unknown, meant } = readWords(task, args);
  const remedy = meant === undefined ? "see --help" : `if it is a value, write ${meant}`;
  if (unknown !== undefined) {
    const own = Object.values(fieldsOf(task)).map(({ flag }) => flag);
    throw await unknownFlag(task.name, own, unknown, remedy);
  }
  if (paths.length > 0 && task.positional === undefined) {
    const what = `Cannot run task "${task.name}" as it takes flags only: "${paths[0]}" is none`;
    throw new InputError(what, { remedy });
  }
  const settings: Record<string, unknown> = {};
  const options: Record<string, unknown> = {};
  const denied = new Set<string>();
  for (const [field, texts] of words) {
    const value = valueOf(field, texts);
    if (value === undefined) denied.add(field.name);
    else (field.name in table ? options : settings)[field.name] = value;
  }
  const flags = someValuesOf(FIELDS, settings);
  if (flags.corpus !== undefined && flags.input !== undefined) {
    const [input, corpus] = [setting("input"), setting("corpus")];
    const both = `input is ${flags.input}, corpus is ${flags.corpus}`;
    throw new InputError(
      say`Cannot read two corpora, as only one of ${input} and ${corpus} may be given: ${both}`,
    );
  }
  if (flags.corpus !== undefined) flags.input = []; // inputs that a file or the run names do not count
  const { preset, config } = options as { preset?: string; config?: string };
  const file = config === undefined ? undefined : await readConfiguration(config);
  const sources = { preset, file, flags };
  const given = new Set(Object.keys(options));
  return { paths: paths.map(fromHere), sources, options: valuesOf(table, options), given, denied };
}

/**
 * Reads the flags with their words, and the paths. The parser is not told any flags, so it reports every word
 * on its own. A value that is empty, or `-`, or a number below 0 looks to the parser like a path, and one that
 * begins with a dash and holds white space like a flag; here the flag before it tells that it is a value.
 * `unknown` is the first word that is no flag of the task; `meant` is how to write the first other word that
 * begins with a dash if the flag before it has it as its value.
 */
function readWords<Options extends Fields>(
  task: Task<Options>,
  args: string[],
): { words: Map<Field, string[]>; paths: string[]; unknown?: string; meant?: string } {
  const byFlag = new Map(Object.values(fieldsOf(task)).map((field) => [field.flag, field]));
  const words = new Map<Field, string[]>();
  const paths: string[] = [];
  let unknown: string | undefined;
  let meant: string | undefined;
  let open: { flag: string; all: string[] } | undefined; // the flag before, as long as its value is missing
  let taken: string | undefined; // the last value that begins with a dash: the parser may report each of its letters
  const { _: rest } = parseArgs(args, {
    string: ["_"],
    unknown: (word, key, value) => {
      const before = open;
      open = undefined;
      if (before && /^(-\d.*|-?|-[^=]*\s.*)$/s.test(word)) {
        before.all[before.all.length - 1] = taken = word;
        const hasNext = word.startsWith("--") && typeof value === "string" && !word.endsWith(`=${value}`);
        if (hasNext) paths.push(value); // the word after it
        return false;
      }
      const asValue = before && word.startsWith("-") ? `--${before.flag}=${quoted(word)}` : undefined;
      if (key === undefined) {
        paths.push(word);
        meant ??= asValue;
      } else if (word !== taken) {
        const [flag, inline] = /^--([^=]*)(?:=(.*))?$/s.exec(word)?.slice(1) ?? [key];
        const field = word.startsWith("--") ? byFlag.get(flag) : undefined;
        if (!field) {
          unknown ??= word;
          meant ??= asValue;
          return false;
        }
        const next = typeof value === "string" && !inline ? value : undefined; // the word after it
        const takesNext = inline === undefined &&
          (field.form !== "flag" || next === "true" || next === "false");
        const all = [...words.get(field) ?? [], inline ?? (takesNext ? next ?? "" : "true")];
        words.set(field, all);
        if (next === undefined) open = takesNext ? { flag, all } : undefined;
        else if (!takesNext) paths.push(next);
      }
      return false;
    },
  });
  return { words, paths: [...paths, ...rest.map(String)], unknown, meant };
}

/** Reads the words of a flag as its value; undefined for a flag that is false. */
function valueOf(field: Field, words: string[]): unknown {
  const named = setting(field.name);
  const text = words.map((word) => JSON.stringify(word)).join(" and ");
  if (field.form === "flag" && !words.every((word) => /^(true|false)$/.test(word))) {
    const what = say`Cannot use ${named} as it takes no value but true or false: it is ${text}`;
    throw new InputError(what, { remedy: "leave it out for no" });
  }
  const different = field.form === "flag" ? [...new Set(words)] : words;
  if (field.form !== "texts" && different.length > 1) {
    throw new InputError(say`Cannot use ${named} as it must be given once: it is ${text}`);
  }
  if (field.form !== "text" && words.includes("")) {
    throw new InputError(say`Cannot use ${named} as it must have a value, ${field.requirement}: it has none`);
  }
  const read = field.isPath ? fromHere : (word: string) => parseValue(field, word);
  if (field.form === "texts") return words.map(read);
  return field.form === "flag" && words[0] === "false" ? undefined : read(words[0]);
}

/** Resolves a path as it was typed: `deno task` runs in the folder of the project, wherever it was called. */
export function fromHere(path: string): string {
  const here = Deno.env.get("INIT_CWD");
  const asTyped = /^(-?$|\/)/.test(path) || here === undefined || here === Deno.cwd();
  return asTyped ? path : resolve(here, path);
}

/** Width of the column of flags in a help text. A longer flag stands on a line of its own. */
const HELP_COLUMN = 30;
const { HELP } = field.section("Command", { HELP: field.flag({ flag: "help", help: "print this" }) });

/** Writes a task's help from its table. */
export function helpOf<Options extends Fields>(task: Task<Options>): string {
  const fields = [...Object.values(fieldsOf(task)), HELP];
  const sections = Map.groupBy(fields, ({ section }) => section);
  const body = [...sections].map(([section, fields]) => [section, ...fields.map(helpLine)].join("\n"));
  const positional = task.positional ? ` ${task.positional}` : "";
  const usage = `Usage: deno task ${task.name}${positional} [flags]`;
  return [usage, task.about, ...body, "A value that begins with a dash follows =, as in --flag=-VALUE."]
    .join("\n\n");
}

function helpLine({ flag, value, help, default: standard = "" }: Field): string {
  const left = `  --${flag} ${value}`.trimEnd();
  const isShown = Array.isArray(standard) || ["string", "number"].includes(typeof standard);
  const shown = isShown && String(standard) !== "" ? ` (default ${standard})` : "";
  const broken = left.length > HELP_COLUMN ? `${left}\n${" ".repeat(HELP_COLUMN)}` : left.padEnd(HELP_COLUMN);
  return `${broken} ${worded(help)}${shown}`;
}
