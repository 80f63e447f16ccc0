/** Reads the flags of the small benchmarks: whole numbers, sizes, names out of a list, and what is so or not. */

import { parseArgs } from "@std/cli/parse-args";
import { parseBytes } from "../../tasks/options.ts";

/**
 * What a flag takes unless it is given: a whole number of at least 1, a size in bytes, or the last of the names that it may be; or false, for
 * one without a value.
 */
type Flag = number | { bytes: number } | readonly string[] | false;
type Value<F extends Flag> = F extends number | { bytes: number } ? number
  : F extends false ? boolean
  : F extends readonly (infer Name)[] ? Name
  : never;

/**
 * Gives a value per flag. The process ends with code 2 on a flag or a value that may not be, and after the help where that is
 * asked for: `about` says what is measured.
 */
export function benchFlags<Flags extends Record<string, Flag>>(
  about: string,
  flags: Flags,
): { [Name in keyof Flags]: Value<Flags[Name]> } {
  const fail = (message: string): never => {
    console.error(`error: Cannot measure as ${message}`);
    Deno.exit(2);
  };
  const names = Object.keys(flags);
  if (Deno.args.includes("--help")) {
    const line = (name: string) => {
      const flag = flags[name];
      if (flag === false) return `  --${name}`;
      if (typeof flag === "number") return `  --${name} N  (default ${flag})`;
      if ("bytes" in flag) return `  --${name} SIZE  (default ${flag.bytes / 2 ** 20}MiB)`;
      return `  --${name} ${flag.join("|")}  (default ${flag.at(-1)})`;
    };
    console.log([about, ...names.map(line), "  --help  print this"].join("\n"));
    Deno.exit(0);
  }
  const given: Record<string, unknown> = parseArgs(Deno.args, {
    string: names.filter((name) => flags[name] !== false),
    boolean: names.filter((name) => flags[name] === false),
    unknown: (flag) =>
      fail(`its flags are ${[...names, "help"].map((name) => `--${name}`).join(", ")}: ${flag} is none`),
  });
  const valueOf = (name: string, flag: Flag) => {
    const text = given[name];
    if (flag === false) return text;
    if (typeof flag === "number") {
      if (text === undefined) return flag;
      if (Number.isSafeInteger(Number(text)) && Number(text) >= 1) return Number(text);
      return fail(`--${name} must be a whole number of at least 1: it is ${JSON.stringify(text)}`);
    }
    if ("bytes" in flag) {
      try {
        return text === undefined ? flag.bytes : parseBytes(String(text));
      } catch {
        return fail(`--${name} must be a size like 512MiB or 2GiB: it is ${JSON.stringify(text)}`);
      }
    }
    if (text === undefined) return flag.at(-1);
    return flag.find((choice) => choice === text) ??
      fail(`--${name} must be one of ${flag.join(", ")}: it is ${JSON.stringify(text)}`);
  };
  return Object.fromEntries(names.map((name) => [name, valueOf(name, flags[name])])) as {
    [Name in keyof Flags]: Value<Flags[Name]>;
  };
}
