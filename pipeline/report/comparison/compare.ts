// Compares runs side by side: the settings in which they differ, how well each run split its text,
// and how good its mixture is on the same held-out text. Perplexities of other text, or of other
// tokens, are not compared.

import { ensure, InputError, say, setting, type Text } from "../../../kernels/errors.ts";
import { RESAMPLES } from "../../evaluation/bootstrap.ts";
import type { Evaluation, Lower } from "../../evaluation/evaluation.ts";
import { computeFigures, type DocumentScores } from "../../evaluation/tables.ts";
import { valueText } from "../html.ts";
import type { PageOptions } from "../page.ts";
import { heldOutTokens, loadDocumentScores, readRun, type RunRecord } from "../read.ts";
import { shortHash } from "../../graph/files.ts";
import { printable } from "../../graph/printable.ts";
import { FIELD_NAMES, listNames } from "../../settings/configuration.ts";
import { findTextSeed, TEXT, TOKENS } from "../../settings/text.ts";

/** Reports what to compare, and where to. */
export interface CompareOptions extends Omit<PageOptions, "plots"> {
  /** Run folders, two at least. */
  runs: readonly string[];
  /** Page to write. Default: none. */
  output?: string;
}

/** The held-out text that runs share. */
export interface HeldOut {
  /**
   * SHA-256 of its tokens: of its shards as the manifest of the first run that has one lists them.
   */
  sha256: string;
  /** Its sequences, where they are known. */
  sequences: number | null;
  /** Names of the runs whose manifests do not describe it. */
  untold: string[];
}

/** @ignore Runs side by side, and the page that was written. */
export type Comparison = Awaited<ReturnType<typeof compare>> & { output?: string };
/** @ignore One of the runs. */
export type ComparedRun = Comparison["runs"][number];

/** Compares runs by the files in their folders. */
export async function compare({ runs: paths, signal }: CompareOptions) {
  const fact = paths.length === 0 ? "none is named" : `only "${paths[0]}" is named`;
  ensure(paths.length > 1, `Cannot compare runs as at least two must be named: ${fact}`);
  const names = shortNames(paths).map(printable);
  const records: RunRecord[] = [];
  for (const run of paths) {
    signal?.throwIfAborted();
    records.push(await readRun(run, { doing: "compare", details: false }));
  }
  const derived = records.some(({ lineage }) => lineage.length > 0);
  const heldOut = await shareHeldOut(records, names).catch((error) => {
    // Text that comes or goes may be held out.
    if (derived && error instanceof InputError) return null;
    throw error;
  });
  const isShared = heldOut !== null || !derived;
  const evaluated = records.map((record) =>
    isShared && record.heldOut?.evaluated ? record.evaluation : null
  );
  const evaluations = evaluated.map((evaluation) => evaluation?.trained ? null : evaluation);
  const { sources, sourcesApart } = compareSources(evaluations);
  const documents = await Promise.all(
    records.map((record, i) => evaluations[i] && loadDocumentScores(record)),
  );
  const paired = await compareWithFirst(documents, { resamples: RESAMPLES, signal });
  const labelled = evaluations.map((evaluation) =>
    evaluation && evaluation.sources.some(({ source }) => source !== "")
  );
  return {
    runs: records.map((record, i) => ({
      name: names[i],
      ...summarizeRun(record),
      evaluation: pickFigures(evaluations[i]), // null where it is not evaluated on all of this text
      // Experts that it is evaluated with, where others are not trained.
      trained: evaluated[i]?.trained ?? null,
      documents: documents[i]?.document.length ?? null, // those whose scores are known
      // How much lower its mixture's perplexity is than the reference's.
      beside: paired?.gains[i] ?? null,
      wins: evaluations[i] && sources.length > 0
        ? sources.filter(({ best }) => best.includes(i)).length
        : null,
      lineage: record.lineage, // the runs that it derives from, and what changed
      lacks: record.lacks, // stages that are not up to date
    })),
    heldOut,
    reference: paired && names[paired.first],
    settings: listDifferences(records),
    sources,
    sourcesApart, // labels of the sources that are not compared
    unlabelled: labelled.includes(true) ? names.filter((_, i) => labelled[i] === false) : [],
  };
}

function summarizeRun(
  { run, config: { configuration }, adapters, partition, rounds, curves, routes }: RunRecord,
) {
  const trained = curves.filter(({ expert }) => expert !== null);
  const tokens = trained.reduce((sum, { points }) => sum + points.at(-1)!.tokens, 0);
  return {
    run,
    // Null: it is from elsewhere.
    partitioner: configuration.routers === "" ? configuration.partitioner : null,
    routes, // whether its partitioner routes by a prefix, not by true labels
    experts: configuration.experts,
    adapter: adapters.join(", ") || null,
    partition: partition && { ...partition.train, costs: partition.costs },
    rounds: rounds.map(({ round, nmi, regret, nllPerToken }) => ({
      round,
      nmi,
      regret,
      nllPerToken,
    })),
    expertTokens: trained.length === 0 ? null : tokens,
  };
}

function pickFigures(evaluation: Evaluation | null) {
  if (evaluation === null) return null;
  const { prefix, scores, gains, prefixes, resamples } = evaluation;
  return { prefix, scores, gains, prefixes, resamples };
}

/** Names every run by the shortest end of its path that no other run shares. */
function shortNames(paths: readonly string[]): string[] {
  const parts = paths.map((path) => path.split("/").filter((name) => name !== "" && name !== "."));
  return parts.map((names, i) => {
    const ends = names.map((_, at) => names.slice(-1 - at).join("/"));
    const isShared = (end: string) =>
      parts.some((otherNames, j) => j !== i && `/${otherNames.join("/")}`.endsWith(`/${end}`));
    return ends.find((end) => !isShared(end)) ?? paths[i];
  });
}

/** Lists the settings in which runs differ. */
function listDifferences(records: readonly RunRecord[]) {
  return FIELD_NAMES.flatMap((name) => {
    const values = records.map(({ config }) => config.configuration[name]);
    const alike = new Set(values.map((value) => JSON.stringify(value))).size === 1;
    return alike ? [] : [{ setting: name, values }];
  });
}

/**
 * Puts the sources that all evaluations share next to each other, and lists the labels of the
 * others.
 */
function compareSources(evaluations: readonly (Evaluation | null)[]) {
  const scores = evaluations.map((evaluation) =>
    evaluation && new Map(evaluation.sources.map((score) => [score.source, score]))
  );
  const evaluated = scores.filter((bySource) => bySource !== null);
  if (evaluated.length < 2) return { sources: [], sourcesApart: [] };
  const labels = [...new Set(evaluated.flatMap((bySource) => [...bySource.keys()]))].sort();
  const isShared = (label: string) =>
    new Set(evaluated.map((bySource) => bySource.get(label)?.tokens)).size === 1;
  const sources = labels.filter(isShared).map((source) => {
    const perplexity = scores.map((bySource) => bySource?.get(source)?.perplexity.mixture ?? null);
    const lowest = Math.min(...perplexity.filter((value) => value !== null));
    const best = perplexity.flatMap((value, i) => value === lowest ? [i] : []);
    return { source, tokens: evaluated[0].get(source)!.tokens, perplexity, best };
  });
  return { sources, sourcesApart: labels.filter((label) => !isShared(label)) };
}

/**
 * Reports how much lower the perplexity of every mixture is than that of the first one whose text
 * another one cuts into the same documents: null for that one, for those that cut it into other
 * documents, and where documents are not known. Null where no two can be paired.
 *
 * Runs that hold out the same text find the same documents easy and hard, so the difference between
 * two mixtures is known far better than either perplexity: both are drawn together (Efron and
 * Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 8).
 */
export async function compareWithFirst(
  runs: readonly (DocumentScores | null)[],
  { resamples, signal }: { resamples: number; signal?: AbortSignal },
): Promise<{ first: number; gains: (Lower | null)[] } | null> {
  // Ids may differ, because each run counts its own.
  const cuts = runs.map((run) => run && `${run.tokens} ${run.sequences}`);
  const first = cuts.findIndex((cut, i) => cut !== null && cuts.indexOf(cut, i + 1) !== -1);
  if (first === -1) return null;
  const isPaired = (i: number) => i !== first && cuts[i] === cuts[first];
  const nll = Object.fromEntries(
    runs.flatMap((run, i) => cuts[i] === cuts[first] ? [[i, run!.nll.mixture]] : []),
  );
  const tokens = Float64Array.from(runs[first]!.tokens);
  const { gain } = await computeFigures({ tokens, nll }, { resamples, seed: 0, signal });
  return { first, gains: runs.map((_, i) => isPaired(i) ? gain(String(i), String(first)) : null) };
}

/**
 * Finds the held-out text that runs share; null where no manifest describes it. Shards that differ
 * hold the same text if all their tokens are the same. Throws an `InputError` that names two runs
 * whose held-out text differs.
 */
async function shareHeldOut(
  runs: readonly RunRecord[],
  names: readonly string[],
): Promise<HeldOut | null> {
  const [first, ...laterRuns] = runs.filter(({ heldOut }) => heldOut !== null);
  if (first === undefined) return null;
  for (const run of laterRuns) {
    if (run.heldOut!.sha256 === first.heldOut!.sha256) continue;
    const tokens = await heldOutTokens(first);
    if (tokens === null || tokens !== await heldOutTokens(run)) throw otherText(first, run);
  }
  const { sha256, sequences } = first.heldOut!;
  return { sha256, sequences, untold: names.filter((_, i) => !runs[i].heldOut) };
}

/** Settings that decide which text is held out, and how it is cut. */
const SETTINGS = [
  ...listNames(TEXT, "textSeed"),
  ...listNames(TOKENS, "shardSequences"),
  "textSeed",
] as const;

function otherText(former: RunRecord, latter: RunRecord): InputError {
  const [settings, otherSettings] = [former, latter].map(({ config: { configuration } }) => ({
    ...configuration,
    textSeed: findTextSeed(configuration),
  }));
  const differing = SETTINGS.filter((name) =>
    valueText(settings[name]) !== valueText(otherSettings[name])
  );
  const hashes = [former, latter].map(({ heldOut }) => shortHash(heldOut!.sha256)).join(" and ");
  const refusal = differing.reduce<Text>(
    (text, name) =>
      say`${text}, ${setting(name)} ${valueText(settings[name])} and ${
        valueText(otherSettings[name])
      }`,
    `Cannot compare "${former.run}" and "${latter.run}" as their held-out tokens ` +
      `must be the same: SHA-256 is ${hashes}`,
  );
  const remedy = differing.length > 0
    ? "with the same settings"
    : say`of the same text with the other's ${setting("tokenizer")}`;
  return new InputError(refusal, {
    where: latter.run,
    remedy: say`make one of them anew, in another folder, ${remedy}`,
  });
}
