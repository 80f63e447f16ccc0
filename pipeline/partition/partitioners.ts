/** The table of all kinds of partitioners, and how the partitioner of a folder is found. */

import { dirname } from "node:path";
import { InputError, say, setting } from "../../kernels/errors.ts";
import type { Gpu } from "../../kernels/device/gpu.ts";
import { readRunConfiguration } from "../graph/configuration.ts";
import { exists, isMissing } from "../graph/files.ts";
import { type Configuration, listNames } from "../settings/configuration.ts";
import { OPTIMISER } from "../settings/experts.ts";
import { ROUTER_SHAPE } from "../settings/partitioner.ts";
import {
  type OpenOptions,
  type Partitioner,
  type PartitionerKind,
  type PartitionerWork,
  readDescription,
} from "./partitioner.ts";
import { random } from "./random.ts";
import { source } from "./source.ts";

/** Makes a kind whose code is loaded when one is learned or opened. */
function loaded(
  kind: Omit<PartitionerKind, keyof PartitionerWork>,
  load: () => Promise<PartitionerWork>,
): PartitionerKind {
  return {
    ...kind,
    learn: async (options) => await (await load()).learn!(options),
    open: async (...args) => await (await load()).open(...args),
    identify: async (folder) => await (await load()).identify(folder),
  };
}

const em = loaded({
  kind: "em",
  about: "small models, learned by EM: a sequence suits the expert whose model finds its " +
    "prefix likeliest",
  routes: true,
  splits: true,
  models: true,
  settings: [
    ...["experts", "prefix", "prefixLengths", "rounds", "roundSequences", "seed"] as const,
    ...[
      "routerHidden",
      "routerLayers",
      "routerHeads",
      ...ROUTER_SHAPE,
      "routerBatch",
      "routerRate",
      "routerWarmup",
    ] as const,
    ...["start", "fixed", "partitionerSample"] as const,
    ...listNames(OPTIMISER),
  ],
  revision: 1,
}, async () => (await import("./em/partitioner.ts")).em);

const ctbm = loaded({
  kind: "ctbm",
  about: "clusters by TF-IDF: a sequence suits the expert whose cluster's centre is nearest",
  routes: true,
  splits: true,
  whole: true,
  cost: "squared distance",
  routingTemperature: 0.1,
  settings: ["experts", "partitionerSample", "seed"],
  revision: 1,
}, async () => (await import("./ctbm/partitioner.ts")).ctbm);

const self = loaded({
  kind: "self",
  about: "the experts themselves: a sequence suits the one that finds its prefix " +
    "likeliest; they route and split nothing",
  routes: true,
  splits: false,
  settings: [],
  revision: 1,
}, async () => (await import("./self.ts")).self);

const tree = loaded({
  kind: "tree",
  about: "partitioners by levels: each splits what one of the level before was given",
  routes: true,
  splits: false,
  settings: [],
  revision: 1,
}, async () => (await import("./tree/partitioner.ts")).tree);

/** Every kind, by its name. A script may add its own. */
export const PARTITIONERS: Map<string, PartitionerKind> = new Map(
  [em, ctbm, random, source, self, tree].map((kind) => [kind.kind, kind]),
);

/** Finds the kind of partitioner that settings name, among those that can split text. */
export function findKind({ partitioner }: Pick<Configuration, "partitioner">): PartitionerKind {
  const kind = PARTITIONERS.get(partitioner);
  if (kind?.splits) return kind;
  throw new InputError(
    say`Cannot split text as ${setting("partitioner")} must be one of ${
      [...PARTITIONERS.values()].filter(({ splits }) => splits).map((partitionerKind) =>
        partitionerKind.kind
      ).join(
        ", ",
      )
    }: it is "${partitioner}"`,
  );
}

/**
 * Whether models route: the settings' own, or those of another run, which are taken for models
 * until they are read.
 */
export function hasRouters(settings: Pick<Configuration, "partitioner" | "routers">): boolean {
  return settings.routers !== "" || findKind(settings).models === true;
}

/**
 * Opens a folder's partitioner; `device` opens the GPU where it needs one. Throws an `InputError`
 * where none of a known kind is there.
 */
export async function openPartitioner(
  folder: string,
  device: () => Promise<Gpu>,
  options?: OpenOptions,
): Promise<Partitioner> {
  return await (await partitionerKind(folder)).open(folder, device, options);
}

/**
 * Reads identity and number of experts of a folder's partitioner, without opening it; throws as
 * {@linkcode openPartitioner} does.
 */
export async function identifyPartitioner(folder: string): ReturnType<PartitionerKind["identify"]> {
  const kind = await partitionerKind(folder);
  try {
    return await kind.identify(folder);
  } catch (error) {
    if (!isMissing(error)) throw error;
    const [, file = folder] = /'(.+)'$/.exec((error as Error).message) ?? [];
    const refusal =
      `Cannot open the partitioner "${folder}" as all its files must be there: "${file}" is not`;
    throw new InputError(refusal, { where: folder, remedy: "copy it again" });
  }
}

/**
 * Identifies the routers that settings name, for the keys of what goes by them; nothing where a run
 * learns its own.
 */
export const namedRouters = async (
  { routers }: Pick<Configuration, "routers">,
): Promise<{ routers?: string }> =>
  routers === "" ? {} : { routers: (await identifyPartitioner(routers)).sha256 };

/**
 * Returns what a cost of a partitioner is called where it is one of the whole sequence; undefined
 * where costs are NLLs, in nats.
 */
export function nameCost(
  { kind, perSequence }: Pick<Partitioner, "kind" | "perSequence">,
): string | undefined {
  return perSequence ? PARTITIONERS.get(kind)?.cost ?? "cost" : undefined;
}

/**
 * Finds the kind of a folder's partitioner; throws as {@linkcode openPartitioner} does. Other tools
 * write no `partitioner.json`.
 */
export async function partitionerKind(folder: string): Promise<PartitionerKind> {
  const name = (await readDescription(folder))?.kind ??
    (await exists(`${folder}/router-00`) ? "em" : undefined);
  const kind = PARTITIONERS.get(name ?? "");
  if (kind !== undefined) return kind;
  if (name !== undefined) {
    const kinds = [...PARTITIONERS.keys()].join(" or ");
    const refusal =
      `Cannot open the partitioner "${folder}" as its kind must be ${kinds}: it is ${name}`;
    throw new InputError(refusal, { where: folder });
  }
  const around = dirname(folder);
  const places = [`${folder}/partitioner`, around, `${around}/partitioner`];
  const near = places[(await Promise.all(places.map(holdsPartitioner))).indexOf(true)];
  const fact = await exists(folder) ? "it holds neither" : "it is not there";
  throw new InputError(
    `Cannot open the partitioner "${folder}" as it must hold partitioner.json or ` +
      `router-00: ${fact}`,
    { where: folder, remedy: near && `name ${near}` },
  );
}

/**
 * Returns whether the partitioner of a run routes by a prefix, as far as that is known; otherwise
 * the true label of a text does.
 */
export async function routesByPrefix(run: string): Promise<boolean> {
  const { configuration } = await readRunConfiguration(run, { edited: true }) ?? {};
  const { routers = "", partitioner } = configuration ?? {};
  const kind = routers === ""
    ? partitioner
    : (await readDescription(await partitionerFolder(run, routers)).catch(() => null))?.kind;
  return PARTITIONERS.get(kind ?? "")?.routes ?? true;
}

/**
 * Finds the folder of a run's partitioner: the one that is named, or the run's own where only that
 * one holds some.
 */
export async function partitionerFolder(run: string, named = ""): Promise<string> {
  const runFolder = `${run}/partitioner`;
  return named === "" || !await holdsPartitioner(named) && await holdsPartitioner(runFolder)
    ? runFolder
    : named;
}

/** Returns whether a folder holds a partitioner. */
export const holdsPartitioner = async (folder: string): Promise<boolean> =>
  await exists(`${folder}/partitioner.json`) || await exists(`${folder}/router-00`);
