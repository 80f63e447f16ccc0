/**
 * Asks zero-shot tasks of the mixture of a run, next to the models of all text that are trained
 * there.
 *
 * @module
 */

import { ensure, InputError, say, setting } from "../../kernels/errors.ts";
import { findData } from "../evaluation/choices/questions.ts";
import {
  readZeroShot,
  type ZeroShotOptions,
  type ZeroShotResult,
} from "../evaluation/choices/results.ts";
import { MADE_TASKS, MADE_ZERO_SHOT, zeroShotTasks } from "../evaluation/choices/suite.ts";
import { TASKS } from "../evaluation/choices/tasks.ts";
import { isFolder } from "../graph/files.ts";
import { ZERO_SHOT } from "../graph/node.ts";
import { nearestText } from "../settings/field.ts";
import { askedOf, type AskRequest, NoQuestionsError } from "../stages/ask.ts";
import { needConfiguration } from "../stages/parts.ts";
import { type PartitionPlan, type PlanOptions, planRequests } from "./estimate.ts";
import { modelsOfRun } from "./evaluate_run.ts";
import { tokensOfRun } from "./models.ts";
import { type OpenRun, openRun, type RunOptions, type RunWatch } from "./run.ts";

/** Reports what to ask and how. */
export interface ZeroShotRunOptions extends Omit<RunOptions, "sources">, ZeroShotOptions {
  /**
   * Names of tasks; unless given, all whose data are in the folder, and without one those of our
   * own that can be made of the run's text.
   */
  tasks?: readonly string[];
}

/**
 * Asks zero-shot tasks of the mixture of a run, next to the models of all text that are trained
 * there, each unless that is done: of the same models, questions and options. Throws an
 * `InputError` where a task is unknown, or its data are missing or damaged. Also where an expert is
 * not trained, or models differ in shape or tokenizer. It throws what `openRun` throws as well.
 */
export async function askRun(
  options: ZeroShotRunOptions,
  watch: RunWatch = {},
): Promise<ZeroShotResult[]> {
  const { run, tasks, force } = options;
  return await opened(options, watch, async (names, requestOf, { makeStage }) => {
    const results: ZeroShotResult[] = [];
    for (const name of names) {
      const request = await requestOf(name);
      try {
        await makeStage(ZERO_SHOT, request, { renewed: force ? [`${ZERO_SHOT}/${name}`] : [] });
      } catch (error) {
        const isLast = name === names.at(-1) && results.length === 0;
        if (!(error instanceof NoQuestionsError) || tasks?.length || isLast) throw error;
        watch.onEvent?.({ type: "warning", message: error.what });
        continue;
      }
      results.push(await readZeroShot(`${run}/${ZERO_SHOT}/${name}/${name}.json`));
    }
    return results;
  });
}

/** Plans what {@linkcode askRun} would ask. Throws what it would throw beforehand. */
export const planQuestions = async (
  options: ZeroShotRunOptions & PlanOptions,
): Promise<PartitionPlan> =>
  await opened(options, {}, async (names, requestOf) => {
    const requests = await Promise.all(names.map(requestOf));
    return await planRequests({ ...options, stage: ZERO_SHOT, requests });
  });

/** Opens a run to ask tasks of it: their names, and what is requested for each. */
async function opened<Result>(
  options: ZeroShotRunOptions,
  watch: RunWatch,
  body: (
    names: readonly string[],
    requestOf: (name: string) => Promise<AskRequest>,
    open: OpenRun,
  ) => Promise<Result>,
): Promise<Result> {
  const { run, data, tasks } = options;
  const names = [...new Set(tasks?.length ? tasks : await listTasks(data))];
  const taskNames = zeroShotTasks();
  for (const name of names) {
    const rule = say`${setting("task")} must name one of ${taskNames.join(", ")}: ${
      nearestText(name, taskNames)
    }`;
    ensure(taskNames.includes(name), say`Cannot ask "${name}" as ${rule}`);
  }
  await needConfiguration(run);
  return await openRun(options, watch, ZERO_SHOT, async (open) => {
    const models = await modelsOfRun(run, open.configuration, "ask questions of");
    if (names.some((name) => MADE_TASKS.has(name))) await tokensOfRun(run);
    const requestOf = async (name: string): Promise<AskRequest> => ({
      name,
      models,
      ...await askedOf(name, options),
    });
    return await body(names, requestOf, open);
  });
}

/** Lists the tasks whose data are in a folder; without a folder those of our own. */
async function listTasks(data: string | undefined): Promise<readonly string[]> {
  if (data === undefined) return MADE_ZERO_SHOT;
  const tasks: string[] = [];
  for (const name of TASKS.keys()) if (await findData(data, name)) tasks.push(name);
  if (tasks.length > 0) return tasks;
  const fact = await isFolder(data) ? "it holds none" : "there is no such folder";
  throw new InputError(
    `Cannot ask the questions of "${data}" as it must hold a file such as arc_easy.jsonl: ${fact}`,
    { where: data },
  );
}
