/**
 * The files that inputs name: paths, patterns, and folders with everything in and below them that
 * can be read.
 *
 * @module
 */

import { basename, dirname, extname, resolve } from "node:path";
import { ensure, InputError, say, setting } from "../../kernels/errors.ts";
import { askAll, ifMissing, unreadable } from "../graph/files.ts";
import { glob, isGlob } from "./glob.ts";

/** Path that stands for standard input. */
export const STANDARD_INPUT = "-";

const AUTO = "auto"; // value of the format where names tell it
/** Value of the setting where paths tell no source. */
export const OFF = "off";

/** A file of text, or standard input. */
export interface InputFile {
  /** Its path; "-" for standard input. */
  path: string;
  /** What it holds: text is one document, lines of JSON, tables with a document a row. */
  format: "txt" | "jsonl" | "parquet" | "arrow";
  /** How it is compressed. */
  compression?: "gz" | "zst";
  /** The source that its path tells. */
  source?: string;
}

/** The files that inputs name. */
interface Inputs {
  files: InputFile[]; // the files, in order
  passed: Map<string, number>; // how many files of folders cannot be read, by ending
}

/** How inputs are understood. */
interface InputOptions {
  format?: string; // format of every file, as the setting says it
  sourceFromPath?: string; // pattern by which paths tell sources, as the setting says it
  once?: boolean; // accepts named pipes, for those who read once
}

/**
 * Lists the files that inputs stand for: a path stands for itself, a pattern for its files in byte
 * order, "-" for standard input. A folder stands for all files in it and below that can be read,
 * but for those of runs. A path that comes twice is listed once. Throws an `InputError` where there
 * are no files, where a format is unknown, and where a named file is a pipe. Also where a path does
 * not fit the pattern of sources.
 */
export async function listInputs(
  inputs: readonly string[],
  options: InputOptions = {},
): Promise<Inputs> {
  const passed = new Map<string, number>();
  const paths = await expandInputs(inputs, {
    again: !options.once,
    isReadable: (path) => {
      if (isReadable(path, options)) return true;
      const ending = extname(path) || "none";
      passed.set(ending, (passed.get(ending) ?? 0) + 1);
      return false;
    },
  });
  return { files: paths.map((path) => inputFile(path, options)), passed };
}

/**
 * Lists the paths of the files that inputs stand for, as {@linkcode listInputs} does, whatever they
 * hold. With `again` none may be a pipe.
 */
export async function expandInputs(
  inputs: readonly string[],
  { again: isReread = false, isReadable: isWanted = (path: string) => isReadable(path, {}) } = {},
): Promise<string[]> {
  const infos = await askAll(
    inputs,
    async (input) =>
      input === STANDARD_INPUT ? undefined : await Deno.stat(input).catch(ifMissing(null)),
  );
  const paths: string[][] = [];
  for (const [i, input] of inputs.entries()) {
    const stat = infos[i];
    if (stat?.isDirectory) {
      const below = await glob(`${escapeGlob(input.replace(/\/+$/, "") || "/")}/**`);
      const wanted = (await outsideRuns(below)).filter(isWanted);
      if (wanted.length === 0) {
        throw missing(input, "no file in it can be read", "it must hold files of known endings");
      }
      paths.push(wanted);
    } else if (stat && !stat.isFile && isReread) {
      const fact = `it is a ${stat.isFifo ? "pipe" : "device"}`;
      const piped = setting("input", STANDARD_INPUT);
      const remedy = say`send it to standard input with ${piped}, or write it to a file`;
      const rule = "it must be a file, which is read several times";
      throw unreadable(`"${input}"`, rule, fact, { where: input, remedy });
    } else if (stat !== null) paths.push([input]);
    else if (isGlob(input)) {
      const matching = await glob(input);
      if (matching.length === 0) throw missing(input, "no file matches");
      paths.push(matching);
    } else throw missing(input, "there is no such file");
  }
  return paths.length === 1 ? paths[0] : [...new Set(paths.flat())]; // one list names no file twice
}

/** Folders by one of which, apart from a config.json with a setting of runs, a run is known. */
const MARKS = ["manifests", "tokens", "text", "experts", "partition"];
const SETTING = '"roundSequences":';

/** Leaves out the files of runs, which are no text, of all files of a folder. */
async function outsideRuns(files: readonly string[]): Promise<readonly string[]> {
  const configured = files.filter((file) => file.endsWith("/config.json"));
  if (configured.length === 0) return files;
  const folders = new Set(files.map(dirname));
  for (const folder of folders) if (folder !== dirname(folder)) folders.add(dirname(folder));
  const marked = configured.map(dirname).filter((run) =>
    MARKS.some((name) => folders.has(`${run}/${name}`))
  );
  const texts = await askAll(
    marked,
    (run) => Deno.readTextFile(`${run}/config.json`).catch(() => ""),
  );
  const runs = marked.filter((_, i) => texts[i].includes(SETTING));
  return files.filter((file) => !runs.some((run) => file.startsWith(`${run}/`)));
}

/** Writes a path so that it stands for itself in a pattern. */
const escapeGlob = (path: string) => path.replace(/[*?[{]/g, "[$&]");

function missing(input: string, fact: string, must = "it must exist"): InputError {
  return unreadable(`"${input}"`, must, fact, { where: input });
}

/** Endings of files that hold text: these need no format. */
const TEXT_ENDINGS =
  "adoc|bib|c|cc|cfg|conf|cpp|cs|css|go|h|hpp|hs|htm|html|ini|java|jl|js|jsx|kt|log|lua|" +
  "markdown|md|mjs|org|php|pl|py|r|rb|rs|rst|scala|sh|sol|sql|srt|swift|tex|toml|ts|tsx|vtt|" +
  "wgsl|xml|yaml|yml";
const TEXTS = new RegExp(String.raw`\.(${TEXT_ENDINGS})(?:\.(gz|zst))?$`, "i");
const FORMAT = /(?:^|\.)(txt|jsonl|ndjson|parquet|arrow|arrows)(?:\.(gz|zst))?$/i;
/** Formats by ending; all others are text. */
const FORMATS: Record<string, InputFile["format"]> = {
  jsonl: "jsonl",
  ndjson: "jsonl",
  parquet: "parquet",
  arrow: "arrow",
  arrows: "arrow",
};

const isReadable = (path: string, { format = AUTO }: InputOptions) =>
  format !== AUTO || FORMAT.test(path) || TEXTS.test(path);

/**
 * Describes a file: its format and compression, as its name or the setting says. Throws an
 * `InputError` where neither does.
 */
export function inputFile(
  path: string,
  { format: chosenFormat = AUTO, sourceFromPath = OFF }: InputOptions = {},
): InputFile {
  const name = path === STANDARD_INPUT ? "standard input" : path;
  const named = (chosenFormat === AUTO ? path.slice(path.lastIndexOf("/") + 1) : chosenFormat)
    .toLowerCase();
  const match = FORMAT.exec(named) ?? (chosenFormat === AUTO ? TEXTS.exec(named) : null);
  if (!match) {
    const rule = "its format must be txt, jsonl, ndjson, parquet or arrow, the text formats " +
      "also with .gz or .zst";
    const fact = path === STANDARD_INPUT ? "it has no name to tell" : "its name has no such ending";
    throw unreadable(
      `"${name}"`,
      rule,
      chosenFormat === AUTO ? fact : `format is "${chosenFormat}"`,
      {
        where: name,
        remedy: chosenFormat === AUTO
          ? say`${path === STANDARD_INPUT ? "" : "rename it, or "}set ${setting("format")}`
          : undefined,
      },
    );
  }
  const [, kind, compression] = match;
  const format = FORMATS[kind] ?? "txt";
  const isTable = format === "parquet" || format === "arrow";
  // What a name says of compression holds whatever format is given: `ls.1.gz` is text once it is
  // unpacked.
  const packed = compression ??
    (isTable ? undefined : /\.(gz|zst)$/i.exec(path)?.[1].toLowerCase());
  if (isTable && packed !== undefined || format === "parquet" && path === STANDARD_INPUT) {
    const fact = packed ? `it is wrapped in .${packed}` : "it is standard input";
    const requirement = format === "parquet"
      ? "Parquet must be a plain file"
      : "Arrow must be plain";
    throw unreadable(`"${name}"`, requirement, fact, { where: name });
  }
  const isNamed = sourceFromPath !== OFF && path !== STANDARD_INPUT;
  return {
    path,
    format,
    ...packed ? { compression: packed as InputFile["compression"] } : {},
    ...isNamed ? { source: sourceOfPath(path, sourceFromPath).toWellFormed() } : {},
  };
}

/**
 * Gives the source that a path tells: the name of the folder that holds the file. With a pattern
 * such as `{source}/*.txt`, it is the text at `{source}`; the end of the path is compared with the
 * pattern. Throws an `InputError` for a pattern without `{source}`, and where the path does not fit
 * the pattern.
 */
export function sourceOfPath(path: string, pattern: string): string {
  const whole = resolve(path);
  if (pattern === "") return basename(dirname(whole));
  const named = setting("sourceFromPath");
  const rule = say`${named} must hold ${"{source}"} once: it is "${pattern}"`;
  ensure(pattern.split("{source}").length === 2, say`Cannot take sources from paths as ${rule}`);
  const source = pattern.replace(/\{source\}|\*\*|[*?]|[\\^$.+()|{}[\]]/g, (text) => {
    if (text === "{source}") return "([^/]+?)";
    return { "**": ".*", "*": "[^/]*", "?": "[^/]" }[text] ?? `\\${text}`;
  });
  const matched = new RegExp(`(?:^|/)${source}$`, "su").exec(whole)?.[1];
  if (matched !== undefined) return matched;
  throw new InputError(
    say`Cannot take the source from "${path}" as ${named} must fit: it is "${pattern}"`,
    {
      where: path,
    },
  );
}
