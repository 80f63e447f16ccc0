/**
 * Reads what a run folder holds, for a report: each part if it is there, checked as far as the report uses it.
 *
 * @module
 */

import { relative, resolve } from "node:path";
import * as v from "valibot";
import { InputError, say, task, type TaskReference, type Text } from "../../kernels/errors.ts";
import { readRunConfiguration, type RunConfiguration } from "../run/configuration.ts";
import { anythingBegun } from "../stages/state.ts";
import { exists } from "../run/files.ts";
import { type Manifest, readManifest } from "../run/manifest.ts";
import { partsAlone } from "../stages/parts_alone.ts";
import { conform } from "../run/schema.ts";
import { printable } from "./html.ts";

const finite = v.pipe(v.number(), v.finite());
const count = v.pipe(v.number(), v.integer(), v.minValue(0));
const share = v.pipe(v.number(), v.minValue(0), v.maxValue(1 + 1e-9));
const name = v.pipe(v.string(), v.transform(printable));
const models = v.pipe(v.number(), v.integer(), v.minValue(1));

const ROUND = v.object({
  round: count,
  nllPerToken: finite,
  shares: v.array(share),
  regret: finite,
  nmi: v.nullable(finite),
});

const COUNTS = v.object({
  sequences: count,
  tokens: count,
  sources: v.pipe(
    v.record(v.string(), v.object({ sequences: count, tokens: count })),
    v.transform((sources) =>
      Object.entries(sources).map(([source, counts]) => ({ source: printable(source), ...counts }))
    ),
  ),
});

const WHOLE = v.object({
  sequences: count,
  tokens: count,
  regret: v.nullable(finite),
  nmi: v.nullable(finite),
  tokenImbalance: finite,
  shares: v.array(share),
});

const PARTITION = v.object({
  experts: models,
  train: WHOLE,
  test: v.optional(WHOLE),
  parts: v.array(v.object({ folder: v.pipe(v.string(), v.regex(/^expert-\d+$/)) })),
});

const PART = v.object({ expert: count, train: COUNTS, test: v.optional(COUNTS) });

const POINT = v.object({
  step: count,
  tokens: count,
  loss: finite,
  validationLoss: v.optional(v.nullable(finite)),
});

const SCORE = v.object({ perplexity: finite, low: finite, high: finite });
const OF_A_WAY = {
  mixture: v.optional(v.nullable(finite)),
  random: v.optional(v.nullable(finite)),
  oracle: v.optional(v.nullable(finite)),
  dense: v.optional(v.nullable(finite)),
  "dense-steps": v.optional(v.nullable(finite)),
};

const SHAPE = v.object({ vocabulary: count, hidden: count, layers: count, heads: count, context: count });

const EVALUATION = v.object({
  format: v.picklist([1, 2]),
  prefix: count,
  experts: models,
  documents: count,
  sequences: count,
  tokens: count,
  resamples: count,
  scores: v.object({
    mixture: v.optional(SCORE),
    random: v.optional(SCORE),
    oracle: v.optional(SCORE),
    dense: v.optional(SCORE),
    "dense-steps": v.optional(SCORE),
  }),
  gains: v.array(
    v.object({ baseline: v.picklist(["dense", "dense-steps"]), percent: finite, low: finite, high: finite }),
  ),
  sources: v.array(v.object({
    source: name,
    documents: count,
    sequences: count,
    tokens: count,
    perplexity: v.object(OF_A_WAY),
    shares: v.array(share),
  })),
  segments: v.array(v.object({
    expert: count,
    sequences: count,
    share,
    tokens: count,
    perplexity: v.object(OF_A_WAY),
  })),
  prefixes: v.array(
    v.object({ prefix: models, perplexity: finite, low: finite, high: finite, agreement: share }),
  ),
  models: v.object({
    config: SHAPE,
    parameters: count,
    router: v.optional(SHAPE),
    routerParameters: v.optional(count),
  }),
});

const REPRODUCTION = v.object({
  claims: v.array(v.object({ claim: name, paper: name, here: name, holds: v.nullable(v.boolean()) })),
  search: v.optional(
    v.record(
      name,
      v.object({
        rate: finite,
        trials: v.array(v.object({ rate: finite, validationLoss: v.nullable(finite) })),
      }),
    ),
  ),
  trialShare: v.optional(share),
});

/** Metrics of an EM round. */
export type Round = v.InferOutput<typeof ROUND>;
/** A partition's manifest. */
export type Whole = v.InferOutput<typeof PARTITION>;
/** Sequences and tokens of an expert, by source. */
export type Part = v.InferOutput<typeof PART>;
/** One line of a model's training metrics. */
export type Point = v.InferOutput<typeof POINT>;
/** Results of an evaluation. */
export type Measured = v.InferOutput<typeof EVALUATION>;
/** Claims of the paper beside a run's figures. */
export type Claims = v.InferOutput<typeof REPRODUCTION>;

/** Names a way to score held-out text. */
export type Way = keyof Measured["scores"];

/** The training metrics of one model. */
export interface Curve {
  /** Name of the model, as in its metrics file. */
  model: string;
  /** Id, where it is an expert. */
  expert: number | null;
  /** Lines of the file. */
  points: Point[];
}

/** What a run folder holds; `null` and empty lists stand for what is not there yet. */
export interface RunRecord {
  /** Name of the folder. */
  name: string;
  /** Path of the folder as a command takes it. */
  path: string;
  /** Its `config.json`. */
  config: RunConfiguration;
  /** Experts whose parts lie here without the run that they come from. */
  alone: number[];
  /** Manifests of its stages, by name. */
  manifests: Record<string, Manifest>;
  /** EM rounds; empty where routers of another run were used. */
  rounds: Round[];
  /** The partition, and its experts by id. */
  partition: { whole: Whole; parts: Part[] } | null;
  /** Experts by id, then the dense baselines. */
  curves: Curve[];
  /** Results on held-out text. */
  evaluation: Measured | null;
  /** Claims of the paper. */
  reproduction: Claims | null;
}

/**
 * Reads a run folder. Throws an `InputError` where the folder is none of a run, and where a file in it, which it names, cannot
 * be what it must be.
 */
export async function readRun(run: string): Promise<RunRecord> {
  if (!await exists(run)) {
    throw new InputError(`Cannot report on "${run}" as it must be a run folder: there is no such folder`, {
      where: run,
      remedy: say`run ${task("partition", { run })} first`,
    });
  }
  const config = await readRunConfiguration(run).catch((error) => {
    throw error instanceof Deno.errors.NotADirectory ? notARun(run, "it is a file") : error;
  });
  if (config === null) throw notARun(run, "it has no config.json");
  const again = (name: string) => say`run ${task(name, { run })} again`;
  const path = resolve(run);
  const inside = relative(Deno.cwd(), path);
  const record: RunRecord = {
    name: printable(path.split("/").at(-1) || path),
    path: printable(inside.startsWith("..") ? path : inside || "."),
    config,
    alone: await partsAlone(run),
    manifests: await readManifests(run),
    rounds: await readLines(`${run}/metrics/rounds.jsonl`, ROUND, forced(run, "train-routers")) ?? [],
    partition: await readPartition(run),
    curves: await readCurves(run),
    evaluation: await readJson(`${run}/evaluation.json`, EVALUATION, again("evaluate")),
    reproduction: await readJson(`${run}/reproduction.json`, REPRODUCTION, again("reproduce")),
  };
  if (isEmpty(record) && !await anythingBegun(run, config.configuration)) {
    throw new InputError(
      `Cannot report on "${run}" as it must hold something that a task made: it holds a configuration and nothing ` +
        "made with it",
      { where: run, remedy: say`run ${task("partition", { run })} first` },
    );
  }
  return record;
}

const forced = (run: string, name: string, settings: TaskReference["with"] = {}): Text =>
  say`run ${task(name, { ...settings, run, force: true })}`;

const isEmpty = ({ rounds, partition, curves, evaluation, reproduction }: RunRecord): boolean =>
  rounds.length + curves.length === 0 && [partition, evaluation, reproduction].every((part) => part === null);

function notARun(run: string, reason: string): InputError {
  return new InputError(`Cannot report on "${run}" as it must be a run folder: ${reason}`, {
    where: run,
    remedy: say`name the folder that ${task("partition")} wrote`,
  });
}

async function readManifests(run: string): Promise<Record<string, Manifest>> {
  const names: string[] = [];
  for (const name of await namesIn(`${run}/manifests`)) {
    if (name.endsWith(".json")) names.push(name.slice(0, -5));
  }
  const manifests: Record<string, Manifest> = {};
  for (const name of names) manifests[name] = (await readManifest(run, name))!;
  return manifests;
}

async function namesIn(folder: string): Promise<string[]> {
  const names: string[] = [];
  if (await exists(folder)) { for await (const { name } of Deno.readDir(folder)) names.push(name); }
  return names;
}

async function readPartition(run: string): Promise<RunRecord["partition"]> {
  const folder = `${run}/partition`;
  const remedy = forced(run, "split");
  const whole = await readJson(`${folder}/manifest.json`, PARTITION, remedy);
  if (whole === null) return null;
  const parts: Part[] = [];
  for (const { folder: name } of whole.parts) {
    const path = `${folder}/${name}/manifest.json`;
    const part = await readJson(path, PART, remedy);
    if (part === null) throw unreadable(path, "there is no such file", remedy);
    parts.push(part);
  }
  return { whole, parts };
}

async function readCurves(run: string): Promise<Curve[]> {
  const folder = `${run}/metrics`;
  const files = (await namesIn(folder)).filter((name) =>
    /^(expert-\d+|dense|dense-steps)\.jsonl$/.test(name)
  );
  const names = files.map((name) => name.replace(/\.jsonl$/, ""));
  const idOf = (name: string) => name.startsWith("expert-") ? Number(name.slice(7)) : null;
  const rank = (name: string) => idOf(name) ?? (name === "dense" ? 1e9 : 2e9);
  names.sort((a, b) => rank(a) - rank(b));
  const curves: Curve[] = [];
  for (const model of names) {
    const expert = idOf(model);
    const remedy = expert !== null
      ? forced(run, "train-expert", { expert })
      : forced(run, "train-dense", model === "dense" ? {} : { match: "steps" });
    const points = await readLines(`${folder}/${model}.jsonl`, POINT, remedy) ?? [];
    if (points.length > 0) curves.push({ model, expert, points });
  }
  return curves;
}

type Schema<T> = v.GenericSchema<unknown, T>;

async function readJson<T>(path: string, schema: Schema<T>, remedy: Text): Promise<T | null> {
  const text = await readText(path);
  return text === null ? null : parse(text, schema, path, remedy);
}

/** Reads JSON lines; a last line that was not ended is still being written, and is left out. */
async function readLines<T>(path: string, schema: Schema<T>, remedy: Text): Promise<T[] | null> {
  const text = await readText(path);
  const lines = text?.split("\n").slice(0, -1);
  return lines?.map((line, i) => parse(line, schema, path, remedy, i + 1)) ?? null;
}

async function readText(path: string): Promise<string | null> {
  return await Deno.readTextFile(path).catch((error) => {
    if (error instanceof Deno.errors.NotFound) return null;
    throw error;
  });
}

function parse<T>(text: string, schema: Schema<T>, path: string, remedy: Text, line?: number): T {
  const where = line === undefined ? "" : `line ${line}: `;
  try {
    return conform(schema, JSON.parse(text));
  } catch (error) {
    throw unreadable(path, where + (error as Error).message, remedy);
  }
}

function unreadable(path: string, reason: string, remedy: Text): InputError {
  return new InputError(`Cannot read "${path}" as it must be as the run wrote it: ${reason}`, {
    where: path,
    remedy,
  });
}
