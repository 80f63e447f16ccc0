/**
 * Ends a task that threw: its exit code, and what is told of the error. What the library explains is told on one line, with its
 * remedy as a command; anything else is a bug, told with its place and how to report it.
 *
 * @module
 */

import { ExplainedError, InputError, RunError, say, task, type Text } from "../kernels/mod.ts";
import { VERSION } from "../pipeline/run/mod.ts";
import { repairOf } from "../pipeline/stages/mod.ts";
import { worded } from "./wording.ts";

/** Says how a file that is wrong is mended; undefined where that is not known. */
export type RemedyFor = (where: string) => Promise<Text | undefined> | Text | undefined;

/** What is known of the task that threw: the run folder that it was to work in, and the adapter that it opened. */
export interface Known {
  run?: string;
  adapter?: string;
}

/** Codes of the system for a path that cannot be used as it was named. */
const PATHS = ["EACCES", "EISDIR", "ELOOP", "ENAMETOOLONG", "ENOTDIR", "EPERM", "EROFS"];
const FULL = ["EDQUOT", "EFBIG", "ENOSPC"];

/** Maps an error to an exit code; a reader downstream that closed its end early is no error. */
export function exitCode(error: unknown): number {
  if (error instanceof Deno.errors.BrokenPipe) return 0;
  if (error instanceof DOMException && error.name === "AbortError") return 130;
  return explained(error) instanceof InputError ? 2 : 1;
}

/** Explains what the system says of a path, as the user named it, or of the machine; gives other errors as they are. */
export function explained(error: unknown): unknown {
  if (!(error instanceof Error) || error instanceof ExplainedError) return error;
  const line = oneLine(error.message);
  const [, single, double] = /'([^']*)'$|"([^"]*)"/.exec(line) ?? [];
  const where = single ?? double;
  const named = where === undefined ? "a path" : `"${where}"`;
  const { code = "" } = error as { code?: string };
  if (error instanceof Deno.errors.NotFound) {
    const what = `Cannot open ${named} as it must exist: there is no such file or folder`;
    return new InputError(what, { where, cause: error });
  }
  if (error instanceof Deno.errors.NotCapable) {
    const remedy = "use an ordinary file, or - for standard input";
    const what = `Cannot use ${named} as this task must be permitted to: ${line}`;
    return new InputError(what, { where, remedy, cause: error });
  }
  if (FULL.includes(code)) {
    const what = "Cannot write the output as there must be room for it: the disk or device is full";
    return new RunError(what, { remedy: "free some space and run again", cause: error });
  }
  if (!/^E[A-Z\d]+$/.test(code)) return error;
  const Kind = PATHS.includes(code) ? InputError : RunError;
  return new Kind(`Cannot use ${named} as the system must allow it: ${line}`, { where, cause: error });
}

/** Says how a file is mended: as the stages of its run make it, and where there is no such run yet, by a partition. */
async function mended(where: string, run: string | undefined): Promise<Text | undefined> {
  const remedy = await repairOf(where);
  if (remedy !== undefined || run === undefined || !where.startsWith(`${run}/`)) return remedy;
  return await Deno.stat(run).then(() => undefined, () => say`run ${task("partition", { run })} first`);
}

/**
 * Tells of an error: one line for what is explained, with the remedy that `remedyFor` knows for its file where it has none; what
 * failed, where, and how to report it for a bug.
 */
export async function describe(
  error: unknown,
  { run, adapter, remedyFor = (where) => mended(where, run) }: Known & { remedyFor?: RemedyFor } = {},
): Promise<string> {
  const known = explained(error);
  if (!(known instanceof ExplainedError)) return bugText(error, adapter);
  let { what, where, remedy } = known;
  if (known instanceof InputError && where !== undefined) {
    try {
      remedy ??= await remedyFor(where);
    } catch {
      // The first error is the one to tell, not this one.
    }
  }
  if (remedy !== undefined) what = say`${what}; ${remedy}`;
  return `error: ${oneLine(worded(what))}`;
}

function bugText(error: unknown, adapter: string | undefined): string {
  const versions = [`SmallTalk ${VERSION}`, `Deno ${Deno.version.deno}`, adapter].filter(Boolean).join(", ");
  return [
    `bug: ${error instanceof Error ? `${error.name}: ${oneLine(error.message)}` : String(error)}`,
    `  at ${placeOf(error) ?? "an unknown place"}, with ${versions}`,
    "  please report it, with this text and the command; --verbose prints all of its stack",
  ].join("\n");
}

const ROOT = new URL("../", import.meta.url).href;

/** Finds the file and line in this project where an error was thrown, or else one that it was made of. */
function placeOf(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  const line = error.stack?.split("\n").find((line) => /^\s+at /.test(line) && line.includes(ROOT));
  return line?.slice(line.indexOf(ROOT) + ROOT.length).replace(/:\d+\)?$/, "") ?? placeOf(error.cause);
}

const oneLine = (text: string): string => text.replace(/\s*\n\s*/g, " ").trim();
