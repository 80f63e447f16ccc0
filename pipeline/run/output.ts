/**
 * The files of a run by their paths: a task's output must not take the place of one, and a command
 * makes each again.
 *
 * @module
 */

import { fstatSync } from "node:fs";
import { basename, dirname, relative, resolve } from "node:path";
import { InputError, say, setting, task, type Text } from "../../kernels/errors.ts";
import { RESAMPLES } from "../evaluation/bootstrap.ts";
import { PARTIAL, SCRATCH } from "../graph/folder.ts";
import { LOCKS } from "../graph/lock.ts";
import { readManifest } from "../graph/node.ts";
import { findRun, readRunConfiguration } from "../graph/configuration.ts";
import { askAll, exists } from "../graph/files.ts";
import { MANIFEST, verifyFile } from "../graph/schema.ts";
import { type Configuration, defaultConfiguration } from "../settings/configuration.ts";
import { partsAlone } from "../stages/parts.ts";
import { nodeFolders } from "./settings.ts";
import { allTargets } from "../stages/targets.ts";

/** What else of a run no user writes: folders, and places of links to files of nodes. */
const OWN = [
  ...["config.json", "metrics", "export", "jobs", LOCKS, PARTIAL, SCRATCH],
  ...[
    "tokenizer.json",
    "tokenizer_config.json",
    "evaluation.json",
    "evaluation.arrow",
    "overlap.json",
    "overlap.arrow",
  ],
  ...["report.html", "reproduction.json", "reproduction.md"],
];

/**
 * Throws an `InputError` where a file that is to be written is one of those that are read, by
 * whatever name. Also where it lies in a folder that is read, or is a file of a run. `-` names
 * standard input, which a shell may read from a file.
 */
export async function checkOutput(output: string, inputs: readonly string[] = []): Promise<void> {
  if (output === "-") throw refuse(output, "it must be a file: it is standard output");
  const existing = await Deno.stat(output).catch(() => null);
  const place = await resolvePlace(output);
  await askAll(inputs, async (input) => {
    const read = input === "-" ? standardInput() : await Deno.stat(input).catch(() => null);
    const isRead = read?.isDirectory
      ? place.startsWith(`${await Deno.realPath(input)}/`)
      : existing !== null && read?.ino === existing.ino && read.dev === existing.dev;
    const relation = read?.isDirectory ? "lies in" : "is";
    const source = input === "-" ? "standard input" : `"${input}"`;
    if (isRead) {
      throw refuse(output, `it must not take the place of what is read: it ${relation} ${source}`);
    }
  });
  const run = await findRun(dirname(place));
  if (run === null || ![...OWN, ...nodeFolders()].includes(relative(run, place).split("/")[0])) {
    return;
  }
  throw refuse(output, `it must not take the place of a file of a run: it is one of "${run}"`);
}

/**
 * Tells which file or pipe standard input is, if it is open: Deno has no call for that, and opens
 * no `/dev/stdin`.
 */
function standardInput() {
  try {
    const { ino, dev } = fstatSync(0);
    return { ino, dev, isDirectory: false };
  } catch {
    return null;
  }
}

/** Returns whether two paths are those of the same file, or would be. */
export async function isSamePlace(first: string, second: string): Promise<boolean> {
  return await resolvePlace(first) === await resolvePlace(second);
}

/**
 * Gives the place of a file that may be there: its folder without links, as far as there is one,
 * and its name.
 */
export async function resolvePlace(path: string): Promise<string> {
  const whole = resolve(path);
  const folder = dirname(whole);
  if (folder === whole) return whole;
  const real = await Deno.realPath(folder).catch(() => resolvePlace(folder));
  return resolve(real, basename(whole));
}

function refuse(where: string, fact: Text): InputError {
  return new InputError(say`Cannot write "${where}" as ${fact}`, {
    where,
    remedy: say`choose another ${setting("output")}`,
  });
}

const COPY_AGAIN = "copy the expert's folder, config.json and tokenizer/ again from their run";
/**
 * Choices of `evaluate` and `zero-shot` that are no settings of the run, by the names of their
 * flags.
 */
const CHOICES = [
  ...[
    "mix",
    "routingTemperature",
    "reroute",
    "fallback",
    "margin",
    "routeBy",
    "routeLengths",
    "trained",
  ],
  ...["resamples", "limit", "beam"],
];

/**
 * Reports how a file of a run, by its path there, is made again, whether it is missing or damaged.
 */
export async function findRemedy(
  run: string,
  path: string,
  configuration: Configuration,
): Promise<Text> {
  const check = true;
  const [folder, name] = path.split("/");
  const manifestOf = (node: string) => readManifest(`${run}/${node}`).catch(() => undefined);
  const target = allTargets(configuration).find(({ node }) => `${path}/`.startsWith(`${node}/`));
  if (target) {
    const manifest = await manifestOf(target.node);
    const { from } = manifest?.result.adopted as { from?: string } ?? {};
    const { task: trains, with: flags } = target.command;
    if (manifest === null) return say`run ${task(trains, { run, ...flags })} first`;
    if (from) return say`run ${task("adopt", { run, ...flags, from, force: true })}`;
    return say`run ${task(trains, { run, ...flags, check })}`;
  }
  if (path === "reproduction.json") return say`run ${task("reproduce", { run, check })}`;
  if (folder === "search") {
    return `remove "${run}/search/${name}": it is made again when it is needed`;
  }
  if (folder === SCRATCH) return "remove it: what it stands for is made again";
  if (folder === "export") return say`export it again, with ${setting("force")}`;
  if (/^overlap\b/.test(folder)) return say`run ${task("overlap", { run, check })}`;
  if (folder === "report" || /^report\.\w+$/.test(path)) return say`run ${task("report", { run })}`;
  if (/^(evaluation|zero-shot)\b/.test(folder)) {
    const isAsked = folder.startsWith("zero-shot");
    const node = isAsked ? `${folder}/${basename(name, ".json")}` : "evaluation/result";
    const { settings = {} } = await manifestOf(node) ?? {};
    const choices = Object.entries(settings).filter(([name, value]) =>
      CHOICES.includes(name) && value !== null && value !== 0 &&
      !(name === "resamples" && value === RESAMPLES)
    );
    const flags = Object.fromEntries(
      choices.map(([name, value]) => [name, value === true || String(value)]),
    );
    if (settings.routing === "choice") flags.routeWithChoice = true;
    const asked = isAsked ? { task: basename(name, ".json") } : {};
    return say`run ${task(isAsked ? "zero-shot" : "evaluate", { run, ...asked, check, ...flags })}`;
  }
  if ((await partsAlone(run)).length > 0) return COPY_AGAIN;
  if (/^text\/(given|input)\b/.test(path)) {
    return say`hand the same text over again, to ${task("partition", { run })}`;
  }
  return say`run ${task("partition", { run, check })}`;
}

/**
 * Reports how a damaged or missing file or folder of a run is made again. Undefined for other
 * files, and for a file that is as its node's manifest says: making it again would mend nothing.
 * `choosing` says whether an expert may be named, so that nothing has to route.
 */
export async function findRepair(
  where: string,
  { choosing = false } = {},
): Promise<Text | undefined> {
  const file = where.replace(/, batch \d+$|\/+$/, ""); // readers of shards say the batch as well
  const run = await findRun(file);
  if (run === null) return undefined;
  const path = relative(run, file);
  const read = await readRunConfiguration(run, { edited: true }).catch(() => null);
  const remedy = await findRemedy(run, path, read?.configuration ?? defaultConfiguration());
  if (await isWhole(file)) return undefined;
  const alone = await partsAlone(run);
  if (alone.length === 0 || !choosing) return remedy;
  return say`${remedy}, or choose with ${setting("expert")} ${alone.join(" or ")}`;
}

/** Whether a file is what the manifest of its node says, or none of a node. */
async function isWhole(file: string): Promise<boolean> {
  const reading = basename(file) === MANIFEST ? readManifest(dirname(file)) : verifyFile(file);
  return await reading.then(() => exists(file), () => false);
}
