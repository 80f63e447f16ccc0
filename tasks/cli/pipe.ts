/**
 * Connects tasks in a shell: Arrow IPC from files or standard input, to a file or standard output.
 *
 * @module
 */

import { openSync, readSync } from "node:fs";
import { ensure, InputError, say, setting } from "../../kernels/errors.ts";
import {
  arrowBytes,
  fromBatch,
  type Lineage,
  readArrow,
  readLineage,
  type RecordBatch,
  writeArrowFile,
} from "../../pipeline/rows/mod.ts";
import { writeAll } from "../../pipeline/graph/mod.ts";
import {
  type Configuration,
  type Fields,
  findPreset,
  type Sources,
} from "../../pipeline/settings/mod.ts";
import { checkOutput } from "../../pipeline/run/output.ts";
import { expandInputs } from "../../pipeline/text/mod.ts";
import type { Call } from "./command.ts";

/** What ends the work of a pipe, and what shows a line that is no part of its result. */
type PipeOptions = Pick<Call<Fields>, "signal" | "tell">;

const OF_RUNS = ["run", "part", "json", "force", "check", "reuse"];

/**
 * Gives the settings of a pipe. Throws an `InputError` for an option that only makes sense in a run
 * folder, and for such a setting, of `ofRuns`, as a flag: a file of settings has those of all
 * tasks.
 */
export function pipeValues(
  { sources, givenNames }: { sources: Sources; givenNames: ReadonlySet<string> },
  ofRuns: readonly (keyof Configuration)[] = [],
  { pipe = "files or a pipe", left = "the files" }: PipeWords = {},
): Partial<Configuration> {
  const { flags = {} } = sources;
  const [name] = [
    ...OF_RUNS.filter((name) => givenNames.has(name)),
    ...ofRuns.filter((name) => name in flags),
  ];
  if (name === undefined) return { ...findPreset(sources.preset), ...sources.file, ...flags };
  const must = say`Cannot use ${setting(name)} with ${pipe} as it must go with a run folder`;
  throw new InputError(say`${must}: leave it out, or ${left}`);
}

/** How a message calls what makes work that of a pipe, and how else to leave it. */
type PipeWords = Partial<Record<"pipe" | "left", string>>;

/**
 * Throws an `InputError` where the file that a task is to write is a file of a run, or one that it
 * reads: one of `files`, of the documents that `patterns` name, or its file of settings.
 */
export async function checkWritten(
  { options: { output, config = "" } }: { options: { output?: string; config?: string } },
  files: readonly string[],
  patterns: string[] = [],
): Promise<void> {
  if (!output || output === "-") return;
  const documents = patterns.length === 0
    ? []
    : await expandInputs(patterns, { isReadable: () => true });
  await checkOutput(output, [config, ...files, ...documents]);
}

/**
 * Reads batches from files, one after another, and checks those of a run as they are read. `-`
 * stands for standard input, or for what was `kept` of it.
 */
export function arrowInput(
  paths: string[],
  kept?: () => ReadableStream<Uint8Array>,
): ReadableStream<RecordBatch> {
  return ReadableStream.from(async function* () {
    for (const path of paths) {
      yield* path === "-"
        ? readArrow(kept?.() ?? Deno.stdin.readable, "standard input")
        : readArrow(path, path);
    }
  }());
}

/**
 * Opens batches as often as they must be read. Files are opened again. Standard input is first
 * written to a temporary file without a name, which goes with the process.
 */
export async function arrowInputAgain(
  paths: string[],
  why: string,
  { signal, tell }: PipeOptions,
): Promise<() => ReadableStream<RecordBatch>> {
  if (!paths.includes("-")) return () => arrowInput(paths);
  const path = await Deno.makeTempFile({ suffix: ".arrows" });
  const written = await Deno.open(path, { write: true });
  const kept = openSync(path, "r");
  await Deno.remove(path);
  tell(`standard input is first written to ${path}, as ${why}`);
  for await (const chunk of until(signal, Deno.stdin.readable)) {
    await writeAll(written, chunk, path);
  }
  written.close();
  return () => arrowInput(paths, () => ReadableStream.from(readChunks(kept)));
}

/** Reads an open file from its beginning, wherever others read it. */
function* readChunks(file: number): Generator<Uint8Array<ArrayBuffer>> {
  for (let at = 0;;) {
    const chunk = new Uint8Array(2 ** 16);
    const length = readSync(file, chunk, 0, chunk.length, at);
    if (length === 0) return;
    at += length;
    yield chunk.subarray(0, length);
  }
}

/**
 * Finds E in scores without consuming a batch, in the first one that has rows or tells it; and the
 * lineage of the first.
 */
export async function peekExperts(batches: ReadableStream<RecordBatch>) {
  const [ahead, all] = batches.tee();
  let experts: number | undefined;
  let lineage: Lineage | null | undefined;
  for await (const batch of ahead.values({ preventCancel: true })) {
    const { nll, rows } = fromBatch(batch);
    lineage ??= readLineage(batch);
    experts = rows > 0 && nll ? nll.length / rows : lineage?.experts;
    if (rows > 0 || experts !== undefined) break;
  }
  void ahead.cancel(); // done when the other one is
  return { experts: experts || 1, lineage, batches: all };
}

/**
 * Writes batches to the file `output` (IPC file format), or to standard output (IPC stream) where
 * it is not given or "-".
 */
export async function arrowOutput(
  batches: ReadableStream<RecordBatch>,
  output: string | undefined,
  { signal, tell }: PipeOptions,
): Promise<void> {
  if (output && output !== "-") {
    const { rows } = await writeArrowFile(output, until(signal, batches), undefined, {
      closes: true,
    });
    return tell(`${output}: ${rows} rows`);
  }
  ensure(
    !Deno.stdout.isTerminal(),
    "Cannot write Arrow to a terminal as it is binary: standard output is one",
    {
      remedy: "send it to a file (> x.arrows) or a pipe, or set --output",
    },
  );
  await writeOut(arrowBytes(batches), signal);
}

/**
 * Passes on what comes until `signal` ends it, also while nothing comes: who writes it to a file
 * then removes what is written so far.
 */
export function until<Item>(signal: AbortSignal, items: AsyncIterable<Item>): ReadableStream<Item> {
  return ReadableStream.from(items).pipeThrough(new TransformStream<Item, Item>(), { signal });
}

/**
 * Writes bytes to standard output. `signal` ends the writing even if the source of the bytes
 * ignores it.
 */
export async function writeOut(
  bytes: AsyncIterable<Uint8Array>,
  signal?: AbortSignal,
): Promise<void> {
  await ReadableStream.from(bytes).pipeTo(Deno.stdout.writable, { signal });
}
