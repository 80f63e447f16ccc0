/** Reads the flags of benchmarks. */

import { parseArgs } from "@std/cli/parse-args";

/**
 * What a flag takes unless it is given: a whole number of at least 1, a text, the last of the names
 * that it may be, or all of the names that it may list; or false, for one without a value.
 */
type Flag = number | string | false | { one: readonly string[] } | { some: readonly string[] };
type Value<F extends Flag> = F extends number ? number
  : F extends string ? string
  : F extends false ? boolean
  : F extends { one: readonly (infer Name)[] } ? Name
  : F extends { some: readonly (infer Name)[] } ? Name[]
  : never;

/** Ends the process with code 2 and a line on standard error. */
export function refuse(why: string): never {
  console.error(`error: Cannot measure as ${why}`);
  Deno.exit(2);
}

/** Reports what a flag takes. */
function writeFlagHelp(name: string, flag: Flag): string {
  if (flag === false) return `  --${name}`;
  if (typeof flag !== "object") {
    return `  --${name} ${typeof flag === "number" ? `N  (default ${flag})` : "TEXT"}`;
  }
  return "one" in flag
    ? `  --${name} ${flag.one.join("|")}  (default ${flag.one.at(-1)})`
    : `  --${name} NAMES  some of ${flag.some.join()} (default all)`;
}

/** Reads what was given for a flag. */
function valueOf(name: string, flag: Flag, text: string | undefined): unknown {
  const wrong = (rule: string) =>
    refuse(`--${name} must be ${rule}: it is ${JSON.stringify(text)}`);
  if (typeof flag !== "object") {
    if (typeof flag !== "number" || text === undefined) return text ?? flag;
    return Number.isSafeInteger(Number(text)) && Number(text) >= 1
      ? Number(text)
      : wrong("a whole number of at least 1");
  }
  if ("one" in flag) {
    return text === undefined ? flag.one.at(-1) : flag.one.find((one) => one === text) ??
      wrong(`one of ${flag.one.join(", ")}`);
  }
  const names = text?.split(",") ?? flag.some;
  if (names.some((one) => !flag.some.includes(one))) wrong(`some of ${flag.some.join()}`);
  return flag.some.filter((one) => names.includes(one));
}

/**
 * Gives a value per flag. The process ends with code 2 on a flag or a value that may not be, and
 * after the help where that is asked for: `about` says what is measured.
 */
export function benchFlags<const Flags extends Record<string, Flag>>(
  about: string,
  flags: Flags,
): { [Name in keyof Flags]: Value<Flags[Name]> } {
  const all = Object.entries(flags);
  if (Deno.args.includes("--help")) {
    console.log(
      [about, "", ...all.map(([name, flag]) => writeFlagHelp(name, flag)), "  --help"].join("\n"),
    );
    Deno.exit(0);
  }
  const given: Record<string, unknown> = parseArgs(Deno.args, {
    string: all.flatMap(([name, flag]) => flag === false ? [] : [name]),
    boolean: all.flatMap(([name, flag]) => flag === false ? [name] : []),
    unknown: (word) =>
      refuse(
        `its flags are ${
          [...all.map(([name]) => `--${name}`), "--help"].join(", ")
        }: ${word} is none`,
      ),
  });
  return Object.fromEntries(
    all.map(([name, flag]) => [name, valueOf(name, flag, given[name] as string | undefined)]),
  ) as { [Name in keyof Flags]: Value<Flags[Name]> };
}
