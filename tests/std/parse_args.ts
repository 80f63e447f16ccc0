/**
 * Stands in for `@std/cli/parse-args` where JSR cannot be reached: the flags of benchmarks and of
 * the fuzzer, over `node:util`.
 *
 * @module
 */

import { parseArgs as parse } from "node:util";

/** Reports how `parseArgs` reads each flag. */
export interface ParseOptions {
  /** Flags that take no value; false where absent. */
  boolean?: readonly string[];
  /** Flags whose value stays a string; "" where one comes without. */
  string?: readonly string[];
  /** Values of absent flags. */
  default?: Record<string, unknown>;
  /** Called with what is not declared. */
  unknown?: (arg: string) => unknown;
}

/** Parses command-line arguments. */
export function parseArgs(
  args: string[],
  { boolean = [], string = [], default: defaults = {}, unknown }: ParseOptions = {},
  // deno-lint-ignore no-explicit-any
): Record<string, any> {
  const options = {
    ...Object.fromEntries(boolean.map((name) => [name, { type: "boolean" as const }])),
    ...Object.fromEntries(string.map((name) => [name, { type: "string" as const }])),
  };
  const { values, tokens } = parse({
    args,
    options,
    strict: false,
    allowPositionals: true,
    tokens: true,
  });
  for (const token of tokens) {
    if (token.kind === "positional") unknown?.(token.value);
    if (token.kind === "option" && !Object.hasOwn(options, token.name)) unknown?.(token.rawName);
  }
  for (const name of string) if (values[name] === true) values[name] = "";
  return { ...Object.fromEntries(boolean.map((name) => [name, false])), ...defaults, ...values };
}
