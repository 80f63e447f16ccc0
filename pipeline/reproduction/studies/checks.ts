/**
 * Checks what is asked of studies against what their folder holds, before anything is made.
 *
 * @module
 */

import { InputError, say, setting } from "../../../kernels/errors.ts";
import { exists } from "../../run/files.ts";
import type { Sources } from "../../settings/resolution.ts";
import { resolveRun } from "../../stages/resolution.ts";
import type { Known } from "./elsewhere.ts";
import { flagsOf, setupsOf } from "./pieces.ts";
import type { Setup, Study } from "./study.ts";

/** What is asked. */
interface Asked {
  studies: readonly Study[];
  sources: Sources;
  seeds: number;
}

/** Throws an `InputError` where studies cannot be made in a folder, of which so much is known. */
export async function checkStudies(
  root: string,
  { studies, sources, seeds }: Asked,
  known: Known,
): Promise<void> {
  await checkRoot(root);
  for (const setup of setupsOf(studies, sources, seeds, known)) await checkRun(root, setup, sources);
}

/** Throws an `InputError` where a folder of studies would be a run itself. */
async function checkRoot(root: string): Promise<void> {
  if (!await exists(`${root}/config.json`)) return;
  throw new InputError(
    say`Cannot keep studies in "${root}" as it must be a folder of runs: it is a run itself`,
    { where: root, remedy: say`choose another ${setting("run")}` },
  );
}

/** Throws an `InputError` where a run of a study is there and has other settings than the study asks for. */
async function checkRun(root: string, setup: Setup, sources: Sources): Promise<void> {
  const run = `${root}/${setup.name}`;
  try {
    await resolveRun(run, { flags: flagsOf(sources, setup) }, false);
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    const remedy = say`choose another ${setting("run")}, or remove "${run}", which is then made anew`;
    throw new InputError(error.what, { where: run, remedy, cause: error });
  }
}
