/**
 * Frames every task: flags from the table, `--help`, errors on one line, exit codes, Ctrl-C.
 * Exit codes: 0 done; 1 failed while running; 2 wrong usage or bad input; 130 interrupted.
 *
 * @module
 */

import { InputError, say, setting, type Text } from "../../kernels/errors.ts";
import type { SystemPlaces } from "../../pipeline/doctor/mod.ts";
import type { RunEvent } from "../../pipeline/graph/mod.ts";
import {
  type Field,
  field,
  FIELDS,
  type Fields,
  type Values,
} from "../../pipeline/settings/mod.ts";
import { listSettings } from "../../pipeline/stages/stages.ts";
import { type Arguments, readArguments } from "./arguments.ts";
import { describe, exitCode, type TaskContext } from "./errors.ts";
import { wrapped } from "./layout.ts";
import { PRINTING } from "./options.ts";
import { startProgress } from "./progress.ts";
import { quoted, worded } from "./wording.ts";

/** Describes a task. */
export interface Task<Options extends Fields = Fields> {
  /** Name, as in `deno task <name>`. */
  name: string;
  /** What it does, in one sentence. Default: its description in `deno.json`. */
  about?: string;
  /** What else its help says. */
  note?: string;
  /** Its positional arguments, as the help shows them; undefined where it takes none. */
  positional?: string;
  /**
   * Whether it, or a call of it, begins anew after an interruption. Others go on where they were.
   */
  startsAnew?: true | ((call: Pick<Call<Options>, "paths" | "givenNames">) => boolean);
  /**
   * Whether it completes its work in its own time when it is interrupted; others have some seconds.
   * A second one ends any task.
   */
  drains?: true;
  /** Its options, apart from settings and apart from the options of every task. */
  options: Options;
  /** Does the work. */
  run: (call: Call<Options>) => Promise<void>;
}

/** The arguments and the means of a task. */
export interface Call<Options extends Fields> extends Arguments {
  /** Values of the options, by name. */
  options: Values<Options & typeof PRINTING>;
  /** Ends the work when the user interrupts it. */
  signal: AbortSignal;
  /** Shows an event on standard error. */
  onEvent: (event: RunEvent) => void;
  /** Shows a warning on standard error. */
  onWarning: (message: Text) => void;
  /** Shows a line that is no part of the result on standard error. */
  tell: (text: string) => void;
  /** Prints the result: as JSON where that is asked for, in words elsewhere. */
  print: (result: unknown, text: string) => void;
}

/**
 * Makes a task with the types of its options, and runs it if its file is the one that was started.
 */
export async function defineTask<Options extends Fields>(
  task: Task<Options>,
  { main }: { main: boolean },
): Promise<Task<Options>> {
  field.section("Command", task.options);
  if (main) await runTask(task);
  return task;
}

const GRACE_MS = 1500; // for a task that is interrupted
/**
 * Two signals within so long count as one: a scheduler sends a task one and also `deno task`, which
 * passes it on.
 */
const SAME_MS = 500;

/** Runs a task with the process's arguments and ends the process with its exit code. */
async function runTask<Options extends Fields>(task: Task<Options>): Promise<never> {
  const { args } = Deno;
  const isHelp = ["--help", "--help=all", "-h"].some((word) => args.includes(word));
  const isJson = /(^|\n)--log[\n=]json(\n|$)/.test(args.join("\n")); // also where flags are refused
  const progress = startProgress(isJson ? "json" : "text");
  const failing: TaskContext = { startsAnew: task.startsAnew === true };
  // Trainings that save a checkpoint: several may go on side by side, also of other runs.
  let saving = 0;
  const onEvent = (event: RunEvent) => {
    if (event.type === "checkpoint") saving += event.state === "started" ? 1 : -1;
    else progress.show(event);
    if (event.type === "adapter") failing.adapter = event.adapter;
  };
  const tellAndExit = async (error: unknown): Promise<never> => {
    progress.stop();
    const code = signal.aborted ? 130 : exitCode(error);
    try {
      if (code === 130) progress.tell("error", interruptedText(args, failing), { code });
      else if (code !== 0) {
        const text = await describe(error, failing);
        progress.tell("error", isJson ? text.replace(/^error: /, "") : text, { code });
        if (args.includes("--verbose")) console.error(error);
      }
    } finally { // standard error may be a file on a full disk
      Deno.exit(code);
    }
  };
  let ending: Promise<never> | undefined; // that of the first error, as others may follow from it
  const end = (error: unknown): Promise<never> => ending ??= tellAndExit(error);
  /**
   * Ends a process that does not react to the signal: no file under a final name is half written.
   * Saving is waited for.
   */
  const endAnyway = () => saving > 0 ? setTimeout(endAnyway, 50) : void tellAndExit(signal.reason);
  const signal = interruption(() => task.drains || setTimeout(endAnyway, GRACE_MS));
  globalThis.addEventListener("unhandledrejection", (event) => {
    event.preventDefault();
    end(event.reason);
  });
  try {
    const tell = (text: string) => progress.tell("note", text);
    const columns = Deno.stdout.isTerminal() ? Deno.consoleSize().columns : undefined;
    if (isHelp) {
      console.log(
        writeHelp(task, { all: args.some((word) => /^(--help=)?all$/.test(word)), columns }),
      );
    } else {
      const print = (text: string) => {
        progress.stop(); // its bar may stand in the line
        console.log(text);
      };
      await perform(task, args, { failing, signal, onEvent, tell, print });
    }
  } catch (error) {
    await end(error);
  }
  progress.stop();
  Deno.exit(); // with 1 where a task reports so
}

/**
 * Gives a signal that the first interruption of the process aborts; a second one ends the process.
 */
function interruption(onFirst: () => void): AbortSignal {
  const controller = new AbortController();
  let first = 0;
  const interrupt = () => {
    if (controller.signal.aborted) return performance.now() - first < SAME_MS || Deno.exit(130);
    first = performance.now();
    controller.abort(new DOMException("interrupted", "AbortError"));
    onFirst();
  };
  for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    Deno.addSignalListener(name, interrupt);
  }
  return controller.signal;
}

function interruptedText(args: readonly string[], { startsAnew }: TaskContext): string {
  if (startsAnew) return "interrupted";
  const command = args.includes("--force")
    ? "the same command without --force"
    : "the same command";
  return `interrupted: run ${command} again to continue`;
}

/** What a task is given to work with, apart from its arguments. */
export interface Frame extends Pick<Call<Fields>, "signal" | "onEvent" | "tell"> {
  /** Takes what the arguments say, for what is printed at the end. */
  failing?: TaskContext;
  /** Takes the result, as JSON or in words. */
  print: (text: string) => void;
}

/** Reads a task's arguments and does it. Throws what is wrong with them, and what it throws. */
export async function perform<Options extends Fields>(
  task: Task<Options>,
  args: string[],
  { failing: failing = {}, signal, onEvent, tell, print }: Frame,
): Promise<void> {
  const options = { ...task.options, ...PRINTING };
  const call = await readArguments({ ...task, options, fields: listFields(task) }, args);
  if (typeof task.startsAnew === "function") failing.startsAnew = task.startsAnew(call);
  if ("run" in call.options) failing.run = String(call.options.run);
  failing.choosing = "expert" in task.options;
  if (call.givenNames.has("onGpu")) await checkOneCard(Number(call.options.onGpu), task.name);
  await task.run({
    ...call,
    options: call.options as Values<Options & typeof PRINTING>,
    signal,
    onEvent,
    tell,
    onWarning: (message) => onEvent({ type: "warning", message }),
    print: (result, text) => print(call.options.json ? JSON.stringify(result, null, 2) : text),
  });
}

/** Lists the fields that a task takes, by name: settings, then options. */
export function listFields<Options extends Fields>({ name, options }: Task<Options>): Fields {
  const settings = listSettings(name).map((name) => [name, FIELDS[name]]);
  return { ...Object.fromEntries(settings), ...options, ...PRINTING };
}

/**
 * Throws an `InputError` where a task sees other cards, or none of this number. It says how the
 * task is started to see this card alone. Vulkan heeds no variable that tells equal cards apart,
 * and a process cannot hide one from itself: `tasks/on_gpu.sh` does, before it starts the task, and
 * `tasks/setup.sh` calls that.
 */
export async function checkOneCard(
  gpu: number,
  task: string,
  places?: SystemPlaces,
): Promise<void> {
  const { listCards } = await import("../../pipeline/doctor/system.ts");
  const all = await listCards(places);
  const nvidia = all.filter((card) => card.startsWith("/dev/nvidia"));
  const cards = nvidia.length > 0 ? nvidia : all;
  if (gpu === 0 && cards.length <= 1) return;
  const sees = cards.length === 0 ? "none as a file" : cards.join(", ");
  const hidden = `start it with sh tasks/setup.sh ${
    quoted(task)
  } and the same flags, which hides the others`;
  const remedy = cards.length === 0
    ? say`name it with ${setting("adapter")}, or run in a container that has this card alone`
    : `${hidden}, or run it in a container that has this card alone`;
  const must = say`Cannot run on ${setting("gpu", gpu)} alone as the task must see no other card`;
  throw new InputError(say`${must}: it sees ${sees}`, { remedy });
}

/** Width of the column of flags. A longer flag stands on a line of its own. */
const LEFT = 30;

/** Up to so many flags are shown whole. */
const FEW = 12;

/** The flags that most need, by the names of their fields; the others stand under `--help all`. */
const OFTEN = new Set(
  `input textField sourceField corpus maxDocuments vocabularySize sequenceLength experts prefix
  rounds
  expertHidden expertLayers expertHeads expertBatch expertRate expertSteps expertEpochs expert match
  run preset force resume dryRun part requireGpu seed json HELP output
  trained mix fallback prompt model maxNewTokens temperature topK host port apiKeyFile memory task
  data limit
  executor jobs parts dense slurmPartition time gres study seeds only paper cluster
  from add newExpert forget forgetSource forgetIds replaceExpert dropExpert splitExpert noTrain
  epochs router`
    .split(/\s+/),
);

const { HELP } = field.section("Command", {
  HELP: field.text({ flag: "help", value: "[all]" }, "print this, or all flags"),
});

/**
 * Writes a task's help from its table: the usage, what the task does, its flags under their
 * headings, those that most need or `all`. Without `columns`, the width of a terminal, a flag takes
 * one line.
 */
export function writeHelp<Options extends Fields>(
  task: Task<Options>,
  { all = false, columns = Infinity }: { all?: boolean; columns?: number } = {},
): string {
  const about = task.about ??
    JSON.parse(Deno.readTextFileSync(new URL("../../deno.json", import.meta.url))).tasks[task.name]
      .description;
  const fields = Object.values<Field>({ ...listFields(task), HELP });
  const shown = all || fields.length <= FEW ? fields : fields.filter(({ name }) => OFTEN.has(name));
  const sections = Map.groupBy(shown, ({ section }) => section);
  const hidden = fields.length - shown.length;
  return [
    `Usage: deno task ${task.name}${task.positional ? ` ${task.positional}` : ""} [flags]`,
    wrapped([about, ...task.note ? [task.note] : []].join(" "), "", columns),
    ...Array.from(
      sections,
      ([title, fields]) => [title, ...fields.map((f) => line(f, columns))].join("\n"),
    ),
    ...hidden > 0 ? [`${hidden} more flags: --help all`] : [],
    "A value that begins with a dash follows =, as in --flag=-VALUE.",
  ].join("\n\n");
}

function line({ flag, value, help, default: standard = "" }: Field, columns: number): string {
  const left = `  --${flag} ${value}`.trimEnd();
  const isShown = Array.isArray(standard) || ["string", "number"].includes(typeof standard);
  const shown = isShown && String(standard) !== "" ? ` (default ${standard})` : "";
  const indent = " ".repeat(LEFT + 1);
  const begin = left.length > LEFT ? `${left}\n${indent}` : `${left.padEnd(LEFT)} `;
  return begin + wrapped(`${worded(help)}${shown}`, indent, columns);
}
