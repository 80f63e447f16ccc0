/**
 * How the jobs of a run are planned, as `submit` notes it in the run, and who may run them.
 *
 *     jobs/    plan.json, scripts/, logs/
 *
 * @module
 */

import { dirname, resolve } from "node:path";
import * as v from "valibot";
import { RunError, say, task } from "../../kernels/errors.ts";
import { removeFolder } from "../graph/folder.ts";
import { type Lock, processText, takeLock } from "../graph/lock.ts";
import { readManifest } from "../graph/node.ts";
import { writeRunConfiguration } from "../run/configuration.ts";
import { jsonText, refuseLink, withRemedy, writeAtomic } from "../run/files.ts";
import { count, readJsonIfThere } from "../run/schema.ts";
import { type Configuration, FIELD_NAMES, FIELDS } from "../settings/configuration.ts";
import { WORD } from "../settings/field.ts";
import type { Sources } from "../settings/resolution.ts";
import { checkAlone, resolveSettings } from "./settings.ts";

const PLAN = v.object({
  parts: v.pipe(count, v.minValue(1)),
  dense: v.array(v.picklist(["batch", "steps", "compute", "switch"])),
  routerGroups: v.optional(v.pipe(count, v.minValue(1))),
  training: v.optional(v.record(v.string(), v.union([v.number(), v.boolean(), v.string()]))),
  zeroShot: v.optional(v.object({ tasks: v.array(v.string()), data: v.optional(v.string()) })),
  slurm: v.optional(v.object({
    slurmPartition: v.optional(WORD),
    expertsAtOnce: v.optional(count),
    time: v.optional(WORD),
    gres: v.optional(WORD),
    container: v.optional(v.string()),
  })),
});

/**
 * How the jobs of a run were planned when they were last submitted: the parts of stages, and the models to compare with. Also the processes
 * that train the routers together, and what trainings get apart from the run. Also the zero-shot tasks that are asked, and what Slurm is
 * asked for.
 *
 * @ignore
 */
export type JobPlan = v.InferOutput<typeof PLAN>;

/** The options of a plan of jobs: how it is planned, and where. Default: one process for a stage, one dense model. */
export interface JobOptions extends Partial<JobPlan> {
  /** Run folder. */
  run: string;
  /** Where the settings come from. */
  sources?: Sources;
  /** Accepts values that differ from the run's. */
  force?: boolean;
  /** Whether nobody looks at the text: it is taken to be what the run was made of. */
  recorded?: boolean;
}

/** Folder, in the run folder, of files that belong to jobs and not to the run: their plan, scripts and logs. */
export const JOBS = "jobs";

/** Reads how the jobs of a run were planned; null where none were submitted. Throws an `InputError` where that is damaged. */
export async function readJobPlan(run: string): Promise<JobPlan | null> {
  return await readJsonIfThere(`${run}/${JOBS}/plan.json`, PLAN, "the plan of a run's jobs").catch(
    withRemedy(say`remove it, and run ${task("submit", { run })} with all its options again`),
  );
}

/**
 * Notes how the jobs of a run are planned, and writes its settings into its `config.json`: jobs get only the run. With `force` these
 * may be others than before, and what another version made goes, as jobs would refuse it.
 */
export async function writeJobSettings(
  { run, sources = {}, force = false }: Pick<JobOptions, "run" | "sources" | "force">,
  plan: JobPlan,
): Promise<void> {
  const { configuration, changed, exists, adapter } = await resolveSettings(run, sources, force);
  await refuseLink(`${run}/${JOBS}`);
  if (force || !exists || changed.length > 0) await writeRunConfiguration(run, configuration, adapter);
  if (force) await removeRevisions(run, configuration, plan);
  await writeAtomic(`${run}/${JOBS}/plan.json`, jsonText(plan));
}

/** Removes what another version made. Throws a `RunError` where another process works in the run. */
async function removeRevisions(run: string, configuration: Configuration, plan: JobPlan): Promise<void> {
  const { planAll } = await import("./jobs.ts");
  for (const { name, revision, given } of (await planAll(run, configuration, plan)).graph) {
    const manifest = given ? null : await readManifest(`${run}/${name}`);
    if (!manifest || manifest.revision === revision) continue;
    await checkAlone(run);
    await removeFolder(`${run}/${name}`);
  }
}

/**
 * Waits until no other process submits or runs the jobs of a run. Thus as many run at once as one of them was asked for. Throws a
 * `RunError` where that takes longer than `patience` milliseconds, and the reason of `signal` where that ends the waiting.
 */
export async function lockJobs(
  run: string,
  { patience = Infinity, signal, tell }: {
    patience?: number;
    signal: AbortSignal;
    tell: (text: string) => void;
  },
): Promise<Lock> {
  for (let waited = 0;; waited += 200) {
    const taken = await takeLock(`${run}/${JOBS}`, "submit", "submit");
    if ("release" in taken) return taken;
    const who = processText(taken);
    if (waited === 0) tell(`waits for ${who}, which submits this run`);
    if (waited >= patience) {
      throw new RunError(
        `Cannot submit "${run}" as only one process may do so at a time: ${who} does`,
        { where: run, remedy: "wait for it, and submit the same again" },
      );
    }
    await new Promise((done) => setTimeout(done, 200));
    signal.throwIfAborted();
  }
}

/** Lists the folders next to the run's that its settings and its jobs name: what a container must show them. */
export async function foldersNamed(
  { run, sources = {}, force = false, zeroShot }: JobOptions,
): Promise<string[]> {
  const { configuration } = await resolveSettings(run, sources, force);
  const named = FIELD_NAMES.filter((name) => FIELDS[name].isPath).flatMap((name) => configuration[name]);
  const paths = named.filter((path): path is string =>
    typeof path === "string" && path !== "" && path !== "-"
  );
  const folders = paths.map((path) => dirname(resolve(path.replace(/[*?[{].*$/s, "any"))));
  return [...new Set([...folders, ...zeroShot?.data ? [resolve(zeroShot.data)] : []])].sort();
}
