/**
 * Stands in for `@std/cli/parse-args` where JSR cannot be reached: long flags (`--name value`, `--name=value`,
 * `--no-name`), single letters that are aliases, and positional arguments.
 *
 * @module
 */

/** Says how `parseArgs` reads each flag. */
export interface ParseOptions {
  /** Flags that take no value; false where absent. */
  boolean?: readonly string[];
  /** Flags whose value stays a string. */
  string?: readonly string[];
  /** Flags that may be repeated; their values come as an array, empty where absent. */
  collect?: readonly string[];
  /** Flags that `--no-name` sets to false. */
  negatable?: readonly string[];
  /** Other names of a flag. */
  alias?: Record<string, string | readonly string[]>;
  /** Values of absent flags. */
  default?: Record<string, unknown>;
  /** Called with what is not declared; returning false leaves it out of the result. */
  unknown?: (arg: string, key?: string, value?: unknown) => unknown;
}

/** Holds the flags by name, and in `_` the positional arguments. */
export interface Args {
  /** The positional arguments. */
  _: (string | number)[];
  // deno-lint-ignore no-explicit-any
  [flag: string]: any;
}

const NUMBER = /^(0x[0-9a-f]+|[-+]?(\d+(\.\d*)?|\.\d+)(e[-+]?\d+)?)$/i;
const numeric = (text: string): string | number => NUMBER.test(text) ? Number(text) : text;

/** Parses command-line arguments; everything after `--` is positional. */
export function parseArgs(args: string[], options: ParseOptions = {}): Args {
  const others = new Map<string, string[]>();
  for (const [key, names] of Object.entries(options.alias ?? {})) {
    const all = [key, ...[names].flat() as string[]];
    for (const name of all) others.set(name, all.filter((other) => other !== name));
  }
  const withAliases = (names: readonly string[] = []) =>
    new Set(names.flatMap((name) => [name, ...(others.get(name) ?? [])]));
  const booleans = withAliases(options.boolean);
  const strings = withAliases(options.string);
  const collected = withAliases(options.collect);
  const negatable = withAliases(options.negatable);
  const result: Args = { _: [] };

  function set(key: string, value: string | boolean, arg: string, collect = true): void {
    const known = booleans.has(key) || strings.has(key) || others.has(key);
    if (!known && options.unknown?.(arg, key, value) === false) return;
    const parsed = typeof value === "string" && !strings.has(key) ? numeric(value) : value;
    for (const name of [key, ...(others.get(key) ?? [])]) {
      if (collect && collected.has(name)) (result[name] ??= []).push(parsed);
      else result[name] = parsed;
    }
  }

  const end = args.indexOf("--");
  const flags = end < 0 ? args : args.slice(0, end);
  for (let i = 0; i < flags.length; i++) {
    const arg = flags[i];
    const long = /^--([^-].*?)(?:=(.+))?$/s.exec(arg);
    const short = /^-([A-Za-z])$/.exec(arg);
    if (!long && !short) {
      if (options.unknown?.(arg) !== false) result._.push(strings.has("_") ? arg : numeric(arg));
      continue;
    }
    const key = (long ?? short)![1];
    const inline = long?.[2];
    const negated = long && key.startsWith("no-") ? key.slice(3) : "";
    const next = flags[i + 1];
    if (inline !== undefined) set(key, booleans.has(key) ? inline !== "false" : inline, arg);
    else if (negatable.has(negated)) set(negated, false, arg, false);
    else if (!booleans.has(key) && next && !next.startsWith("-")) set(key, flags[++i], arg);
    else if (next === "true" || next === "false") set(key, flags[++i] === "true", arg);
    else set(key, strings.has(key) ? "" : true, arg);
  }
  for (const [key, value] of Object.entries(options.default ?? {})) {
    for (const name of [key, ...(others.get(key) ?? [])]) result[name] ??= value;
  }
  for (const name of booleans) result[name] ??= collected.has(name) ? [] : false;
  for (const name of collected) if (strings.has(name)) result[name] ??= [];
  if (end >= 0) result._.push(...args.slice(end + 1));
  return result;
}
