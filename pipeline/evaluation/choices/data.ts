/**
 * Reads the data sets of zero-shot tasks as they are published: `TASK.jsonl` or `TASK.parquet` in a folder.
 * Examples may come from `TASK_few_shot.jsonl` or `.parquet` beside it.
 */

import { InputError, say, setting } from "../../../kernels/errors.ts";
import { exists, hashFile, unreadable } from "../../run/files.ts";
import { readRecords } from "../../text/readers.ts";
import type { ChoiceTask } from "./tasks.ts";
import type { Question } from "./question.ts";

/** The files of a task. */
export interface DataFiles {
  /** Path of the questions. */
  questions: string;
  /** Path of the file that examples are taken from, if there is one. */
  examples?: string;
}

const ENDINGS = ["jsonl", "parquet"];

/** Finds the data of a task in a folder. Throws an `InputError` where they are missing, or there twice. */
export async function findData(folder: string, task: string): Promise<DataFiles> {
  const questions = await findOne(folder, task);
  if (questions !== undefined) return { questions, examples: await findOne(folder, `${task}_few_shot`) };
  throw new InputError(
    `Cannot ask ${task} as its questions must be in "${folder}": there is neither ${
      ENDINGS.map((ending) => `${task}.${ending}`).join(" nor ")
    }`,
    { where: folder, remedy: say`put them there as its data set publishes them, or name another ${DATA}` },
  );
}

const DATA = setting("data");

/** Lists those of some tasks whose questions are in a folder. */
export async function listData(folder: string, tasks: readonly string[]): Promise<string[]> {
  const found = await Promise.all(tasks.map((task) => filesOf(folder, task)));
  return tasks.filter((_, i) => found[i].length > 0);
}

async function filesOf(folder: string, name: string): Promise<string[]> {
  const paths = ENDINGS.map((ending) => `${folder}/${name}.${ending}`);
  const there = await Promise.all(paths.map(exists));
  return paths.filter((_, i) => there[i]);
}

async function findOne(folder: string, name: string): Promise<string | undefined> {
  const found = await filesOf(folder, name);
  if (found.length < 2) return found[0];
  throw new InputError(`Cannot read ${name} as it must be there once: there are "${found.join('" and "')}"`, {
    where: folder,
    remedy: "remove one",
  });
}

/** Hashes the data of a task: what its results depend on. */
export async function hashData({ questions, examples }: DataFiles): Promise<Record<string, string>> {
  return {
    data: (await hashFile(questions)).sha256,
    ...examples && { examples: (await hashFile(examples)).sha256 },
  };
}

/**
 * Reads the questions of a file. Throws an `InputError` with line or row where a question lacks a field, has
 * an empty choice, or names a right choice that it does not have; also where there is no question.
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
