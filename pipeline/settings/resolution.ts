/**
 * Resolves a configuration from all places that set some of its values.
 *
 * @module
 */

import { InputError, say, setting } from "../../kernels/errors.ts";
import { type Configuration, FIELDS } from "./configuration.ts";
import { fillValues } from "./field.ts";
import { countExperts, withLevels } from "./partitioner.ts";
import { findPreset } from "./presets.ts";

/** Reports where a configuration's values come from; later ones win. */
export interface Sources {
  /** Values that hold unless another place sets them, for instance those of a run's `config.json`. */
  base?: Partial<Configuration>;
  /** Name of a preset. */
  preset?: string;
  /** Values of a file. */
  file?: Partial<Configuration>;
  /** Values given on the command line. */
  flags?: Partial<Configuration>;
}

/**
 * Resolves a configuration from defaults, base, preset, file and flags, each of which overrides those before
 * it and is checked. Throws an `InputError` for an unknown field, and for a value that is not allowed or does
 * not fit another one.
 */
export function resolveConfiguration(
  { base = {}, preset, file = {}, flags = {} }: Sources = {},
): Configuration {
  const configuration = fillValues(FIELDS, { ...withLevels(base), ...givenValues({ preset, file, flags }) });
  checkTogether(configuration);
  return configuration;
}

/** Joins the values that preset, file and flags give, as {@linkcode withLevels} reads them: a number of experts means no levels. */
export function givenValues(
  { preset, file = {}, flags = {} }: Omit<Sources, "base">,
): Partial<Configuration> {
  return Object.assign({}, ...[findPreset(preset), file, flags].map(withLevels));
}

type Name = keyof Configuration;

function checkTogether(configuration: Configuration): void {
  const { prefix, sequenceLength, roundSequences, routerBatch, chunk, experts } = configuration;
  const routerHead = configuration.routerHidden / configuration.routerHeads;
  const expertHead = configuration.expertHidden / configuration.expertHeads;
  const rules: [holds: boolean, what: string, name: Name, bound: string, other: Name][] = [
    [prefix <= sequenceLength, "route by a prefix", "prefix", "at most", "sequenceLength"],
    [isEven(routerHead), "build the routers", "routerHidden", EVEN, "routerHeads"],
    [isEven(expertHead), "build the experts", "expertHidden", EVEN, "expertHeads"],
    [roundSequences >= routerBatch, "train routers", "roundSequences", "at least", "routerBatch"],
    [chunk % experts === 0, "assign in chunks", "chunk", "a multiple of", "experts"],
  ];
  for (const [holds, what, name, bound, other] of rules) {
    if (holds) continue;
    const [one, two] = [setting(name), setting(other)];
    const [value, limit] = [configuration[name], configuration[other]].map(String);
    throw new InputError(
      say`Cannot ${what} as ${one} must be ${bound} ${two}: ${one} is ${value}, ${two} is ${limit}`,
    );
  }
  checkLevels(configuration);
  if (configuration.fixed && configuration.start === "random") {
    const start = setting("start");
    throw new InputError(say`Cannot keep first parts in every round as ${start} must be ctbm: it is random`, {
      remedy: say`leave out ${setting("fixed")}, or set ${setting("start", "ctbm")}`,
    });
  }
  const longest = Math.max(0, ...configuration.prefixLengths);
  if (longest <= prefix) return;
  const [lengths, most] = [setting("prefixLengths"), setting("prefix")];
  throw new InputError(
    say`Cannot mix ${lengths} as each must be at most ${most}: the longest is ${longest}, ${most} is ${prefix}`,
  );
}

/** Throws an `InputError` for a tree that cannot be. */
function checkLevels({ levels, experts, partitioner }: Configuration): void {
  const product = countExperts(levels);
  if (levels.length === 0 || product === experts && ["em", "ctbm"].includes(partitioner)) return;
  const rule = product === experts
    ? say`${setting("partitioner")} must be em or ctbm: it is ${partitioner}`
    : say`its levels must multiply to ${setting("experts")}, ${experts}: they come to ${product}`;
  throw new InputError(say`Cannot build a tree of ${levels.join("x")} experts as ${rule}`);
}

const EVEN = "an even multiple of";
const isEven = (value: number): boolean => value % 2 === 0;
