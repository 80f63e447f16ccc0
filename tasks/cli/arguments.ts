/**
 * Reads the arguments of a task by its table of fields. Of a flag that the task does not have it
 * reports which of its own is meant, and which other tasks have it.
 *
 * @module
 */

import { resolve } from "node:path";
import { ensure, InputError, say, setting } from "../../kernels/errors.ts";
import { readConfiguration } from "../../pipeline/graph/configuration.ts";
import {
  type Field,
  FIELDS,
  type Fields,
  fillValues,
  nearest,
  parseValue,
  readSomeValues,
  type Sources,
  withLevels,
} from "../../pipeline/settings/mod.ts";
import { quoted } from "./wording.ts";

/** The arguments of a task. */
export interface Arguments {
  /** Positional arguments: paths, or `-`. */
  paths: string[];
  /** Where the configuration's values come from. */
  sources: Sources;
  /** Values of the options, by name. */
  options: Record<string, unknown>;
  /** Names of the options that were given. */
  givenNames: ReadonlySet<string>;
  /** Names of the flags that were said to be false. */
  denied: ReadonlySet<string>;
}

/** Reads the arguments of a task that takes `options`, and `fields` in all: settings as well. */
export async function readArguments(
  { name, positional, options: ownOptions, fields }: Record<"options" | "fields", Fields> & {
    name: string;
    positional?: string;
  },
  args: readonly string[],
): Promise<Arguments> {
  const { words, paths, unknown, meant } = readWords(fields, args);
  const remedy = meant === undefined ? "see --help" : `if it is a value, write ${meant}`;
  if (unknown !== undefined) {
    throw await unknownFlag(name, Object.values(fields).map(({ flag }) => flag), unknown, remedy);
  }
  const isTaken = paths.length === 0 || positional !== undefined;
  ensure(isTaken, `Cannot run task "${name}" as it takes flags only: "${paths[0]}" is none`, {
    remedy,
  });
  const settings: Record<string, unknown> = {};
  const options: Record<string, unknown> = {};
  const denied = new Set<string>();
  for (const [field, texts] of words) {
    const value = valueOf(field, texts);
    if (value === undefined) denied.add(field.name);
    else (field.name in ownOptions ? options : settings)[field.name] = value;
  }
  const flags = readSomeValues(FIELDS, withLevels(settings));
  if (flags.corpus !== undefined) {
    const both = `input is ${flags.input}, corpus is ${flags.corpus}`;
    ensure(
      !flags.input,
      `Cannot read two corpora, as only one of --input and --corpus may be given: ${both}`,
    );
    flags.input = []; // inputs that a file or the run names do not count
  }
  const { preset, config } = options as { preset?: string; config?: string };
  const file = config === undefined ? undefined : await readConfiguration(config);
  return {
    paths: paths.map(fromHere),
    sources: { preset, file, flags },
    options: fillValues(ownOptions, options),
    givenNames: new Set(Object.keys(options)),
    denied,
  };
}

/**
 * What follows a flag as its value though it begins with a dash: a number, standard input, a text
 * with white space.
 */
const DASHED_VALUE = /^(-\d.*|-|-[^=]*\s.*)$/s;

/**
 * Reads the flags with their words, and the paths. `unknown` is the first word with a dash that is
 * no flag of the task; `meant` is how to write it if the flag before it has it as its value.
 */
function readWords(fields: Fields, args: readonly string[]) {
  const byFlag = new Map(Object.values(fields).map((field) => [field.flag, field]));
  const words = new Map<Field, string[]>();
  const paths: string[] = [];
  let [unknown, meant, open]: (string | undefined)[] = [];
  for (let i = 0; i < args.length; i++) {
    const word = args[i];
    const [, flag, inline] = /^--([^=]+)(?:=(.*))?$/s.exec(word) ?? [];
    const field = flag === undefined ? undefined : byFlag.get(flag);
    if (word === "--") {
      paths.push(...args.slice(i + 1));
      break;
    }
    if (field !== undefined) {
      const next = args.at(i + 1);
      const isNext = inline === undefined && next !== undefined &&
        (field.form === "flag"
          ? /^(true|false)$/.test(next)
          : !next.startsWith("-") || DASHED_VALUE.test(next));
      if (isNext) i++;
      const value = inline ?? (isNext ? next : field.form === "flag" ? "true" : "");
      words.set(field, [...words.get(field) ?? [], value]);
      open = inline === undefined && !isNext && field.form !== "flag" ? flag : undefined;
      continue;
    }
    if (!/^-./.test(word)) paths.push(word);
    else if (unknown === undefined) {
      unknown = word;
      if (open !== undefined) meant = `--${open}=${quoted(word)}`;
    }
    open = undefined;
  }
  return { words, paths, unknown, meant };
}

/** Reads the words of a flag as its value; undefined for a flag that is false. */
function valueOf(field: Field, words: string[]): unknown {
  const named = setting(field.name);
  const text = words.map((word) => JSON.stringify(word)).join(" and ");
  const isFlag = field.form === "flag";
  const different = isFlag ? new Set(words).size : words.length;
  ensure(
    !isFlag || words.every((word) => /^(true|false)$/.test(word)),
    say`Cannot use ${named} as it takes no value but true or false: it is ${text}`,
    { remedy: "leave it out for no" },
  );
  const isOnce = field.form === "texts" || different === 1;
  ensure(isOnce, say`Cannot use ${named} as it must be given once: it is ${text}`);
  const hasValue = field.form === "text" || !words.includes("");
  ensure(
    hasValue,
    say`Cannot use ${named} as it must have a value, ${field.requirement}: it has none`,
  );
  const read = field.isPath ? fromHere : (word: string) => parseValue(field, word);
  if (field.form === "texts") return words.map(read);
  return isFlag && words[0] === "false" ? undefined : read(words[0]);
}

/**
 * Resolves a path as it was typed: `deno task` runs in the folder of the project, wherever it was
 * called.
 */
export function fromHere(path: string): string {
  const here = Deno.env.get("INIT_CWD");
  const asTyped = /^(-?$|\/)/.test(path) || here === undefined || here === Deno.cwd();
  return asTyped ? path : resolve(here, path);
}

/**
 * What people type who know other programs, and the flags that do it here: a task has some of them,
 * or none.
 */
const MEANT: [typed: string, flags: string][] = [
  ["lr learning-rate rate", "learning-rate expert-rate router-rate dense-rate"],
  ["batch-size batch micro-batch-size", "expert-batch router-batch score-batch"],
  ["steps max-steps num-steps iters max-iters", "expert-steps rounds"],
  ["epochs num-epochs", "epochs expert-epochs rounds"],
  ["input-dir input-file data data-dir dataset inputs", "input run"],
  ["output-dir out-dir out dir folder", "output run"],
  ["num-experts n-experts clusters k", "experts"],
  ["seq-len seq-length context block-size max-length", "sequence-length"],
  ["device cuda", "gpu adapter"],
  ["dense-steps dense-compute", "match"],
];

const MOST_TASKS = 3; // that are named

/**
 * Explains that `word` is no flag of a task, whose flags are `own`. It names those of them that are
 * meant, or the one that is near, and the tasks that have this very flag.
 */
async function unknownFlag(
  task: string,
  ownFlags: readonly string[],
  word: string,
  remedy = "see --help",
): Promise<InputError> {
  const flag = word.replace(/=.*/s, "");
  const name = flag.replace(/^--?/, "");
  const [, meantFlags = ""] = MEANT.find(([typed]) => typed.split(" ").includes(name)) ?? [];
  const meant = meantFlags.split(" ").filter((flagName) => ownFlags.includes(flagName)).map((
    flagName,
  ) => `--${flagName}`);
  const near = nearest(name, [...ownFlags, "help"]);
  const facts = [`${flag} is not`];
  if (meant.length > 0) facts.push(`here it is ${meant.join(" or ")}`);
  else if (near !== undefined) facts.push(`the nearest is --${near}`);
  // By a table: loading the tasks would load their packages, which need not be here.
  const table = await Deno.readTextFile(new URL("../flags.json", import.meta.url));
  const otherTasks = Object.entries<string>(JSON.parse(table))
    .filter(([taskName, flags]) =>
      taskName !== task && flag === `--${name}` && flags.split(" ").includes(name)
    );
  if (otherTasks.length > 0) {
    const names = otherTasks.slice(0, MOST_TASKS).map(([name]) => `"${name}"`).join(", ");
    const further = otherTasks.length > MOST_TASKS
      ? ` and ${otherTasks.length - MOST_TASKS} more`
      : "";
    facts.push(
      `but ${
        otherTasks.length === 1 ? `task ${names} takes` : `tasks ${names}${further} take`
      } ${flag}`,
    );
  }
  const refusal = `Cannot run task "${task}" as every flag must be one of its own: ${
    facts.join(", ")
  }`;
  return new InputError(refusal, { remedy });
}
