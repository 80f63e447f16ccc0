/**
 * Reads the data sets of zero-shot tasks as they are published: `TASK.jsonl` or `TASK.parquet` in a folder.
 * Examples may come from `TASK_few_shot.jsonl` or `.parquet` next to it.
 */

import { InputError, say, setting } from "../../../kernels/errors.ts";
import { exists, hashFile, unreadable } from "../../run/files.ts";
import { readRecords } from "../../text/readers.ts";
import type { ChoiceTask, Question } from "./tasks.ts";

/** The files of a task: its questions, and those that examples are taken from, if there are some. */
export type DataFiles = { questions: string; examples?: string };

/** Finds the data of a task in a folder. Throws an `InputError` where they are missing. */
export async function findData(folder: string, task: string): Promise<DataFiles> {
  const questions = await find(folder, task);
  if (questions !== undefined) return { questions, examples: await find(folder, `${task}_few_shot`) };
  throw new InputError(
    `Cannot ask ${task} as its questions must be in "${folder}": there is neither ${task}.jsonl nor ${task}.parquet`,
    {
      where: folder,
      remedy: say`put them there as its data set publishes them, or name another ${setting("data")}`,
    },
  );
}

/** Lists those of some tasks whose questions are in a folder. */
export async function listData(folder: string, tasks: readonly string[]): Promise<string[]> {
  const found = await Promise.all(tasks.map((task) => find(folder, task)));
  return tasks.filter((_, i) => found[i] !== undefined);
}

/** Finds a file of JSON lines or Parquet; where both are there, the former. */
async function find(folder: string, name: string): Promise<string | undefined> {
  const paths = ["jsonl", "parquet"].map((ending) => `${folder}/${name}.${ending}`);
  const there = await Promise.all(paths.map(exists));
  return paths.find((_, i) => there[i]);
}

/** Hashes the data of a task: what its results depend on. */
export async function hashData({ questions, examples }: DataFiles): Promise<Record<string, string>> {
  const { sha256: data } = await hashFile(questions);
  return examples ? { data, examples: (await hashFile(examples)).sha256 } : { data };
}

/**
 * Reads the questions of a file. Throws an `InputError` with line or row where a question lacks a field or has
 * an empty choice. Also where it names a right choice that it does not have, and where there is no question.
 */
export async function readQuestions(path: string, task: ChoiceTask): Promise<Question[]> {
  const questions: Question[] = [];
  for await (const { record, place } of readRecords(path)) {
    try {
      questions.push(task.ask(record));
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
      throw unreadable(place, `it must be a question of ${task.name}`, error.message, { cause: error });
    }
  }
  if (questions.length > 0) return questions;
  throw unreadable(`"${path}"`, `it must hold questions of ${task.name}`, "it holds none", { where: path });
}
