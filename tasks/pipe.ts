/**
 * Connects tasks in a shell: Arrow IPC from files or standard input, to a file or standard output.
 *
 * @module
 */

import { InputError, say, setting } from "../kernels/mod.ts";
import {
  arrowBytes,
  fromBatch,
  lineageOf,
  readArrow,
  type RecordBatch,
  writeArrowFile,
} from "../pipeline/rows/mod.ts";
import { vouchedFiles } from "../pipeline/run/mod.ts";
import { type Configuration, presetOf, type Sources } from "../pipeline/settings/mod.ts";
import { checkOutput } from "../pipeline/stages/mod.ts";
import { expandInputs } from "../pipeline/text/mod.ts";

/** What ends the work of a pipe, and what shows a line that is no part of its result. */
export interface PipeOptions {
  /** Ends the work. */
  signal: AbortSignal;
  /** Shows a line that is no part of the result. */
  tell: (text: string) => void;
}

const OF_RUNS = ["run", "part", "json", "force", "check", "reuse"];

/**
 * Gives the settings of a pipe. Throws an `InputError` for an option that only makes sense in a run folder, and for
 * such a setting, of `ofRuns`, as a flag: a file of settings has those of all tasks.
 */
export function pipeValues(
  { sources, given }: { sources: Sources; given: ReadonlySet<string> },
  ofRuns: readonly (keyof Configuration)[] = [],
  words?: PipeWords,
): Partial<Configuration> {
  const { flags = {} } = sources;
  refuseOfRuns(
    [...OF_RUNS.filter((name) => given.has(name)), ...ofRuns.filter((name) => name in flags)],
    words,
  );
  return { ...presetOf(sources.preset), ...sources.file, ...flags };
}

/** How a message calls what makes work that of a pipe. */
interface PipeWords {
  pipe?: string;
  left?: string;
}

/** Throws an `InputError` for the first of the names, if there is one: of what only makes sense in a run folder. */
function refuseOfRuns(
  [name]: readonly string[],
  { pipe = "files or a pipe", left = "the files" }: PipeWords = {},
): void {
  if (name === undefined) return;
  throw new InputError(
    say`Cannot use ${setting(name)} with ${pipe} as it must go with a run folder: leave it out, or ${left}`,
  );
}

/**
 * Throws an `InputError` where the file that a task is to write is a file of a run, or one that it reads: one of `files`,
 * of the documents that `patterns` name, or its file of settings.
 */
export async function checkWritten(
  { options: { output, config = "" } }: { options: { output?: string; config?: string } },
  files: readonly string[],
  patterns: string[] = [],
): Promise<void> {
  if (!output || output === "-") return;
  const documents = patterns.length === 0 ? [] : await expandInputs(patterns);
  await checkOutput(output, [config, ...files, ...documents]);
}

/**
 * Says whether a task works on files or a pipe and not in a run. Nothing of that is kept where it is interrupted.
 */
export function isPipe({ paths, given }: { paths: string[]; given: ReadonlySet<string> }): boolean {
  return paths.length > 0 || given.has("output");
}

/**
 * Reads batches from files, one after another, and checks those of a run as they are read. `-` stands for standard
 * input, or for the file in which that is `kept`.
 */
export function arrowInput(paths: string[], kept?: string): ReadableStream<RecordBatch> {
  const standardInput = async () =>
    kept === undefined ? Deno.stdin.readable : (await Deno.open(kept)).readable;
  return ReadableStream.from(async function* () {
    for (const path of paths) {
      yield* path === "-"
        ? readArrow(await standardInput(), "standard input")
        : readArrow(path, path, await vouchedFiles(path));
    }
  }());
}

/**
 * Opens batches as often as they must be read. Files are opened again. Standard input is first written to a
 * temporary file, which {@linkcode Symbol.dispose} removes, and an interruption as well: that may end the process
 * before anything is disposed of.
 */
export async function arrowInputAgain(
  paths: string[],
  why: string,
  { signal, tell }: PipeOptions,
): Promise<{ open: () => ReadableStream<RecordBatch> } & Disposable> {
  const kept = paths.includes("-") ? await Deno.makeTempFile({ suffix: ".arrows" }) : undefined;
  const stack = new DisposableStack();
  const remove = () => stack.dispose();
  if (kept !== undefined) {
    stack.defer(() => Deno.removeSync(kept));
    signal.addEventListener("abort", remove);
    try {
      tell(`standard input is first written to ${kept}, as ${why}`);
      await Deno.stdin.readable.pipeTo((await Deno.open(kept, { write: true })).writable, { signal });
    } catch (error) {
      remove();
      throw error;
    }
  }
  return { open: () => arrowInput(paths, kept), [Symbol.dispose]: remove };
}

/** Finds E in scores without consuming a batch: in the first one that has rows or tells it. */
export async function peekExperts(batches: ReadableStream<RecordBatch>) {
  const iterator = batches[Symbol.asyncIterator]();
  const seen: RecordBatch[] = [];
  let experts: number | undefined;
  let isDecided = false;
  while (!isDecided) {
    const { done, value } = await iterator.next();
    if (done) break;
    seen.push(value);
    const { nll, rows } = fromBatch(value);
    experts = rows > 0 && nll ? nll.length / rows : lineageOf(value)?.experts;
    isDecided = rows > 0 || experts !== undefined;
  }
  const all = async function* () {
    try {
      yield* seen.splice(0);
      for (let next = await iterator.next(); !next.done; next = await iterator.next()) yield next.value;
    } finally {
      await iterator.return?.();
    }
  };
  return { experts: experts || 1, batches: ReadableStream.from(all()) };
}

/** Writes batches to the file `output` (IPC file format), or to standard output (IPC stream) where it is not given or "-". */
export async function arrowOutput(
  batches: ReadableStream<RecordBatch>,
  output: string | undefined,
  { signal, tell }: PipeOptions,
): Promise<void> {
  if (output && output !== "-") {
    const made = ReadableStream.from(until(signal, batches));
    const { rows } = await writeArrowFile(output, made, undefined, { closes: true });
    return tell(`${output}: ${rows} rows`);
  }
  if (Deno.stdout.isTerminal()) {
    throw new InputError(
      "Cannot write Arrow to a terminal as it is binary: send it to a file (> x.arrows) or a pipe, or set --output",
    );
  }
  await writeOut(arrowBytes(batches), signal);
}

/**
 * Passes on what comes until `signal` ends it, also while nothing comes: who writes it to a file then
 * removes what is written so far. It reads nothing ahead.
 */
export async function* until<Item>(
  signal: AbortSignal,
  items: AsyncIterable<Item>,
): AsyncGenerator<Item, void, void> {
  const iterator = items[Symbol.asyncIterator]();
  let fail = (_reason: unknown) => {};
  const end = () => fail(signal.reason);
  // A promise of its own for each item: one for all of them would keep them all.
  const next = () =>
    new Promise<IteratorResult<Item>>((resolve, reject) => {
      fail = reject;
      signal.throwIfAborted();
      iterator.next().then(resolve, reject);
    });
  signal.addEventListener("abort", end);
  try {
    for (let item = await next(); !item.done; item = await next()) yield item.value;
  } finally {
    signal.removeEventListener("abort", end);
    const closed = iterator.return?.();
    if (signal.aborted) closed?.catch(() => {}); // it may wait for what never comes
    else await closed;
  }
}

/** Writes bytes to standard output. `signal` ends the writing even if the source of the bytes ignores it. */
export async function writeOut(bytes: AsyncIterable<Uint8Array>, signal?: AbortSignal): Promise<void> {
  await ReadableStream.from(bytes).pipeTo(Deno.stdout.writable, { signal });
}
