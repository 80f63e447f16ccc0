/**
 * Resolves a configuration from all places that set some of its values: presets, a file, flags.
 *
 * @module
 */

import llama135 from "../../fixtures/presets/llama-135m.json" with { type: "json" };
import paper1300 from "../../fixtures/presets/paper-1.3b.json" with { type: "json" };
import paper335 from "../../fixtures/presets/paper-335m.json" with { type: "json" };
import smallLlama from "../../fixtures/presets/small-llama.json" with { type: "json" };
import small from "../../fixtures/presets/small.json" with { type: "json" };
import tiny from "../../fixtures/presets/tiny.json" with { type: "json" };
import { ensure, InputError, say, setting } from "../../kernels/errors.ts";
import { type Configuration, FIELDS, isDefault } from "./configuration.ts";
import { fillValues, readSomeValues } from "./field.ts";
import { countExperts, withLevels } from "./partitioner.ts";

/** Holds the presets by name. */
export const PRESETS: Readonly<Record<string, Partial<Configuration>>> = {
  tiny: readSomeValues(FIELDS, tiny),
  small: readSomeValues(FIELDS, small),
  "small-llama": readSomeValues(FIELDS, smallLlama),
  "llama-135m": readSomeValues(FIELDS, llama135),
  "paper-335m": readSomeValues(FIELDS, paper335),
  "paper-1.3b": readSomeValues(FIELDS, paper1300),
};

/**
 * Returns the values of a preset, or none without a name. Throws an `InputError` for other names.
 */
export function findPreset(name?: string): Partial<Configuration> {
  if (name === undefined) return {};
  if (Object.hasOwn(PRESETS, name)) return PRESETS[name];
  throw new InputError(
    `Cannot use preset "${name}" as it must be one of ${Object.keys(PRESETS).join(", ")}`,
  );
}

/** The places from which a configuration takes values. Later places override earlier ones. */
export interface Sources {
  /**
   * Values that hold unless another place sets them, for instance those of a run's `config.json`.
   */
  base?: Partial<Configuration>;
  /** Name of a preset. */
  preset?: string;
  /** Values of a file. */
  file?: Partial<Configuration>;
  /** Values given on the command line. */
  flags?: Partial<Configuration>;
}

/**
 * Resolves a configuration from defaults, base, preset, file and flags, each of which overrides
 * those before it and is checked. Throws an `InputError` for an unknown field, and for a value that
 * is not allowed or does not fit another one.
 */
export function resolveConfiguration(
  { base = {}, preset, file = {}, flags = {} }: Sources = {},
): Configuration {
  const configuration = fillValues(FIELDS, {
    ...withLevels(base),
    ...joinSources({ preset, file, flags }),
  });
  checkTogether(configuration);
  return configuration;
}

/**
 * Joins the values of preset, file and flags. {@linkcode withLevels} reads each first, so a number
 * of experts in a later place removes the levels of an earlier one.
 */
export function joinSources(
  { preset, file = {}, flags = {} }: Omit<Sources, "base">,
): Partial<Configuration> {
  return Object.assign({}, ...[findPreset(preset), file, flags].map(withLevels));
}

const EVEN = "an even multiple of";

/** Throws an `InputError` where values do not fit each other. */
function checkTogether(c: Configuration): void {
  const rule = (
    holds: boolean,
    action: string,
    name: keyof Configuration,
    bound: string,
    boundName: keyof Configuration,
  ) => {
    const [value, limit] = [setting(name), setting(boundName)];
    const requirement = say`${value} must be ${bound} ${limit}`;
    const fact = say`${value} is ${String(c[name])}, ${limit} is ${String(c[boundName])}`;
    ensure(holds, say`Cannot ${action} as ${requirement}: ${fact}`);
  };
  rule(c.prefix <= c.sequenceLength, "route by a prefix", "prefix", "at most", "sequenceLength");
  for (
    const [role, verb] of [["router", "build the routers"], [
      "expert",
      "build the experts",
    ]] as const
  ) {
    const even = c[`${role}HeadSize`] > 0 || c[`${role}Hidden`] / c[`${role}Heads`] % 2 === 0;
    rule(even, verb, `${role}Hidden`, EVEN, `${role}Heads`);
    const keys = c[`${role}KvHeads`];
    const shares = keys === 0 || c[`${role}Heads`] % keys === 0;
    rule(shares, verb, `${role}Heads`, "a multiple of", `${role}KvHeads`);
    const architecture = c[`${role}Architecture`];
    for (const size of ["KvHeads", "HeadSize", "Intermediate", "RopeTheta"] as const) {
      const name = `${role}${size}` as const;
      const needs = say`${setting(name)} needs ${setting(`${role}Architecture`, "llama")}`;
      const fact = say`Cannot ${verb} as ${needs}: it is ${architecture}`;
      ensure(
        architecture !== FIELDS[`${role}Architecture`].default || isDefault(name, c[name]),
        fact,
      );
    }
  }
  rule(
    c.roundSequences >= c.routerBatch,
    "train routers",
    "roundSequences",
    "at least",
    "routerBatch",
  );
  rule(c.chunk % c.experts === 0, "assign in chunks", "chunk", "a multiple of", "experts");
  const isTree = c.levels.length > 0;
  const product = countExperts(c.levels);
  const tree = `Cannot build a tree of ${c.levels.join("x")} experts as`;
  const levels = say`${tree} its levels must multiply to ${
    setting("experts")
  }, ${c.experts}: they come to ${product}`;
  ensure(!isTree || product === c.experts, levels);
  const splits = ["em", "ctbm"].includes(c.partitioner);
  ensure(
    !isTree || splits,
    say`${tree} ${setting("partitioner")} must be em or ctbm: it is ${c.partitioner}`,
  );
  const keep = say`Cannot keep first parts in every round as ${
    setting("start")
  } must be ctbm: it is random`;
  const remedy = say`leave out ${setting("fixed")}, or set ${setting("start", "ctbm")}`;
  ensure(!c.fixed || c.start !== "random", keep, { remedy });
  const most = setting("prefix");
  const mix = say`Cannot mix ${setting("prefixLengths")} as each must be at most ${most}`;
  const longest = Math.max(0, ...c.prefixLengths);
  ensure(longest <= c.prefix, say`${mix}: the longest is ${longest}, ${most} is ${c.prefix}`);
}
