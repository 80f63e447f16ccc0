/**
 * Makes the table of every task's flags, `tasks/flags.json`, which errors name other tasks by; run
 * as a program, it writes it.
 *
 *   deno run -A tests/tasks/flags_table.ts
 */

import { jsonText } from "../../pipeline/graph/files.ts";
import { listFields } from "../../tasks/cli/command.ts";
import { ROOT } from "./support.ts";

/** Where the table lies. */
export const TABLE = `${ROOT}tasks/flags.json`;

/**
 * Gives the flags of every task, in the order of the alphabet and with a space between them, by the
 * task's name.
 */
export async function flagsTable(): Promise<Record<string, string>> {
  const { tasks } = JSON.parse(await Deno.readTextFile(`${ROOT}deno.json`));
  const table: Record<string, string> = {};
  for (const [name, { command }] of Object.entries<{ command?: string }>(tasks)) {
    if (!command?.includes(` tasks/${name}.ts`)) continue; // programs for developers, whose flags are their own
    const { TASK } = await import(`../../tasks/${name}.ts`);
    table[name] = Object.values(listFields(TASK)).map(({ flag }) => flag).sort().join(" ");
  }
  return table;
}

if (import.meta.main) await Deno.writeTextFile(TABLE, jsonText(await flagsTable()));
