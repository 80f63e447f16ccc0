/**
 * Reads the arguments of a task by its table of fields.
 *
 * @module
 */

import { resolve } from "node:path";
import { InputError, say, setting } from "../kernels/mod.ts";
import { readConfiguration } from "../pipeline/run/mod.ts";
import {
  type Field,
  FIELDS,
  type Fields,
  fillValues,
  parseValue,
  readSomeValues,
  type Sources,
  withLevels,
} from "../pipeline/settings/mod.ts";
import { unknownFlag } from "./flags.ts";
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
  given: ReadonlySet<string>;
  /** Names of the flags that were said to be false. */
  denied: ReadonlySet<string>;
}

/** Reads the arguments of a task that takes `options`, and `fields` in all: settings as well. */
export async function readArguments(
  { name, positional, options: own, fields }: Record<"options" | "fields", Fields> & {
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
  if (paths.length > 0 && positional === undefined) {
    throw new InputError(`Cannot run task "${name}" as it takes flags only: "${paths[0]}" is none`, {
      remedy,
    });
  }
  const settings: Record<string, unknown> = {};
  const options: Record<string, unknown> = {};
  const denied = new Set<string>();
  for (const [field, texts] of words) {
    const value = valueOf(field, texts);
    if (value === undefined) denied.add(field.name);
    else (field.name in own ? options : settings)[field.name] = value;
  }
  const flags = readSomeValues(FIELDS, withLevels(settings));
  if (flags.corpus !== undefined && flags.input !== undefined) {
    const both = say`only one of ${setting("input")} and ${setting("corpus")} may be given`;
    throw new InputError(
      say`Cannot read two corpora, as ${both}: input is ${flags.input}, corpus is ${flags.corpus}`,
    );
  }
  if (flags.corpus !== undefined) flags.input = []; // inputs that a file or the run names do not count
  const { preset, config } = options as { preset?: string; config?: string };
  const file = config === undefined ? undefined : await readConfiguration(config);
  return {
    paths: paths.map(fromHere),
    sources: { preset, file, flags },
    options: fillValues(own, options),
    given: new Set(Object.keys(options)),
    denied,
  };
}

/** What follows a flag as its value though it begins with a dash: a number, standard input, a text with white space. */
const DASHED_VALUE = /^(-\d.*|-|-[^=]*\s.*)$/s;

/**
 * Reads the flags with their words, and the paths. `unknown` is the first word with a dash that is no flag of the task; `meant` is
 * how to write it if the flag before it has it as its value.
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
