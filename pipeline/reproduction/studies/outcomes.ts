/**
 * Reads what single runs of studies came to. A folder of studies notes it, a small file per run, so that a study
 * goes on where the run itself lies on another machine or is gone.
 *
 * @module
 */

import { basename } from "node:path";
import * as v from "valibot";
import { InputError } from "../../../kernels/errors.ts";
import { readCost } from "../../cost/cost.ts";
import { BASELINES } from "../../evaluation/baselines.ts";
import { atPrefix, type Evaluation, readEvaluation } from "../../evaluation/evaluation.ts";
import type { Searched } from "../../report/reproduction.ts";
import { readRunConfiguration } from "../../run/configuration.ts";
import { entriesOf, jsonText, writeAtomic } from "../../run/files.ts";
import { type Manifest, readManifest, vouchedFiles } from "../../run/manifest.ts";
import { conform, count, readJsonIfThere } from "../../run/schema.ts";
import { canonical, isSealed, seal } from "../../run/seal.ts";
import { type Configuration, FIELDS } from "../../settings/configuration.ts";
import type { Sources } from "../../settings/resolution.ts";
import { graphOf } from "../../stages/graph.ts";
import { pickSettings } from "../../stages/stage.ts";
import { summarize } from "../../stages/summary.ts";
import { trainResult } from "../../nodes/training_result.ts";
import { OFF } from "../../text/path_source.ts";
import { runCrossing } from "../crossing.ts";
import { RATES } from "../models.ts";
import { readFound } from "./found.ts";
import { OUTCOME } from "./outcome.ts";
import { configurationOf, namesOf, ratesOf } from "./pieces.ts";
import type { Rates } from "./rates.ts";
import type { Choices, Outcome, Setup } from "./study.ts";

const STAGE = v.object({
  revision: count,
  settings: v.record(v.string(), v.unknown()),
  read: v.array(v.string()),
});
const STAGES = v.record(v.string(), STAGE);

/**
 * What the outcome of a run depends on besides learning rates, stage by stage: the revision, settings that are no
 * paths, and names and hashes of the files that it reads from elsewhere.
 */
type Stages = v.InferOutput<typeof STAGES>;

const FORMAT = 1;
const NOTE = v.pipe(
  v.record(v.string(), v.unknown()),
  v.check((note) => isSealed(note, FORMAT), "its checksum must be that of everything else in it: it is not"),
  v.object({
    format: v.literal(FORMAT),
    stages: STAGES,
    choices: v.record(v.string(), v.unknown()),
    outcome: OUTCOME,
  }),
);

/** What a run came to, and what that depends on. */
export type Note = v.InferOutput<typeof NOTE>;

/** Folder of notes, in a folder of studies. */
const OUTCOMES = "outcomes";

/** Gives the path of the note of a run in a folder of studies. */
export const noteFile = (run: string): string => `${OUTCOMES}/${run}.json`;

/** Lists the runs of which a folder of studies notes what they came to. */
export async function namesOfNotes(root: string): Promise<string[]> {
  return (await entriesOf(`${root}/${OUTCOMES}`)).map(({ name }) => name)
    .filter((name) => name.endsWith(".json")).map((name) => name.slice(0, -".json".length)).sort();
}

/** Reads what a folder of studies notes of a run; null where it notes nothing. Throws an `InputError` where that is damaged. */
export async function readNote(root: string, run: string): Promise<Note | null> {
  const where = `${root}/${noteFile(run)}`;
  const { format } = await readJsonIfThere(where, v.object({ format: v.number() }), "").catch(() => null) ??
    { format: FORMAT };
  if (format > FORMAT) {
    const what = `Cannot read "${where}" as its format must be at most ${FORMAT}: it is ${format}`;
    throw new InputError(what, { where, remedy: "use the version that wrote it" });
  }
  return await readFound(where, NOTE, "what a run came to");
}

/** Says what studies want of their runs, and reads what is known of it. */
export interface Asked {
  /** Where the settings come from. */
  sources: Sources;
  /** Learning rates that were found. */
  rates: Rates;
  /** Gives hashes of the text and the tokenizer of a run ({@linkcode rememberHashes}). */
  hashesOf: HashesOf;
}

/** Gives names and hashes of what stages of a run read from elsewhere, by stage. */
export type HashesOf = (configuration: Configuration) => Promise<Record<string, string[]>>;

/** Stages of a partition that read files from elsewhere. */
const READERS = ["corpus", "tokenizer"];

/** Makes a function that gives hashes of text and tokenizers, and reads each file once. */
export function rememberHashes(): HashesOf {
  const known = new Map<string, Promise<Record<string, string[]>>>();
  const read = async (configuration: Configuration) => {
    const graph = graphOf(configuration);
    // A path says what a document is only where its source is taken from there.
    const nameOf = (name: string) => configuration.sourceFromPath === OFF ? basename(name) : name;
    const entries = READERS.map(async (name) => {
      const hashes = await graph.get(name)!.external!({ run: "", configuration });
      return [name, Object.entries(hashes).sort().map(([name, hash]) => `${nameOf(name)} ${hash}`)] as const;
    });
    return Object.fromEntries(await Promise.all(entries));
  };
  return (configuration) => {
    const { input, corpus, sourceFromPath, tokenizer } = configuration;
    const key = canonical({ input, corpus, sourceFromPath, tokenizer });
    known.has(key) || known.set(key, read(configuration));
    return known.get(key)!;
  };
}

/**
 * Whether a run depends on text that can be read only once, or on models from elsewhere: nothing is noted of such
 * a run.
 */
const isUnique = ({ input, init, routers }: Configuration): boolean =>
  input.includes("-") || init !== "" || routers !== "";

/** Gives what the outcome of a run with these models depends on; nothing of files, where they are unique. */
async function stagesOf(
  models: readonly Searched[],
  configuration: Configuration,
  hashesOf: HashesOf,
): Promise<Stages> {
  const graph = graphOf(configuration);
  const trained = models.flatMap((model) => namesOf(model, configuration.experts)).map((name) =>
    `train-${name}`
  );
  const hashes = isUnique(configuration) ? {} : await hashesOf(configuration);
  const searched: readonly string[] = Object.values(RATES);
  const isNoted = (name: keyof Configuration) => !FIELDS[name].isPath && !searched.includes(name);
  const stages = [...graph.partition, ...[...trained, "evaluate"].map((name) => graph.get(name)!)];
  return Object.fromEntries(stages.map(({ name, revision, settings }) => [name, {
    revision,
    settings: pickSettings(configuration, settings.filter(isNoted)),
    read: hashes[name] ?? [],
  }]));
}

/**
 * Reads what the run of a setup came to: from the run where it is complete and has the settings and the text that
 * are asked for, else from what the folder notes of it. Undefined where neither tells. Throws an `InputError`
 * where something is damaged.
 */
export async function readOutcome(root: string, setup: Setup, asked: Asked): Promise<Outcome | undefined> {
  const outcome = await runOutcome(root, setup);
  if (outcome && await isAsked(`${root}/${setup.name}`, setup, asked)) return outcome;
  const found = await findNote([root], setup, asked);
  return found && { setup, ...found.note.outcome };
}

/** Whether a run has the settings and the text that a setup asks for; learning rates are left out. */
async function isAsked(run: string, setup: Setup, { sources, hashesOf }: Asked): Promise<boolean> {
  const read = await readRunConfiguration(run, { edited: true });
  if (!read) return false;
  const [asked, own] = await Promise.all(
    [configurationOf(sources, setup), read.configuration].map((configuration) =>
      stagesOf(setup.models, configuration, hashesOf)
    ),
  );
  return canonical(asked) === canonical(own);
}

/**
 * Finds the run of a setup among the notes of folders of studies: the first note of a run of the same settings
 * and text, at least its choices and its models, the learning rates that are asked for, and made by stages of
 * today's revisions. Throws an `InputError` where a note of that name is damaged.
 */
export async function findNote(
  folders: readonly string[],
  setup: Setup,
  { sources, rates: found, hashesOf }: Asked,
): Promise<{ folder: string; note: Note } | undefined> {
  const configuration = configurationOf(sources, setup);
  if (isUnique(configuration)) return undefined;
  const rates = ratesOf(setup, configuration, sources, found);
  let stages: Stages | undefined;
  for (const folder of folders) {
    const note = await readNote(folder, setup.name);
    if (!note || !rates) continue;
    stages ??= await stagesOf(setup.models, configuration, hashesOf);
    const { trained } = note.outcome;
    const fits = Object.entries(stages).every(([name, stage]) =>
      canonical(stage) === canonical(note.stages[name])
    ) &&
      covers(note.choices, setup.choices) &&
      setup.models.every((model) => trained[model]?.every(({ rate }) => rate === rates[model]));
    if (fits) return { folder, note };
  }
}

/** Whether an evaluation by some choices tells what is asked: at least these prefixes, and else the same. */
function covers(noted: Note["choices"], { routeLengths = [], ...asked }: Choices = {}): boolean {
  const measured = Array.isArray(noted.routeLengths) ? noted.routeLengths : [];
  return routeLengths.every((length) => measured.includes(length)) &&
    Object.entries(asked).every(([name, choice]) => canonical(choice) === canonical(noted[name]));
}

/** Whether an evaluation tells what these choices ask for: a user may have evaluated the run by others. */
function answers(evaluation: Evaluation, { mix = [], routeBy, routeLengths = [] }: Choices = {}): boolean {
  const mixes = (evaluation.mixing?.mixes ?? []).filter(({ reroute }) => reroute === null);
  return mix.every((size) => mixes.some(({ experts }) => experts === size)) &&
    (routeBy === undefined || evaluation.routedBy?.kind === routeBy) &&
    routeLengths.every((length) => atPrefix(evaluation, length));
}

/** Says whether the run of a setup is evaluated in a folder of studies: then that is looked at, and no note of it. */
export const isEvaluated = async (root: string, { name }: Setup): Promise<boolean> =>
  await readManifest(`${root}/${name}`, "evaluate") !== null;

/** Notes what the run of a setup came to, with all models that are evaluated there, where it is up to date. */
export async function noteOutcome(root: string, setup: Setup, hashesOf: HashesOf): Promise<void> {
  const run = `${root}/${setup.name}`;
  const { scores } = await readEvaluation(`${run}/evaluation.json`, await vouchedFiles(run));
  const models = ["experts" as const, ...BASELINES.filter((name) => scores[name])];
  const outcome = await runOutcome(root, { ...setup, models });
  const read = await readRunConfiguration(run, { edited: true });
  if (outcome && read) await writeNote(root, outcome, read.configuration, hashesOf);
}

/** Notes an outcome in a folder of studies, of a run of these settings that stages of today's revisions made. */
export async function writeNote(
  root: string,
  { setup, ...outcome }: Outcome,
  configuration: Configuration,
  hashesOf: HashesOf,
): Promise<void> {
  if (isUnique(configuration)) return;
  const stages = await stagesOf(setup.models, configuration, hashesOf);
  const kept = conform(OUTCOME, outcome); // without what studies do not use
  delete kept.evaluation.models.adopted; // studies train their own
  const note: Note = { format: FORMAT, stages, choices: { ...setup.choices }, outcome: kept };
  await writeAtomic(`${root}/${noteFile(setup.name)}`, jsonText(seal(note)));
}

/** Whether an evaluation scored the weights that a model has now; it may have been trained again since. */
const scoredWeights = ({ inputs }: Manifest, name: string, { outputs }: Manifest): boolean =>
  Object.entries(outputs).some(([path, { sha256 }]) =>
    path.endsWith("/model.safetensors") && sha256 === inputs[name]
  );

/**
 * Reads what a run came to; undefined where a model is not trained, or is not evaluated as it is now and by the
 * setup's choices.
 */
async function runOutcome(root: string, setup: Setup): Promise<Outcome | undefined> {
  const run = `${root}/${setup.name}`;
  const evaluated = await readManifest(run, "evaluate");
  if (!evaluated) return undefined;
  const evaluation = await readEvaluation(`${run}/evaluation.json`, await vouchedFiles(run));
  if (BASELINES.some((name) => setup.models.includes(name) && !evaluation.scores[name])) return undefined;
  if (!answers(evaluation, setup.choices)) return undefined;
  const trained: Outcome["trained"] = {};
  for (const model of setup.models) {
    const names = namesOf(model, evaluation.experts);
    const manifests = await Promise.all(names.map((name) => readManifest(run, `train-${name}`)));
    if (!manifests.every((manifest, i) => manifest && scoredWeights(evaluated, names[i], manifest))) {
      return undefined;
    }
    trained[model] = manifests.map((manifest) => trainResult(manifest!, run));
  }
  return {
    setup,
    adapter: String(evaluated.configuration.adapter),
    partition: await summarize(run, true, []),
    evaluation,
    cost: await readCost({ run, flops: 1, utilisation: 1 }),
    trained,
    crossing: trained.experts && trained["dense-steps"] &&
      await runCrossing(run, evaluation, {
        experts: trained.experts[0].batch,
        steps: trained["dense-steps"][0].batch,
      }),
  };
}
