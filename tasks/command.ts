/**
 * Frames every task: flags from the table, `--help`, errors on one line, exit codes, Ctrl-C.
 * Exit codes: 0 done; 1 failed while running; 2 wrong usage or bad input; 130 interrupted.
 *
 * @module
 */

import { parseArgs } from "@std/cli/parse-args";
import { resolve } from "node:path";
import {
  checkValue,
  type Configuration,
  type Field,
  FIELDS,
  fieldsOf,
  nearest,
  OPTIONS,
  parseValue,
  parseVariants,
  readConfiguration,
  requirement,
  type RunEvent,
  type Sources,
} from "../mod.ts";
import { startProgress } from "./progress.ts";

/** Describes a task. */
export interface Task {
  /** Name, as in `deno task <name>`. */
  name: string;
  /** What it does, in one sentence. */
  about: string;
  /** What its positional arguments are, as the help shows them; none are taken where it is absent. */
  positional?: string;
  /** Whether it begins anew after an interruption; others go on. */
  startsAnew?: true;
  /** Does it. */
  run: (call: Call) => Promise<void>;
}

/** Holds what a task was called with. */
export interface Call {
  /** Positional arguments: paths, or `-`. */
  paths: string[];
  /** Where the configuration's values come from. */
  sources: Sources;
  /** Values of the options, by name. */
  // deno-lint-ignore no-explicit-any
  options: Record<string, any>;
  /** Ends the work when the user interrupts it. */
  signal: AbortSignal;
  /** Shows what happens on standard error. */
  onEvent: (event: RunEvent) => void;
}

const GRACE_MS = 3000;

/** Runs a task with the process's arguments and ends the process with its exit code. */
export async function runTask(task: Task): Promise<never> {
  const args = [...Deno.args];
  if (args.includes("--help") || args.includes("-h")) {
    console.log(helpOf(task));
    Deno.exit(0);
  }
  const interruption = new AbortController();
  const interrupt = () => {
    if (interruption.signal.aborted) Deno.exit(130);
    interruption.abort(new DOMException("interrupted", "AbortError"));
    setTimeout(() => Deno.exit(130), GRACE_MS); // what does not listen is ended: no final name holds half a file
  };
  Deno.addSignalListener("SIGINT", interrupt);
  Deno.addSignalListener("SIGTERM", interrupt);

  const progress = startProgress();
  const end = (error: unknown): never => {
    progress.stop();
    const code = interruption.signal.aborted ? 130 : exitCode(error);
    if (code === 130) {
      const again = args.includes("--force") ? "the same command without --force" : "the same command";
      console.error(task.startsAnew ? "interrupted" : `interrupted: run ${again} again to continue`);
    } else if (code !== 0) console.error(args.includes("--verbose") ? error : `error: ${describe(error)}`);
    Deno.exit(code);
  };
  globalThis.addEventListener("unhandledrejection", (event) => {
    event.preventDefault();
    end(event.reason);
  });
  try {
    await task.run({
      ...await readArguments(task, args),
      signal: interruption.signal,
      onEvent: progress.show,
    });
  } catch (error) {
    end(error);
  }
  progress.stop();
  Deno.exit(0);
}

/** Maps an error to an exit code; a reader downstream that closed its end early is no error. */
export function exitCode(error: unknown): number {
  if (error instanceof Deno.errors.BrokenPipe) return 0;
  const input = [
    TypeError,
    RangeError,
    SyntaxError,
    Deno.errors.NotFound,
    Deno.errors.IsADirectory,
    Deno.errors.NotADirectory,
    Deno.errors.PermissionDenied,
    Deno.errors.NotCapable,
  ];
  return input.some((kind) => error instanceof kind) ? 2 : 1;
}

/** Describes an error on one line. */
export function describe(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const line = error.message.replace(/\s*\n\s*/g, " ").trim();
  if (line.startsWith("Cannot ")) return line;
  const path = /'([^']*)'$|"([^"]*)"/.exec(line);
  const named = path ? `"${path[1] ?? path[2]}"` : "a path";
  if (error instanceof Deno.errors.NotFound) {
    return `Cannot open ${named} as it must exist: there is no such file or folder`;
  }
  if (error instanceof Deno.errors.NotCapable) {
    return `Cannot use ${named} as this task must be permitted to: ${line}; use an ordinary file, or - for standard input`;
  }
  if (/os error 28\b/.test(line)) {
    return "Cannot write the output as there must be room for it: the disk or device is full; free some space and run again";
  }
  if (/os error \d+/.test(line)) return `Cannot use ${named} as the system must allow it: ${line}`;
  return line;
}

async function readArguments(task: Task, args: string[]): Promise<Omit<Call, "signal" | "onEvent">> {
  const fields = fieldsOf(task.name);
  const byFlag = Object.fromEntries(
    Object.entries(fields).map(([name, field]) => [field.flag, { name, field }]),
  );
  const flags = Object.keys(byFlag);
  const booleans = flags.filter((flag) => byFlag[flag].field.type === "boolean");
  const texts = flags.filter((flag) => !booleans.includes(flag));
  for (const [, flag, value] of args.map((arg) => /^--([^=]+)=(.*)$/s.exec(arg) ?? [])) {
    if (value === undefined || !booleans.includes(flag) || /^(true|false)$/.test(value)) continue;
    throw new TypeError(
      `Cannot use --${flag} as it takes no value but true or false: it is "${value}"; leave it out for no`,
    );
  }
  const { filled, emptied } = withoutEmpty(args, texts);
  const parsed: Record<string, unknown> & { _: (string | number)[] } = parseArgs(joinValues(filled, texts), {
    string: [...texts, "_"],
    boolean: booleans,
    collect: texts,
    unknown: (arg, key) => {
      if (key === undefined) return true;
      throw new TypeError(
        `Cannot run task "${task.name}" as every flag must be one of its own: ${
          arg.replace(/=.*/s, "")
        } is not, ` +
          `the nearest is --${nearest(key, [...flags, "help"])}; see --help`,
      );
    },
  });
  for (const flag of emptied) (parsed[flag] as string[]).push("");
  const paths = parsed._.map((path) => fromHere(String(path)));
  if (paths.length > 0 && task.positional === undefined) {
    throw new TypeError(
      `Cannot run task "${task.name}" as it takes flags only: "${paths[0]}" is none; see --help`,
    );
  }

  const given: Record<string, unknown> = {};
  const options = Object.fromEntries(Object.entries(OPTIONS).map(([name, field]) => [name, field.default]));
  for (const { name, field } of Object.values(byFlag)) {
    const value = valueOf(field, parsed[field.flag]);
    if (value === undefined) continue;
    checkValue(field, value);
    const target = name in FIELDS ? given : options;
    target[name] = value;
  }
  if (given.corpus !== undefined) {
    if (given.input !== undefined) {
      throw new RangeError(
        `Cannot read two corpora, as only one of --input and --corpus may be given: input is ${given.input}, ` +
          `corpus is ${given.corpus}`,
      );
    }
    given.input = []; // an input that a file or the run names is not meant
  }
  const variants = parseVariants(String(options.variants));
  const file = options.config ? await readConfiguration(String(options.config)) : undefined;
  const sources: Sources = {
    preset: String(options.preset) || undefined,
    file,
    flags: given as Partial<Configuration>,
  };
  return { paths, sources, options: { ...options, variants } };
}

/** Takes out every `--flag ""` and `--flag=`, which the parser cannot tell from other things. */
function withoutEmpty(args: string[], flags: string[]): { filled: string[]; emptied: string[] } {
  const filled: string[] = [];
  const emptied: string[] = [];
  for (const arg of args) {
    const last = filled.at(-1);
    if (arg === "" && last?.startsWith("--") && flags.includes(last.slice(2))) {
      emptied.push(filled.pop()!.slice(2));
    } else if (/^--.*=$/.test(arg) && flags.includes(arg.slice(2, -1))) emptied.push(arg.slice(2, -1));
    else filled.push(arg);
  }
  return { filled, emptied };
}

/** Joins `--flag value` to `--flag=value` where the value begins with a dash: `-` is standard input, `-1` a number. */
function joinValues(args: string[], flags: string[]): string[] {
  const joined: string[] = [];
  for (const arg of args) {
    const last = joined.at(-1);
    if (/^-(\d.*)?$/.test(arg) && last?.startsWith("--") && flags.includes(last.slice(2))) {
      joined[joined.length - 1] = `${last}=${arg}`;
    } else joined.push(arg);
  }
  return joined;
}

function valueOf(field: Field, parsed: unknown): unknown {
  if (field.type === "boolean") return parsed === true ? true : undefined;
  const values = parsed as string[];
  if (values.length === 0) return undefined;
  if (values.includes("") && field.type !== "text") {
    throw new TypeError(
      `Cannot use --${field.flag} as it must have a value, ${requirement(field)}: it has none`,
    );
  }
  const isPath = ["PATH", "FILE", "FOLDER"].includes(field.value ?? "");
  if (values.includes("") && ["run", "output"].includes(field.flag)) {
    throw new TypeError(`Cannot use --${field.flag} as it must name a path: it is empty`);
  }
  if (field.type === "texts") return isPath ? values.map(fromHere) : values;
  return isPath ? fromHere(values.at(-1)!) : parseValue(field, values.at(-1)!);
}

/** Resolves a path that was typed: `deno task` works in the project's folder, wherever it was called. */
function fromHere(path: string): string {
  const here = Deno.env.get("INIT_CWD");
  const asTyped = path === "" || path === "-" || path.startsWith("/") || here === undefined ||
    here === Deno.cwd();
  return asTyped ? path : resolve(here, path);
}

/** Width of the column of flags in a help text; longer ones take a line of their own. */
const HELP_COLUMN = 28;

/** Writes a task's help from the table. */
export function helpOf(task: Task): string {
  const rows: [section: string, left: string, right: string][] = [];
  for (const field of Object.values(fieldsOf(task.name))) {
    const value = field.type === "boolean"
      ? ""
      : ` ${field.value ?? (field.choices ? field.choices.join("|") : "N")}`;
    rows.push([field.section, `--${field.flag}${value}`, field.help + defaultText(field)]);
  }
  rows.push(["Command", "--help", "print this"]);
  const sections = [...new Set(rows.map(([section]) => section))];
  const positional = task.positional ? ` ${task.positional}` : "";
  const body = sections.map((section) =>
    `${section}\n` +
    rows.filter((row) => row[0] === section).map(([, left, right]) =>
      left.length > HELP_COLUMN
        ? `  ${left}\n${" ".repeat(HELP_COLUMN + 3)}${right}`
        : `  ${left.padEnd(HELP_COLUMN)} ${right}`
    ).join("\n")
  );
  return [`Usage: deno task ${task.name}${positional} [flags]`, task.about, ...body].join("\n\n");
}

function defaultText(field: Field): string {
  const value = field.default;
  if (field.type === "boolean" || value === "" || (Array.isArray(value) && value.length === 0)) return "";
  return ` (default ${value})`;
}
