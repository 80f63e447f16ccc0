/**
 * Asks zero-shot tasks of the mixture of a run folder.
 *
 * @module
 */

import { type ZeroShotOptions, zeroShotPath, zeroShotTasks } from "../evaluation/choices/asking.ts";
import { InputError, say, setting } from "../../kernels/errors.ts";
import { readZeroShot, type ZeroShotResult } from "../evaluation/choices/results.ts";
import { listData } from "../evaluation/choices/data.ts";
import { MADE_TASKS } from "../evaluation/choices/suite.ts";
import { TASKS } from "../evaluation/choices/tasks.ts";
import { isFolder } from "../run/files.ts";
import { vouchedFiles } from "../run/manifest.ts";
import { nearestText } from "../settings/nearest.ts";
import { needStages } from "./partition.ts";
import { inRun, type RunOptions, type RunWatch } from "./session.ts";
import { NoQuestionsError, zeroShotStage } from "./zero_shot.ts";

/** Says what to ask and how. */
export interface ZeroShotRunOptions extends Omit<RunOptions, "sources">, ZeroShotOptions {
  /**
   * Names of tasks; unless given, all whose data are in the folder, and without one those of our own that can be made of the
   * run's text.
   */
  tasks?: readonly string[];
}

/**
 * Asks zero-shot tasks of the mixture of a run, beside the dense models that are trained there, each unless its
 * `zero-shot/TASK.json` is up to date: of the same models, questions, options and device. Others may work in the run meanwhile.
 *
 * Throws an `InputError` where a task is unknown, its data are missing or damaged, an expert is not trained, or models differ in
 * shape or tokenizer; a `RunError` where another process asks the same task or there is no GPU; the signal's reason where it ends the
 * work.
 */
export async function askRun(
  { tasks, ...options }: ZeroShotRunOptions,
  watch: RunWatch = {},
): Promise<ZeroShotResult[]> {
  const { run, data } = options;
  const names = [...new Set(tasks?.length ? tasks : await tasksOf(data))];
  const unknown = names.find((name) => !zeroShotTasks().includes(name));
  if (unknown !== undefined) {
    throw new InputError(
      say`Cannot ask "${unknown}" as ${setting("task")} must name one of ${zeroShotTasks().join(", ")}: ${
        nearestText(unknown, zeroShotTasks())
      }`,
    );
  }
  const kind = { task: "zero-shot", beside: "others", partSuffices: true, aside: true } as const;
  return await inRun(options, watch, kind, async (session) => {
    const results: ZeroShotResult[] = [];
    for (const name of names) {
      const stage = zeroShotStage(session.work.configuration, name, options);
      await needStages(session, stage);
      try {
        await session.run(stage);
      } catch (error) {
        const isLast = name === names.at(-1) && results.length === 0;
        if (!(error instanceof NoQuestionsError) || tasks?.length || isLast) throw error;
        session.work.emit({ type: "warning", message: error.what });
        continue;
      }
      results.push(await readZeroShot(`${run}/${zeroShotPath(name)}`, await vouchedFiles(run)));
    }
    return results;
  });
}

/** Lists the tasks whose data are in a folder; without a folder those of our own. */
async function tasksOf(data: string | undefined): Promise<string[]> {
  if (data === undefined) return [...MADE_TASKS.keys()];
  const found = await listData(data, [...TASKS.keys()]);
  if (found.length > 0) return found;
  const fact = await isFolder(data) ? "it holds none" : "there is no such folder";
  throw new InputError(
    `Cannot ask the questions of "${data}" as it must hold a file such as arc_easy.jsonl: ${fact}`,
    { where: data },
  );
}
