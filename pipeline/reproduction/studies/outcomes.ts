/**
 * Reads what single runs of studies came to. A folder of studies notes it, a small file per run, so that a study goes
 * on where the run itself lies on another machine or is gone.
 *
 * @module
 */

import * as v from "valibot";
import { readCost } from "../../cost/cost.ts";
import { readEvaluation } from "../../evaluation/evaluation.ts";
import { readRunConfiguration } from "../../run/configuration.ts";
import { entriesOf, exists, jsonText, writeAtomic } from "../../run/files.ts";
import { readManifest, vouchedFiles } from "../../run/manifest.ts";
import { conform, count } from "../../run/schema.ts";
import { canonical, isSealed, seal } from "../../run/seal.ts";
import { type Configuration, defaultConfiguration } from "../../settings/configuration.ts";
import type { Sources } from "../../settings/resolution.ts";
import { graphOf } from "../../stages/graph.ts";
import { pickSettings, type Stage } from "../../stages/stage.ts";
import { summarize } from "../../stages/summary.ts";
import { trainResult } from "../../stages/training_result.ts";
import { runCrossing } from "../crossing.ts";
import { RATES } from "../models.ts";
import { readFound } from "./found.ts";
import { OUTCOME } from "./outcome.ts";
import { configurationOf, namesOf } from "./pieces.ts";
import type { Outcome, Setup } from "./study.ts";

const FORMAT = 1;
const NOTE = v.pipe(
  v.record(v.string(), v.unknown()),
  v.check((note) => isSealed(note, FORMAT), "its checksum must be that of everything else in it: it is not"),
  v.object({
    format: v.literal(FORMAT),
    configuration: v.record(v.string(), v.unknown()),
    choices: v.record(v.string(), v.unknown()),
    revisions: v.record(v.string(), count),
    outcome: OUTCOME,
  }),
);

/** What a run came to, with all that it depends on: settings, choices of its evaluation, revisions of stages. */
type Note = v.InferOutput<typeof NOTE>;

/** Folder of notes, in a folder of studies. */
const OUTCOMES = "outcomes";

/** Gives the path of the note of a run in a folder of studies. */
export const noteFile = (run: string): string => `${OUTCOMES}/${run}.json`;

/** Lists the runs of which a folder of studies notes what they came to. */
export async function namesOfNotes(root: string): Promise<string[]> {
  return (await entriesOf(`${root}/${OUTCOMES}`)).map(({ name }) => name).filter((name) =>
    name.endsWith(".json")
  )
    .map((name) => name.slice(0, -".json".length)).sort();
}

/**
 * Reads what the run of a setup came to: from the run where it is in the folder, else from what the folder notes.
 * Undefined where the run is not complete, or not there and nothing is noted. Throws an `InputError` where
 * something is damaged.
 */
export async function readOutcome(
  root: string,
  setup: Setup,
  sources: Sources,
): Promise<Outcome | undefined> {
  return await isHere(root, setup) ? await runOutcome(root, setup) : await notedOutcome(root, setup, sources);
}

/**
 * Reads what a folder of studies, or one elsewhere, notes of a run that is not in the folder, complete or not:
 * one of the same settings, choices and revisions of stages. Undefined where the run is in the folder, or
 * nothing is noted. Throws an `InputError` where a note is damaged.
 */
export async function notedOutcome(
  root: string,
  setup: Setup,
  sources: Sources,
  from: readonly string[] = [],
): Promise<Outcome | undefined> {
  if (await isHere(root, setup)) return undefined;
  for (const folder of [root, ...from]) {
    const note = await readNote(folder, setup.name);
    if (note && fits(note, setup, sources)) return { setup, ...note.outcome };
  }
}

/** Says whether a run is in a folder of studies, complete or not. */
const isHere = (root: string, { name }: Setup): Promise<boolean> => exists(`${root}/${name}/config.json`);

/** Notes what the run of a setup came to, where it is complete and up to date. */
export async function noteOutcome(root: string, setup: Setup): Promise<void> {
  const outcome = await runOutcome(root, setup);
  const read = await readRunConfiguration(`${root}/${setup.name}`, { edited: true });
  if (outcome && read) await writeNote(root, outcome, read.configuration);
}

/** Notes an outcome in a folder of studies, of a run of these settings that stages of today's revisions made. */
export async function writeNote(
  root: string,
  { setup, ...outcome }: Outcome,
  configuration: Configuration,
): Promise<void> {
  const stages = stagesOf(setup, configuration);
  const note: Note = {
    format: FORMAT,
    configuration: pickSettings(configuration, settingsOf(stages)),
    choices: { ...setup.choices },
    revisions: Object.fromEntries(stages.map(({ name, revision }) => [name, revision])),
    outcome: conform(OUTCOME, outcome), // without what studies do not use
  };
  await writeAtomic(`${root}/${noteFile(setup.name)}`, jsonText(seal(note)));
}

/** Reads what a folder of studies notes of a run; null where it notes nothing. Throws an `InputError` where that is damaged. */
export function readNote(root: string, run: string): Promise<Note | null> {
  return readFound(`${root}/${noteFile(run)}`, NOTE, "what a run came to");
}

/** Reads what a run came to; undefined where a model is not trained, or the run not evaluated. */
async function runOutcome(root: string, setup: Setup): Promise<Outcome | undefined> {
  const run = `${root}/${setup.name}`;
  const evaluated = await readManifest(run, "evaluate");
  if (!evaluated) return undefined;
  const evaluation = await readEvaluation(`${run}/evaluation.json`, await vouchedFiles(run));
  const trained: Outcome["trained"] = {};
  for (const model of setup.models) {
    const names = namesOf(model, evaluation.experts);
    const manifests = await Promise.all(names.map((name) => readManifest(run, `train-${name}`)));
    if (manifests.includes(null)) return undefined;
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

/** Lists the stages whose results the outcome of a run depends on. */
function stagesOf(setup: Setup, configuration: Configuration): Stage[] {
  const graph = graphOf(configuration);
  const models = setup.models.flatMap((model) => namesOf(model, configuration.experts));
  return [
    ...graph.partition,
    ...[...models.map((name) => `train-${name}`), "evaluate"].map((name) => graph.get(name)!),
  ];
}

/** Lists the settings that stages depend on. */
const settingsOf = (stages: readonly Stage[]) =>
  [...new Set(stages.flatMap(({ settings }) => settings))].sort();

/**
 * Says whether a note tells of the run of a setup: with the same settings, at least its choices and its models,
 * and made by stages of today's revisions. A learning rate is another where flags give another one.
 */
function fits(note: Note, setup: Setup, sources: Sources): boolean {
  const wanted = configurationOf(sources, setup);
  const searched: string[] = [];
  for (const rate of Object.values(RATES)) {
    const given = sources.flags?.[rate];
    if (given === undefined) searched.push(rate);
    else wanted[rate] = given;
  }
  const stages = stagesOf(setup, wanted);
  const settings = settingsOf(stages).filter((name) => !searched.includes(name));
  const noted = { ...defaultConfiguration(), ...note.configuration } as Configuration;
  return canonical(pickSettings(noted, settings)) === canonical(pickSettings(wanted, settings)) &&
    Object.entries({ ...setup.choices }).every(([name, choice]) =>
      canonical(choice) === canonical(note.choices[name])
    ) &&
    setup.models.every((model) => note.outcome.trained[model] !== undefined) &&
    stages.every(({ name, revision }) => note.revisions[name] === revision);
}
