/** Reads the flags of benchmarks. */

import { parseArgs } from "node:util";

/**
 * Reads flags with and without a value, `--name value` and `--name`; one without a value is false where it is not given. `refuse` is
 * told of a word that is none of them.
 */
export function readFlags<Switch extends string, Text extends string>(
  switches: readonly Switch[],
  texts: readonly Text[],
  refuse: (word: string) => never,
): Record<Switch, boolean> & Partial<Record<Text, string>> {
  const options = Object.fromEntries([
    ...switches.map((name) => [name, { type: "boolean", default: false }] as const),
    ...texts.map((name) => [name, { type: "string" }] as const),
  ]);
  const { values, positionals } = parseArgs({
    args: Deno.args,
    options,
    strict: false,
    allowPositionals: true,
  });
  const unknown = Object.keys(values).find((name) => !Object.hasOwn(options, name));
  if (unknown !== undefined) refuse(`--${unknown}`);
  if (positionals.length > 0) refuse(positionals[0]);
  for (const name of texts) if (values[name] === true) values[name] = ""; // the value is missing
  return { ...values } as Record<Switch, boolean> & Partial<Record<Text, string>>;
}

/** What a flag takes unless it is given: a whole number of at least 1, or the last of the names that it may be. */
type Flag = number | readonly string[];
type Value<F extends Flag> = F extends number ? number : F extends readonly (infer Name)[] ? Name : never;

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
      return typeof flag === "number"
        ? `  --${name} N  (default ${flag})`
        : `  --${name} ${flag.join("|")}  (default ${flag.at(-1)})`;
    };
    console.log([about, ...names.map(line), "  --help  print this"].join("\n"));
    Deno.exit(0);
  }
  const all = [...names, "help"].map((name) => `--${name}`).join(", ");
  const given = readFlags([], names, (word) => fail(`its flags are ${all}: ${word} is none`));
  const valueOf = (name: string, flag: Flag) => {
    const text = given[name];
    if (typeof flag === "number") {
      if (text === undefined) return flag;
      if (Number.isSafeInteger(Number(text)) && Number(text) >= 1) return Number(text);
      return fail(`--${name} must be a whole number of at least 1: it is ${JSON.stringify(text)}`);
    }
    if (text === undefined) return flag.at(-1);
    return flag.find((choice) => choice === text) ??
      fail(`--${name} must be one of ${flag.join(", ")}: it is ${JSON.stringify(text)}`);
  };
  return Object.fromEntries(names.map((name) => [name, valueOf(name, flags[name])])) as {
    [Name in keyof Flags]: Value<Flags[Name]>;
  };
}
