/**
 * The settings of a run: written once, when it begins. Other values are refused, with both, where
 * something was made with the first, unless they are accepted; then what depends on them is made
 * again.
 *
 * @module
 */

import { ensure, InputError, RunError, say, setting } from "../../kernels/errors.ts";
import { PARTIAL, SCRATCH } from "../graph/folder.ts";
import { DERIVED } from "../graph/node.ts";
import { type Replacement, replacements } from "../graph/replace.ts";
import { Walk } from "../graph/walk.ts";
import { listOwners, LOCKS, processText } from "../graph/lock.ts";
import { findAssignment } from "../partition/assignment/assignments.ts";
import { readDescription } from "../partition/partitioner.ts";
import { findKind, identifyPartitioner, PARTITIONERS } from "../partition/partitioners.ts";
import { findTokenizer, readRunConfiguration } from "../graph/configuration.ts";
import { checkRunFolder, exists, listEntries, wholeName } from "../graph/files.ts";
import { type Configuration, FIELD_NAMES, FIELDS, listNames } from "../settings/configuration.ts";
import { OPTIMISER } from "../settings/experts.ts";
import { joinSources, resolveConfiguration, type Sources } from "../settings/resolution.ts";
import { TEXT } from "../settings/text.ts";
import { expandInputs } from "../text/inputs.ts";
import { INDEX } from "../stages/documents.ts";
import { listSettings, stagesAdded } from "../stages/stages.ts";
import { wholeGraph } from "./plan.ts";

/** Folders of trained models. */
export const MODEL_FOLDERS = ["experts", "dense", "dense-steps", "dense-compute", "switch"];
/** Folders of a run that nodes of its own stages lie in. */
const NODE_FOLDERS = [
  ...["text", "tokenizer", "tokens", "rounds", "branches", "partitioner"],
  ...["scores", "assignments", "split", "partition"],
  ...[...MODEL_FOLDERS, "search", "evaluation", "zero-shot", "report", "overlap"],
  ...["derived", "before", "forgotten"],
];

/** Folders of a run apart from those of nodes, in which nothing is the user's. */
export const OWN_FOLDERS = [LOCKS, PARTIAL, SCRATCH, "metrics"];

/**
 * Lists the folders of a run that nodes lie in: those of a script's own stage in one of the stage's
 * name.
 */
export const nodeFolders = (): string[] => [...NODE_FOLDERS, ...stagesAdded()];

/** Settings of a run that may be others for each model: where it begins, and how fast it learns. */
export const OF_A_MODEL: readonly string[] = ["init", "denseRate", "denseStepsRate"];

/** Names the settings that only trainings take: what a run is split by does not depend on them. */
export const trainingSettings = (): (keyof Configuration)[] =>
  ["train-expert", "train-dense", "train-switch"].flatMap((task) => [...listSettings(task)])
    .concat(listNames(OPTIMISER));

/**
 * Resolves the settings of a run: its `config.json` holds unless something else is given. Reports
 * which of them differ from the run's, which it has already and whether these were edited, and the
 * adapter that it notes. Throws
 * an `InputError` with both values where a setting that something was made with is to change, or
 * where `config.json` was edited. `force` accepts both; `accepted` settings may change. Throws one
 * also where a folder holds files and is no run.
 */
export async function resolveSettings(
  run: string,
  sources: Sources,
  force: boolean,
  accepted: readonly (keyof Configuration)[] = [],
) {
  await checkOwn(run);
  const { configuration: existing, adapter, isEdited = false } =
    await readRunConfiguration(run, { edited: force }) ?? {};
  const chosen = joinSources(sources);
  const method = chosen.partitioner !== undefined && chosen.partitioner !== existing?.partitioner
    ? { method: PARTITIONERS.get(chosen.partitioner)?.method ?? FIELDS.method.default }
    : {};
  const resolved = resolveConfiguration({ ...sources, base: { ...existing, ...method } });
  findKind(resolved);
  findAssignment(resolved.method);
  const configuration = await withPartitioner(resolved, sources, existing !== undefined);
  const changed: (keyof Configuration)[] = [];
  if (!existing) return { configuration, changed, existing, adapter, isEdited };
  for (const name of FIELD_NAMES.filter((name) => name in chosen)) {
    if (text(existing[name]) === text(configuration[name])) continue;
    // The same path may be spelled differently; the run keeps its own spelling.
    if (FIELDS[name].isPath && await isSamePlace(existing[name], configuration[name])) {
      Object.assign(configuration, { [name]: existing[name] });
    } else changed.push(name);
  }
  const trained = trainingSettings();
  const isDerived = await exists(`${run}/${DERIVED}`);
  if (isDerived) await readRunConfiguration(run); // or an error: it is what the other run gave
  const bound = changed.find((name) => !trained.includes(name));
  if (bound && isDerived) {
    const fact = say`Cannot change ${setting(bound)} of "${run}" as it derives from another run`;
    throw new InputError(say`${fact}: its text and its parts go by that`, {
      where: run,
      remedy: "change that run, and derive again",
    });
  }
  const open = force ? [] : changed.filter((name) => !accepted.includes(name));
  const refused = open.length > 0 ? await findMadeWith(run, configuration, open) : undefined;
  if (refused) {
    const [valueNow, valueThen] = [configuration, existing].map((values) => text(values[refused]));
    const rule = say`${
      setting(refused)
    } must be what its config.json has: it is ${valueNow}, there it is ${valueThen}`;
    const accept = say`accept the change with ${
      setting("force")
    }, which makes again what depends on it`;
    throw new InputError(say`Cannot go on in "${run}" as ${rule}`, {
      where: `${run}/config.json`,
      remedy: say`choose another ${setting("run")}, or ${accept}`,
    });
  }
  if (changed.length > open.length || isEdited) await checkAlone(run);
  return { configuration, changed, existing, adapter, isEdited };
}

const text = (value: unknown) => JSON.stringify(value);

/**
 * Names one of the settings that are to change with which something was made that would be
 * replaced.
 */
async function findMadeWith(
  run: string,
  configuration: Configuration,
  changed: readonly (keyof Configuration)[],
): Promise<keyof Configuration | undefined> {
  const isOfText = changed.some((name) => name in TEXT);
  const graph = await wholeGraph(run, configuration, !isOfText && await exists(`${run}/${INDEX}`));
  const all = await replacements(new Walk(run, graph));
  const isExact = (name: keyof Configuration) =>
    !OF_A_MODEL.includes(name) && all.some(({ because }) => because === name);
  return changed.find(isExact) ??
    changed.find((name) => all.some((setting) => dependsOn(setting, name)));
}

/**
 * Whether what would be replaced may have been made with another value of a setting that it does
 * not keep by its name. A model that is made keeps all by their names but its learning rate.
 */
function dependsOn({ node, because }: Replacement, name: keyof Configuration): boolean {
  const { asked, maker } = node;
  const isOfRate = because === "rate" && name.endsWith("Rate");
  if (asked && because !== "checkpoint" && !isOfRate) return false;
  return !OF_A_MODEL.includes(name) &&
    listSettings(asked?.command.task ?? maker.stage).includes(name);
}

/** Throws a `RunError` where another process works in a run that is about to change. */
export async function checkAlone(run: string): Promise<void> {
  const [owner] = await listOwners(run);
  if (!owner) return;
  const worker = `${processText(owner)} makes "${owner.node}" for task "${owner.task}"`;
  throw new RunError(
    `Cannot make "${run}" anew as nobody else may work in it meanwhile: ${worker}`,
    {
      where: run,
      remedy: say`wait for it or choose another ${setting("run")}`,
    },
  );
}

/** Throws an `InputError` where a folder holds files and is no run: they are the user's. */
export async function checkOwn(run: string): Promise<void> {
  await checkRunFolder(run);
  const isSeen = ({ name }: Deno.DirEntry) => (wholeName(name) ?? name) === "files.json";
  // Entries are listed before config.json is looked for: another process that has just begun the
  // run writes it first.
  for (const { name, isDirectory, isSymlink } of await listEntries(run)) {
    if ([LOCKS, PARTIAL, DERIVED].includes(name)) continue;
    // A link may lead nowhere.
    if (!isSymlink && /^config\.json(\.\d+\.partial)?$/.test(name)) continue;
    // What files were seen is kept before that, by a process that goes on or was killed there.
    if (name === "text" && isDirectory && (await listEntries(`${run}/text`)).every(isSeen)) {
      continue;
    }
    if (await exists(`${run}/config.json`)) return;
    throw new InputError(
      `Cannot work in "${run}" as it must be a run folder, new or empty: it holds ` +
        `"${name}" and no config.json`,
      { where: run, remedy: say`choose another ${setting("run")}` },
    );
  }
}

/**
 * Takes E, and the tokenizer unless one is named, from an existing partitioner. A run that has them
 * already does not need to read the partitioner, whose folder may be on another machine.
 */
async function withPartitioner(
  configuration: Configuration,
  sources: Sources,
  isThere: boolean,
): Promise<Configuration> {
  const { routers: folder, tokenizer } = configuration;
  const chosen = joinSources(sources);
  if (folder === "" || isThere && chosen.routers === undefined && chosen.experts === undefined) {
    return configuration;
  }
  const { experts } = await identifyPartitioner(folder);
  const { levels = [] } = await readDescription(folder) ?? {};
  const wanted = chosen.levels?.join("x") || chosen.experts;
  const count = levels.join("x") || experts;
  if (wanted !== undefined && wanted !== count && wanted !== experts) {
    const asked = setting("experts");
    const rule = say`${asked} must be their number: ${asked} is ${wanted}, there are ${count}`;
    throw new InputError(
      say`Cannot use routers "${folder}" as ${rule}`,
      { where: folder },
    );
  }
  const tokenizerPath = tokenizer || await findTokenizer(folder, 1);
  ensure(
    tokenizerPath,
    `Cannot use routers "${folder}" as their tokenizer must be known: there is no ` +
      "tokenizer.json there or next to it",
    { where: folder, remedy: say`name it with ${setting("tokenizer")}` },
  );
  return { ...configuration, experts, levels, tokenizer: tokenizerPath };
}

/**
 * Returns whether two paths, or lists of paths and patterns, lead to the same files in the same
 * order.
 */
async function isSamePlace(first: unknown, second: unknown): Promise<boolean> {
  const listPlaces = async (value: unknown) => {
    const paths = Array.isArray(value)
      ? await expandInputs(value, { isReadable: () => true })
      : [String(value)];
    return (await Promise.all(paths.map((path) => path === "-" ? path : Deno.realPath(path)))).join(
      "\n",
    );
  };
  if (!first || !second) return false;
  // A path that does not exist is no place.
  const places = await Promise.all([listPlaces(first), listPlaces(second)]).catch(() => null);
  return places !== null && places[0] === places[1];
}
