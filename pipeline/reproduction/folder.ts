/**
 * A folder of studies. What is asked of it is checked before anything is made. It notes what
 * searches found (`rates.json`, `routers.json`) and what single runs came to, a small file each. So
 * a study goes on where a run itself lies on another machine or is gone.
 *
 * @module
 */

import * as v from "valibot";
import { ensure, say, setting, type Words } from "../../kernels/errors.ts";
import { takeLock } from "../graph/lock.ts";
import { type Node, withNeeds } from "../graph/node.ts";
import { RATE_SEARCH, type Searched } from "../report/reproduction.ts";
import { exists, jsonText, listEntries, sha256, withRemedy, writeAtomic } from "../graph/files.ts";
import { canonical, readJsonIfThere, type Schema, seal, sealed } from "../graph/schema.ts";
import type { Configuration } from "../settings/configuration.ts";
import type { Sources } from "../settings/resolution.ts";
import { evaluateNodes } from "../stages/evaluate.ts";
import { resolveSettings } from "../run/settings.ts";
import { graphOf } from "../stages/stage.ts";
import { partitionStages } from "../stages/stages.ts";
import type { ExpertSummary } from "../run/partition.ts";
import { lookAtText, type RunText } from "../stages/text.ts";
import { tokensNode } from "../stages/token_rows.ts";
import { trainNodes } from "../stages/train.ts";
import { findStudies, Grid, type SearchResults } from "./grid.ts";
import { OUTCOME, searchedTargets } from "./outcome.ts";
import { RATES, ROUTER_SEARCH } from "./search.ts";
import type { Choices, Outcome, Setup } from "./study.ts";

/** Which studies are made, and where. */
export interface StudyChoice {
  /** Folder of all runs and of the findings. */
  run: string;
  /** Names of studies; `all` for all of them. */
  studies: readonly string[];
  /** Where the settings come from that runs share. */
  sources?: Sources;
  /** Seeds where a study repeats them. Default: 1. */
  seeds?: number;
  /**
   * Folders of studies, or of results that were kept of them. Rates and settings of routers that
   * were found there count, and runs whose outcome is noted there are not made again.
   */
  from?: readonly string[];
  /**
   * Names of runs that are made, those of a plan; a search that they wait for is made in whichever
   * run it belongs to. Default: all that the studies need.
   */
  only?: readonly string[];
  /** Part of the training that a trial of a learning rate takes. Default: 1/8. */
  trialShare?: number;
  /** Words settings and tasks in what is written. Default: as a library names them. */
  words?: Words;
}

/**
 * Gives the grid of studies with what is known for it. Throws where something does not go together
 * or is damaged.
 */
export async function openStudies(
  { run, studies, sources = {}, seeds, from = [], only }: StudyChoice,
): Promise<Grid> {
  const chosen = findStudies(studies);
  for (const folder of from) await checkHolds(folder);
  const grid = new Grid(chosen, sources, { seeds, searched: await readKnown(run, ...from), only });
  await checkStudies(run, grid);
  return grid;
}

/**
 * Throws an `InputError` where the runs of a grid cannot be made in a folder, or are there with
 * other settings.
 */
export async function checkStudies(root: string, grid: Grid): Promise<void> {
  ensure(
    !await exists(`${root}/config.json`),
    say`Cannot keep studies in "${root}" as it must be a folder of runs: it is a run itself`,
    { where: root, remedy: say`choose another ${setting("run")}` },
  );
  grid.checkNames();
  for (const study of grid.studies) study.check?.(grid.preset);
  ensureHeldOut(root, grid.preset.holdout > 0);
  ensure(
    !grid.preset.input.includes("-"),
    say`Cannot run studies on ${setting("input", "-")} as every run must read the text`,
    { remedy: say`write the text to a file, and name that with ${setting("input")}` },
  );
  const seen = new Set<string>();
  const jobs = grid.runs().flatMap((setup) => [...grid.jobs(setup, seen)]);
  const runs = new Map(jobs.map(({ setup }) => [setup.name, setup]));
  for (const [name, setup] of runs) {
    const run = `${root}/${name}`;
    await resolveSettings(run, { flags: grid.flags(setup) }, false).catch(
      withRemedy(
        say`choose another ${setting("run")}, or remove "${run}", which is then made anew`,
      ),
    );
  }
}

/**
 * Checks the parts of a run before anything is trained. Throws an `InputError` where they show that
 * it cannot be evaluated. Also where one of the runs that are to be made cannot be split by its
 * labels.
 */
export function checkParts(
  run: string,
  parts: readonly Pick<ExpertSummary, "testSequences" | "sources">[],
  setups: readonly Setup[],
): void {
  ensureHeldOut(run, parts.some(({ testSequences }) => testSequences > 0));
  const labels = new Set(parts.flatMap(({ sources }) => Object.keys(sources))).size;
  for (const { name, settings: { partitioner, experts } } of setups) {
    const must = say`there must be at least as many labels of sources as ${setting("experts")}`;
    ensure(
      partitioner !== "source" || experts! <= labels,
      say`Cannot make "${name}" as ${must}: there are ${labels}, ${setting("experts")} is ${
        experts ?? 0
      }`,
      {
        where: run,
        remedy: say`choose another ${setting("run")} with fewer experts, or text with more labels`,
      },
    );
  }
}

const ensureHeldOut = (where: string, isThere: boolean): void =>
  ensure(
    isThere,
    "Cannot evaluate runs of studies as there must be held-out sequences: there are none",
    {
      where,
      remedy: say`choose another ${setting("run")} with a larger ${setting("holdout")}`,
    },
  );

const FORMAT = 1;
const PAUSE_MS = 100; // between two looks whether another process has written

/** Writes what all processes of a folder share, one process at a time. */
export async function alone(
  root: string,
  write: () => Promise<void>,
  signal?: AbortSignal,
): Promise<void> {
  for (;;) {
    const lock = await takeLock(root, "notes", "reproduce");
    if ("release" in lock) return await write().finally(lock.release);
    signal?.throwIfAborted();
    await new Promise((done) => setTimeout(done, PAUSE_MS));
  }
}

/**
 * Reads a note, which is `what`; null where there is none. Throws an `InputError` that says how to
 * go on without it where it is damaged.
 */
const readFound = async <T>(path: string, schema: Schema<T>, kind: string): Promise<T | null> =>
  await readJsonIfThere(path, schema, kind).catch(
    withRemedy(`remove "${path}": what it held is made again`),
  );

const RATES_FOUND = v.object({
  format: v.literal(FORMAT),
  rates: v.record(v.string(), RATE_SEARCH),
});
const ROUTERS_FOUND = v.object({
  format: v.literal(FORMAT),
  routers: v.record(v.string(), ROUTER_SEARCH),
});

/**
 * Reads what searches found in folders of studies: of one recipe the first of them holds. Throws an
 * `InputError` where it is damaged.
 */
export async function readKnown(...folders: string[]): Promise<SearchResults> {
  const merged: SearchResults = { rates: {}, routers: {} };
  for (const folder of folders.toReversed()) {
    const [rates, routers] = [`${folder}/rates.json`, `${folder}/routers.json`];
    const files = [
      await readFound(rates, RATES_FOUND, "learning rates that were found"),
      await readFound(routers, ROUTERS_FOUND, "settings of routers that were found"),
    ] as const;
    Object.assign(merged.rates, files[0]?.rates);
    Object.assign(merged.routers, files[1]?.routers);
  }
  return merged;
}

/** Gives the files of what searches found: the same text in whichever order that was. */
export const knownFiles = (searches: SearchResults): [file: string, text: string][] =>
  Object.entries(searches).filter(([, byRecipe]) => Object.keys(byRecipe).length > 0).map(
    ([key, result]) => {
      const sorted = Object.entries(result).sort(([a], [b]) => a < b ? -1 : 1);
      return [`${key}.json`, jsonText({ format: FORMAT, [key]: Object.fromEntries(sorted) })];
    },
  );

/**
 * Notes what searches found; of one recipe that which is there stays, as runs may go by it already.
 */
export async function writeKnown(
  root: string,
  { rates, routers }: Partial<SearchResults>,
): Promise<void> {
  await alone(root, async () => {
    const written = await readKnown(root);
    const all = {
      rates: { ...rates, ...written.rates },
      routers: { ...routers, ...written.routers },
    };
    for (const [file, text] of knownFiles(all)) await writeAtomic(`${root}/${file}`, text);
  });
}

const NOTE = sealed(v.object({
  format: v.literal(FORMAT),
  // Notes of before runs were graphs fit no run of today.
  made: v.optional(v.record(v.string(), v.string()), {}),
  choices: v.record(v.string(), v.unknown()),
  outcome: OUTCOME,
}));

/**
 * What a run came to, and what it was made of: hashes of its nodes as planned, of the partition and
 * of each model.
 */
type Note = v.InferOutput<typeof NOTE>;

/** Gives the path of the note of a run in a folder of studies. */
export const noteFile = (run: string): string => `outcomes/${run}.json`;

/** Lists the runs of which a folder of studies notes what they came to. */
export const namesOfNotes = async (root: string): Promise<string[]> =>
  (await listEntries(`${root}/outcomes`)).flatMap(({ name }) =>
    /^(.*)\.json$/.exec(name)?.[1] ?? []
  ).sort();

/**
 * Reads what a folder of studies notes of a run; null where it notes nothing. Throws an
 * `InputError` where that is damaged.
 */
export const readNote = async (root: string, run: string): Promise<Note | null> =>
  await readFound(`${root}/${noteFile(run)}`, NOTE, "what a run came to");

/** Throws an `InputError` where a folder holds nothing of studies, or what it holds is damaged. */
export async function checkHolds(folder: string): Promise<void> {
  const names = await namesOfNotes(folder);
  for (const name of names) await readNote(folder, name);
  const isOne = names.length > 0 || knownFiles(await readKnown(folder)).length > 0;
  const must = say`${setting("from")} must be a folder of studies, or of their results`;
  const fact = "there are no outcomes of runs, no rates.json and no routers.json";
  ensure(isOne, say`Cannot go on from "${folder}" as ${must}: ${fact}`, { where: folder });
}

/** Reads and writes what the runs of a grid came to. The text is looked at once. */
export class Notes {
  #text?: Promise<RunText>;

  /** What a run came to is looked for in a folder of studies, and then in folders elsewhere. */
  constructor(
    private readonly grid: Grid,
    private readonly root: string,
    private readonly from: readonly string[] = [],
  ) {}

  /**
   * Finds the note of a run of the same settings, text and learning rates, with at least its models
   * and its choices. It must be as this version would make it. With `keep` one from elsewhere is
   * copied. Throws an `InputError` where a note of that name is damaged.
   */
  async find(setup: Setup, keep = false): Promise<Outcome | undefined> {
    const rates = this.grid.rates(setup);
    if (!rates) return undefined;
    const file = noteFile(setup.name);
    for (const folder of [this.root, ...this.from]) {
      const note = await readNote(folder, setup.name);
      if (!note || !covers(note.choices, setup.choices)) continue;
      const hashes = await this.#made(setup, setup.models, rates);
      if (!Object.entries(hashes).every(([name, hash]) => note.made[name] === hash)) continue;
      if (keep && folder !== this.root) {
        const bytes = await Deno.readFile(`${folder}/${file}`);
        await writeAtomic(`${this.root}/${file}`, bytes);
      }
      return { setup, ...note.outcome };
    }
  }

  /** Notes what a run came to. */
  async write({ setup, ...outcome }: Outcome): Promise<void> {
    const models = Object.keys(outcome.trained) as Searched[];
    const rates = models.map((model) => [RATES[model], outcome.trained[model]![0].rate]);
    const hashes = await this.#made(setup, models, Object.fromEntries(rates));
    const note: Note = { format: FORMAT, made: hashes, choices: { ...setup.choices }, outcome };
    await writeAtomic(`${this.root}/${noteFile(setup.name)}`, jsonText(seal(note)));
  }

  /** Hashes what the graph of a run with these models would be made of. */
  async #made(
    setup: Setup,
    models: readonly Searched[],
    rates: Partial<Configuration>,
  ): Promise<Record<string, string>> {
    const c = { ...this.grid.configuration(setup), ...rates };
    const text = await (this.#text ??= lookAtText("", c)); // no study varies it
    // Its node says what the corpus is.
    const blocks = text.blocks ?? [{ name: "", id: 0, pieces: [], bytes: 0 }];
    const hash = (nodes: readonly Node[]) =>
      sha256(
        canonical(nodes.map(({ name, revision, settings }) => ({ name, revision, settings }))),
      );
    const evaluation = await evaluateNodes({
      configuration: c,
      tokens: blocks.map(tokensNode),
      models: [],
    });
    const graph = graphOf({ run: "", configuration: c, text, blocks });
    const parts = [];
    for (const [, stage] of partitionStages()) parts.push(...await stage.nodes(graph, {}));
    const isPart = ({ name }: Node) => name.startsWith("partition/expert-"); // others tell of paths
    const hashes: Record<string, string> = {
      partition: hash([...text.unpacked, ...withNeeds(parts, isPart)]),
      evaluation: hash(evaluation),
    };
    for (const model of models) {
      hashes[model] = hash(await trainNodes(c, searchedTargets(model, c), []));
    }
    const { branchOf } = setup;
    if (branchOf) {
      const begin = { ...branchOf, models: ["dense"] as const };
      const { dense } = await this.#made(begin, begin.models, this.grid.rates(begin) ?? {});
      hashes.begin = dense;
    }
    return hashes;
  }
}

/**
 * Whether an evaluation by some choices tells what is asked: at least these prefixes, and else the
 * same.
 */
function covers(noted: Note["choices"], { routeLengths = [], ...asked }: Choices = {}): boolean {
  const measured = Array.isArray(noted.routeLengths) ? noted.routeLengths : [];
  return routeLengths.every((length) => measured.includes(length)) &&
    Object.entries(asked).every(([name, choice]) => canonical(choice) === canonical(noted[name]));
}
