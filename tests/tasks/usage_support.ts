/**
 * Runs tasks in this process as a command does, for the table of wrong usage.
 *
 * @module
 */

import { partition } from "../../mod.ts";
import { perform, type Task } from "../../tasks/command.ts";
import { describe, exitCode, type Known } from "../../tasks/errors.ts";
import { SMALL_SETTINGS } from "../pipeline/stages/support.ts";
import { copyFolder, smallCorpus } from "./support.ts";

/** Names in the table that stand for a file or folder of that name in the folder of the test. */
const PLACES = /\b(FILE|FOLDER|FULL|NONE|OUT|OTHER|RUN)\b/g;

/**
 * Makes what the table's arguments name: `RUN`, a partitioned run; `OTHER`, its copy; `FILE`, some text; `FOLDER`, an empty folder; `FULL`,
 * one with a file of the user's. `NONE` is not there, nor is `OUT`.
 */
export async function makePlaces(folder: string): Promise<void> {
  await Deno.writeTextFile(`${folder}/FILE`, "some text\n");
  await Deno.mkdir(`${folder}/FOLDER`);
  await Deno.mkdir(`${folder}/FULL`);
  await Deno.writeTextFile(`${folder}/FULL/mine.txt`, "mine");
  await Deno.writeTextFile(`${folder}/docs.jsonl`, smallCorpus());
  const flags = { ...SMALL_SETTINGS, input: [`${folder}/docs.jsonl`] };
  await partition({ run: `${folder}/RUN`, sources: { flags } });
  copyFolder(`${folder}/RUN`, `${folder}/OTHER`);
}

/** Does a task with arguments that name places of a folder; gives its exit code and what it says, without the folder's name. */
export async function usage(
  name: string,
  args: string,
  folder: string,
): Promise<{ code: number; text: string }> {
  const { TASK }: { TASK: Task } = await import(`../../tasks/${name}.ts`);
  const words = args === "" ? [] : args.split(" ").map((word) => word.replace(PLACES, `${folder}/$1`));
  const known: Known = {};
  const plain = (text: string) => text.replaceAll(`${folder}/`, "");
  const printed: string[] = [];
  try {
    await perform(TASK, words, {
      known,
      signal: AbortSignal.timeout(60_000), // what hangs must fail, not stay
      onEvent() {},
      tell() {},
      print: (text) => void printed.push(text),
    });
  } catch (error) {
    return { code: exitCode(error), text: plain(await describe(error, known)) };
  }
  return { code: 0, text: plain(printed.join("\n")) };
}
