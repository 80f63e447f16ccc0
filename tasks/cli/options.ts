/**
 * The options that many tasks share. Nothing that is written depends on an option, except by how an
 * adapter and its variants of kernels round. Options of one task are in its own file.
 *
 * @module
 */

import { parseVariants, variantsText } from "../../kernels/device/variants.ts";
import { ensure, InputError } from "../../kernels/errors.ts";
import { field, PRESETS } from "../../pipeline/settings/mod.ts";
import type { Part } from "../../pipeline/run/mod.ts";

const { choice, custom, flag, integer, integers, number, path, paths, section, text, word } = field;

/**
 * Reads `2/4` as one of four parts, which are counted from 1. Throws an `InputError` for anything
 * else, which gives valid parts.
 */
function parsePart(text: string): Part {
  const [index, parts = 0] = /^\d+\/\d+$/.test(text) ? text.split("/").map(Number) : [];
  if (index >= 1 && index <= parts) return { index, of: parts };
  const all = parts || 4;
  throw new InputError(
    `Cannot make a part as --part must be I/N with 1 <= I <= N: it is "${text}"`,
    {
      remedy: all === 1 ? "the one of 1 is 1/1" : `those of ${all} are 1/${all} … ${all}/${all}`,
    },
  );
}

const UNITS: Record<string, number> = { "": 1, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30 };

/** Reads a number of bytes such as `2GiB`. */
export function parseBytes(text: string): number {
  const [, number, unit] = /^(\d+(?:\.\d+)?)([KMG]iB)?$/.exec(text) ?? [];
  ensure(number, `Cannot limit --memory as it must be a size like 512MiB or 2GiB: it is "${text}"`);
  return Number(number) * UNITS[unit ?? ""];
}

/**
 * Reads which experts of a run are named, one or `all`; `what` is the verb of messages, as in
 * "train".
 */
export function expertsNamed(text: string | undefined, experts: number, action: string): number[] {
  if (text === "all") return [...Array(experts).keys()];
  if (text !== undefined && /^\d+$/.test(text)) return [Number(text)];
  const fact = text ? `"${text}"` : "not given";
  throw new InputError(
    `Cannot ${action} as --expert must be one of 0 to ${experts - 1}, or all: it is ${fact}`,
  );
}

/** Every option that several tasks take. */
const ALL = section("Command", {
  json: flag("print the result as JSON"),
  log: choice(
    ["text", "json"],
    { default: "text" },
    "progress on standard error: a bar, or lines with times elsewhere; or JSON lines",
  ),
  verbose: flag("print where an error comes from"),
  run: path({ default: "runs/default", value: "FOLDER" }, "run folder"),
  preset: choice(
    Object.keys(PRESETS),
    {},
    "values to start from; without it tiny's, or the run's own",
  ),
  config: path(
    { value: "FILE" },
    "JSON file of values, like a run's config.json; flags override it",
  ),
  force: flag(
    "accept values that differ from the run's config.json and make again what " +
      "depends on them; if none differ, make all again",
  ),
  check: flag(
    "check hashes of what is made, not only sizes, and make damaged or missing files again",
  ),
  reuse: paths(
    {},
    "another run: links what it has made of the same settings and inputs; repeatable",
  ),
  part: custom(
    parsePart,
    { value: "I/N" },
    "make every N-th folder of the stage, from the I-th (1/4 … 4/4), in parallel " +
      "with processes that make the others; the task without it puts them together",
  ),
  workers: integer(
    { min: 1, max: 1024 },
    "threads that turn text into tokens, to the same bytes; with 1, text is encoded " +
      "on one core; without it one for every core",
  ),
  output: path(
    { value: "PATH" },
    "file to write where files or a pipe are read, instead of standard output; a run keeps its own",
  ),
  adapter: text({ value: "NAME" }, "high-performance, low-power or part of the adapter's name"),
  onGpu: integer(
    { flag: "gpu", min: 0 },
    "the one graphics card that it sees, from 0; tasks/setup.sh hides the others " +
      "where the system lets it",
  ),
  variants: custom(
    parseVariants,
    { default: {}, value: "KERNEL=VARIANT,…" },
    `variants of kernels to run instead of the adapter's own: ${variantsText()}`,
  ),
  requireGpu: flag("stop where the adapter runs on the processor"),
  recompute: flag("compute activations again: less memory, a forward pass more, the same bits"),
  trialShare: number(
    { default: 1 / 8, min: 1e-6, max: 1 },
    "share of a training that a learning rate is tried on, where none is known; " +
      "short trials may mislead",
  ),
  flops: number(
    { min: 1, max: 1e30 },
    "FLOP/s of the device at its peak; without it what was measured here, or two " +
      "cores without a GPU",
  ),
  utilisation: number(
    { min: 1e-6, max: 1 },
    "part of that peak that is reached; else as measured, or 0.4",
  ),
  checkpointEvery: integer({ default: 200, min: 0 }, "steps between two checkpoints; 0 for none"),
  checkpointMinutes: integer(
    { default: 15, min: 0 },
    "minutes after which one is made between these steps, and kept until the next; 0 for none",
  ),
  keep: integer({ default: 2, min: 1, max: 1000 }, "checkpoints that are kept, the latest ones"),
  resume: flag("go on from the last checkpoint although it was trained with other values"),
  replace: flag("train again what was trained with other values, and keep what was not"),
  mix: integers(
    { default: [], value: "K,K,…", min: 1, max: 65_535 },
    "also mixtures in which so many experts answer together, their probabilities weighted",
  ),
  beam: integer(
    { min: 1, max: 65_535 },
    "branches of each level of a tree of routers that a text follows, the likeliest; without it 1",
  ),
  readEvery: integer(
    { min: 1, max: 64, value: "K" },
    "tokens that the device chooses before the host sees them, to the same text; without it 8 on " +
      "a GPU, 1 on a processor",
  ),
  memory: custom(
    parseBytes,
    { value: "SIZE" },
    "most device memory that models may take, like 2GiB; without it as much as they need",
  ),
});

/** The options that several tasks take. */
export type SharedOptions = typeof ALL;

/** Takes shared options by their names. */
export function take<Name extends keyof typeof ALL>(...names: Name[]): Pick<typeof ALL, Name> {
  return Object.fromEntries(names.map((name) => [name, ALL[name]])) as Pick<typeof ALL, Name>;
}

/** Options that every task takes. */
export const PRINTING = take("json", "log", "verbose");
/** Which device a task runs on, and how. */
export const DEVICE = take("adapter", "onGpu", "variants");
/** How checkpoints are kept while models train. */
export const CHECKPOINTS = take("checkpointEvery", "checkpointMinutes", "keep");
/**
 * The options of every task that makes something in a run; `reuse` names other runs that it may
 * copy from.
 */
export const IN_A_RUN = take("run", "preset", "config", "force", "check", "reuse");
/** Plans what a task would make instead, by the speed of a device. */
export const PLANNED = {
  dryRun: flag("print what would run, with estimates of time, disk and memory"),
  ...take("flops", "utilisation"),
};
/** The options of training a model. */
export const TRAINING = {
  ...CHECKPOINTS,
  ...take("recompute", "resume", "replace"),
  ...DEVICE,
  ...take("requireGpu"),
};

/** Reads a time as Slurm takes it: minutes, HH:MM:SS, D-HH and so on. */
function parseTime(text: string): string {
  const isTime = /^(none|\d+-\d+(:\d\d){0,2}|\d+(:\d\d){0,2})$/.test(text);
  ensure(
    isTime,
    `Cannot limit a process as --time must be a time like 04:00:00 or 1-12:00:00: it is "${text}"`,
  );
  return text;
}

/** How the jobs of a run are planned, and who runs them. */
export const JOB_OPTIONS = {
  executor: choice(["slurm", "local"], { default: "slurm" }, "who runs the jobs"),
  jobs: integer({ default: 1, min: 1, max: 1000 }, "processes at once of --executor local"),
  parts: integer(
    { min: 1, max: 100_000 },
    "processes that tokenize, score and split; else 1, or as before",
  ),
  routerGroups: integer(
    { min: 1, max: 65_535 },
    "processes, each on a device of its own, that train the routers in parallel; " +
      "without it 1, or as before",
  ),
  dense: text(
    { value: "NAME,…" },
    "models to compare with, of batch, steps, compute and switch; both for the first " +
      "two, all, none; without it batch, or as before",
  ),
  zeroShot: text(
    { value: "NAME,…" },
    "zero-shot tasks to ask, a process each; own for those made of held-out text, " +
      "none; without it as before",
  ),
  zeroShotData: path(
    { value: "FOLDER" },
    "folder with the data of zero-shot tasks that are published",
  ),
  slurmPartition: word(
    { value: "NAME" },
    "Slurm's partition; none for its default, without it as before",
  ),
  expertsAtOnce: integer(
    { min: 0, max: 1_000_000 },
    "most processes of a job of the run at once; 0 for no limit, without it as before",
  ),
  time: custom(
    parseTime,
    { value: "D-HH:MM:SS" },
    "most time of a process, which is queued again after it; none for Slurm's, " +
      "without it as before",
  ),
  gres: word(
    { value: "NAME:N" },
    "what a process with a GPU asks Slurm for, like gpu:1; none for nothing, without it as before",
  ),
  container: text(
    { value: "IMAGE" },
    "Apptainer image of the tasks; none for none, without it as before",
  ),
  dryRun: flag("print the scripts, to read, edit and run, and submit nothing"),
  settle: flag("only write the settings of the run, as the scripts of --dry-run do first"),
};
