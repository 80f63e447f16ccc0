/**
 * Reads from the flags of `submit` how the jobs of a run are planned; what they do not say is as it was when they were last submitted.
 *
 * @module
 */

import { statSync } from "node:fs";
import { resolve } from "node:path";
import { InputError, say, setting } from "../kernels/mod.ts";
import type { Fields, Values } from "../pipeline/settings/mod.ts";
import { MADE_ZERO_SHOT, zeroShotTasks } from "../pipeline/evaluation/mod.ts";
import type { JobPlan } from "../pipeline/stages/mod.ts";
import { fromHere } from "./arguments.ts";
import type { Call } from "./command.ts";
import type { CHECKPOINTS, JOB_OPTIONS, RECOMPUTE, REQUIRE_GPU } from "./options.ts";

/** The options that a plan depends on. */
type PlanOptions = Values<typeof JOB_OPTIONS & typeof CHECKPOINTS & typeof RECOMPUTE & typeof REQUIRE_GPU>;

const DENSE: JobPlan["dense"] = ["batch", "steps", "compute", "switch"];
/** What trainings are told where it was said. */
const TRAINING = ["checkpointEvery", "checkpointMinutes", "keep", "recompute", "requireGpu"] as const;
/** What Slurm is asked for where it was said. */
const SLURM = ["slurmPartition", "expertsAtOnce", "time", "gres", "container"] as const;

/**
 * Gives the plan that options say, those of them that were `given`, without what was `denied`, and otherwise the one of `before`. Throws
 * an `InputError` where a name is unknown or a folder is missing, and where settings are to be written by a dry run.
 */
export function planOf(
  options: PlanOptions,
  { given, denied }: Pick<Call<Fields>, "given" | "denied">,
  before: JobPlan | null,
): JobPlan {
  const { parts, routerGroups, dense, settle, dryRun } = options;
  if (settle && dryRun) {
    throw new InputError(
      say`Cannot write the settings of a run as ${setting("settle")} must be given without ${
        setting("dryRun")
      }, which writes nothing: both are given`,
    );
  }
  const told = TRAINING.filter((name) => given.has(name)).map((name) => [name, options[name]]);
  const training: NonNullable<JobPlan["training"]> = { ...before?.training, ...Object.fromEntries(told) };
  for (const name of denied) delete training[name];
  return {
    parts: parts ?? before?.parts ?? 1,
    dense: dense === undefined ? before?.dense ?? ["batch"] : denseOf(dense),
    routerGroups: routerGroups ?? before?.routerGroups,
    training: Object.keys(training).length > 0 ? training : undefined,
    zeroShot: zeroShotOf(options, before),
    slurm: slurmOf(options, given, before),
  };
}

/** Gives what Slurm is asked for; "none", or 0 processes, takes back what was said before. */
function slurmOf(
  options: PlanOptions,
  given: ReadonlySet<string>,
  before: JobPlan | null,
): JobPlan["slurm"] {
  const said = { ...before?.slurm };
  for (const name of SLURM.filter((name) => given.has(name))) {
    const value = options[name];
    if (!value || value === "none") delete said[name];
    else Object.assign(said, { [name]: name === "container" ? imageOf(String(value)) : value });
  }
  return Object.keys(said).length > 0 ? said : undefined;
}

/** Gives the image of a container by its whole path, as jobs start elsewhere; "docker://…" and the like stay as they are. */
function imageOf(container: string): string {
  return /^[\w.+-]+:\/\//.test(container) ? container : resolve(fromHere(container));
}

/** Gives the models to compare with that a flag names. */
function denseOf(flag: string): JobPlan["dense"] {
  if (flag === "none") return [];
  if (flag === "all") return DENSE;
  const named = namesIn(flag.replace(/\bboth\b/, "batch,steps"));
  const unknown = named.find((name) => !DENSE.some((known) => known === name));
  if (unknown === undefined && named.length > 0) return DENSE.filter((name) => named.includes(name));
  throw new InputError(
    say`Cannot plan dense models as ${setting("dense")} must name some of ${
      DENSE.join(", ")
    }, both, all or none: it is "${flag}"`,
  );
}

const namesIn = (flag: string) => flag.split(",").filter((name) => name !== "");

/** Gives the zero-shot tasks that flags name. */
function zeroShotOf(
  { zeroShot, zeroShotData }: Pick<PlanOptions, "zeroShot" | "zeroShotData">,
  before: JobPlan | null,
): JobPlan["zeroShot"] {
  if (zeroShotData !== undefined) {
    checkData(zeroShotData, zeroShot ?? (before?.zeroShot ? "as before" : "none"));
  }
  const data = zeroShotData === undefined ? before?.zeroShot?.data : resolve(zeroShotData);
  if (zeroShot === undefined) return before?.zeroShot && { ...before.zeroShot, data };
  if (zeroShot === "none") return undefined;
  const named = [
    ...new Set(namesIn(zeroShot).flatMap((name) => name === "own" ? [...MADE_ZERO_SHOT] : [name])),
  ];
  const unknown = named.find((name) => !zeroShotTasks().includes(name));
  if (unknown !== undefined || named.length === 0) {
    throw new InputError(
      say`Cannot plan zero-shot tasks as ${setting("zeroShot")} must name some of ${
        zeroShotTasks().join(", ")
      }, own or none: it is "${zeroShot}"`,
    );
  }
  const published = named.find((name) => !MADE_ZERO_SHOT.includes(name));
  if (published === undefined || data !== undefined) return { tasks: named, data };
  throw new InputError(
    say`Cannot plan zero-shot task "${published}" as its data must be there: ${
      setting("zeroShotData")
    } names no folder`,
  );
}

/** Throws an `InputError` where data of zero-shot tasks is no folder, or no task is asked that could read it. */
function checkData(folder: string, tasks: string): void {
  if (tasks === "none") {
    throw new InputError(
      say`Cannot use the data "${folder}" as ${
        setting("zeroShot")
      } must name tasks that read it: it names none`,
    );
  }
  if (statSync(folder, { throwIfNoEntry: false })?.isDirectory()) return;
  throw new InputError(
    say`Cannot plan zero-shot tasks as ${setting("zeroShotData")} must be a folder: "${folder}" is none`,
    { where: folder },
  );
}
