/**
 * Chooses the exit code of a task that threw, and words the error. An error that the library
 * explains takes one line, with its remedy as a command. Anything else is a bug: the text says
 * where it happened and how to report it.
 *
 * @module
 */

import {
  ExplainedError,
  InputError,
  RunError,
  say,
  task,
  type Text,
} from "../../kernels/errors.ts";
import { exists } from "../../pipeline/graph/files.ts";
import { fullDisk, VERSION } from "../../pipeline/graph/mod.ts";
import { worded } from "./wording.ts";

/**
 * A task that threw or was interrupted: the run folder that it worked in, and the adapter that it
 * opened. Also whether an expert may be named to it, and whether it would begin anew.
 */
export interface TaskContext {
  run?: string;
  choosing?: boolean;
  adapter?: string;
  startsAnew?: boolean;
}

/**
 * What must hold and what is, by the system's codes for a path that cannot be used as it was named.
 */
const PATHS: Record<string, string> = {
  EACCES: "you must be permitted to: its permissions do not allow it",
  EISDIR: "it must be a file: it is a folder",
  ELOOP: "its links must end somewhere: they lead round",
  ENAMETOOLONG: "the system must take its name: it is too long",
  ENOTDIR: "what it lies in must be a folder: it is a file",
  EPERM: "you must be permitted to: the system does not allow it",
  EROFS: "its disk must be writable: it can only be read",
};

/**
 * Maps an error to an exit code. Where the program that reads the output has ended early, that is
 * no error.
 */
export function exitCode(error: unknown): number {
  if (error instanceof Deno.errors.BrokenPipe) return 0;
  if (error instanceof DOMException && error.name === "AbortError") return 130;
  return explainSystemError(error) instanceof InputError ? 2 : 1;
}

/**
 * Explains errors of the system, about a path that the user named or about the machine. Others are
 * returned as they are.
 */
export function explainSystemError(error: unknown): unknown {
  if (!(error instanceof Error) || error instanceof ExplainedError) return error;
  const line = oneLine(error.message);
  const [, single, double] = /'([^']*)'$|"([^"]*)"/.exec(line) ?? [];
  const where = single ?? double;
  const path = where === undefined ? "a path" : `"${where}"`;
  const { code = "" } = error as { code?: string };
  if (error instanceof Deno.errors.NotFound) {
    const refusal = `Cannot open ${path} as it must exist: there is no such file or folder`;
    return new InputError(refusal, { where, cause: error });
  }
  if (error instanceof Deno.errors.NotCapable) {
    const remedy = "use an ordinary file or folder, or - for standard input";
    const fact = line.replace(/, run again with the .*$/, ""); // no task needs it
    const refusal = `Cannot use ${path} as this task must be permitted to: ${fact}`;
    return new InputError(refusal, { where, remedy, cause: error });
  }
  const full = fullDisk(where, error);
  if (full) return full;
  if (code in PATHS) {
    return new InputError(`Cannot use ${path} as ${PATHS[code]}`, { where, cause: error });
  }
  if (!/^E[A-Z\d]+$/.test(code)) return error;
  return new RunError(`Cannot use ${path} as the system must allow it: ${line}`, {
    where,
    cause: error,
  });
}

/**
 * Reports how to mend a file: as the stages of its run make it, or by a partition or another folder
 * if there is no such run.
 */
async function mended(where: string, { run, choosing }: TaskContext): Promise<Text | undefined> {
  if (run !== undefined && where.startsWith(`${run}/`) && !await exists(`${run}/config.json`)) {
    return say`run ${task("partition", { run })} first`; // whatever run it may lie in
  }
  const { findRepair } = await import("../../pipeline/run/output.ts");
  return await findRepair(where, { choosing });
}

/**
 * Words an error in one line; if it has no remedy, the run that its file is of may know one. A bug
 * gets what failed, and where.
 */
export async function describe(error: unknown, failing: TaskContext = {}): Promise<string> {
  const reported = explainSystemError(error);
  if (!(reported instanceof ExplainedError)) return bugText(error, failing.adapter);
  const { what, where, remedy } = reported;
  const mend = remedy ??
    (reported instanceof InputError && where !== undefined
      // The first error must be printed, not this one.
      ? await mended(where, failing).catch(() => undefined)
      : undefined);
  return `error: ${oneLine(worded(mend === undefined ? what : say`${what}; ${mend}`))}`;
}

function bugText(error: unknown, adapter: string | undefined): string {
  const versions = [`SmallTalk ${VERSION}`, `Deno ${Deno.version.deno}`, adapter].filter(Boolean)
    .join(", ");
  return [
    `bug: ${error instanceof Error ? `${error.name}: ${oneLine(error.message)}` : String(error)}`,
    `  at ${findPlace(error) ?? "an unknown place"}, with ${versions}`,
    "  please report it, with this text and the command; --verbose prints all of its stack",
  ].join("\n");
}

const ROOT = new URL("../../", import.meta.url).href;

/** Finds the file and line in this project where an error, or one of its causes, was thrown. */
function findPlace(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  const line = error.stack?.split("\n").find((line) => /^\s+at /.test(line) && line.includes(ROOT));
  return line?.slice(line.indexOf(ROOT) + ROOT.length).replace(/:\d+\)?$/, "") ??
    findPlace(error.cause);
}

const oneLine = (text: string): string => text.replace(/\s*\n\s*/g, " ").trim();
