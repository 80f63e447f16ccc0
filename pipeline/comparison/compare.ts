// Compares runs side by side: the settings in which they differ, how well each run split its text, and how
// good its mixture is on the same held-out text.

import { InputError } from "../../kernels/errors.ts";
import { RESAMPLES } from "../evaluation/bootstrap.ts";
import type { Evaluation } from "../evaluation/evaluation.ts";
import type { PageOptions } from "../report/page.ts";
import { readDocuments, readRun, type RunRecord } from "../report/read.ts";
import { printable } from "../run/printable.ts";
import { FIELD_NAMES } from "../settings/configuration.ts";
import { type NamedRun, sharedHeldOut } from "./held_out.ts";
import { compareWithFirst } from "./paired.ts";

/** Reports what to compare, and where to. */
export interface CompareOptions extends Omit<PageOptions, "plots"> {
  /** Run folders, two at least. */
  runs: readonly string[];
  /** Page to write. Default: none. */
  output?: string;
}

/** @ignore Runs side by side, and the page that was written. */
export type Comparison = Awaited<ReturnType<typeof compare>> & { output?: string };
/** @ignore One of the runs. */
export type ComparedRun = Comparison["runs"][number];

/** Compares runs by the files in their folders. */
export async function compare({ runs: paths, signal }: CompareOptions) {
  await checkPaths(paths);
  const names = shortNames(paths).map(printable);
  const located: NamedRun[] = [];
  for (const [i, run] of paths.entries()) {
    signal?.throwIfAborted();
    located.push({ name: names[i], record: await readRun(run, { doing: "compare", names: false }) });
  }
  const derived = located.some(({ record: { lineage } }) => lineage.length > 0);
  const heldOut = await sharedHeldOut(located).catch((error) => {
    if (derived && error instanceof InputError) return null; // text that comes or goes may be held out
    throw error;
  });
  const isShared = heldOut !== null || !derived;
  const found = located.map(({ record }) => isShared && record.heldOut?.evaluated ? record.evaluation : null);
  const evaluations = found.map((own) => own?.trained ? null : own);
  const { sources, sourcesApart } = compareSources(evaluations);
  const documents = await Promise.all(
    located.map(({ record }, i) => evaluations[i] && readDocuments(record)),
  );
  const paired = await compareWithFirst(documents, { resamples: RESAMPLES, signal });
  const labelled = evaluations.map((own) => own && own.sources.some(({ source }) => source !== ""));
  return {
    runs: located.map(({ name, record }, i) => ({
      name,
      ...ofRecord(record),
      evaluation: pickFigures(evaluations[i]), // null where it is not evaluated on all of this text
      trained: found[i]?.trained ?? null, // experts that it is evaluated with, where others are not trained
      documents: documents[i]?.document.length ?? null, // those whose scores are known
      beside: paired?.gains[i] ?? null, // how much lower its mixture's perplexity is than the reference's
      wins: evaluations[i] && sources.length > 0
        ? sources.filter(({ best }) => best.includes(i)).length
        : null,
      lineage: record.lineage, // the runs that it derives from, and what changed
      lacks: record.lacks, // stages that are not up to date
    })),
    heldOut,
    reference: paired && names[paired.first],
    settings: listDifferences(located),
    sources,
    sourcesApart, // labels of the sources that are not compared
    unlabelled: labelled.includes(true) ? names.filter((_, i) => labelled[i] === false) : [],
  };
}

function ofRecord(
  { run, config: { configuration }, adapters, partition, rounds, curves, routes }: RunRecord,
) {
  const trained = curves.filter(({ expert }) => expert !== null);
  const tokens = trained.reduce((sum, { points }) => sum + points.at(-1)!.tokens, 0);
  return {
    run,
    partitioner: configuration.routers === "" ? configuration.partitioner : null, // null: it is from elsewhere
    routes, // whether its partitioner routes by a prefix, not by true labels
    experts: configuration.experts,
    adapter: adapters.join(", ") || null,
    partition: partition && { ...partition.train, costs: partition.costs },
    rounds: rounds.map(({ round, nmi, regret, nllPerToken }) => ({ round, nmi, regret, nllPerToken })),
    expertTokens: trained.length === 0 ? null : tokens,
  };
}

function pickFigures(evaluation: Evaluation | null) {
  if (evaluation === null) return null;
  const { prefix, scores, gains, prefixes, resamples } = evaluation;
  return { prefix, scores, gains, prefixes, resamples };
}

async function checkPaths(paths: readonly string[]): Promise<void> {
  if (paths.length < 2) {
    const found = paths.length === 0 ? "none is named" : `only "${paths[0]}" is named`;
    throw new InputError(`Cannot compare runs as at least two must be named: ${found}`);
  }
  const real = await Promise.all(paths.map((path) => Deno.realPath(path).catch(() => path)));
  const twice = real.findIndex((path, i) => real.indexOf(path) < i);
  if (twice === -1) return;
  const [first, second] = [paths[real.indexOf(real[twice])], paths[twice]];
  const found = first === second ? `"${first}" is named twice` : `"${first}" and "${second}" are the same`;
  throw new InputError(`Cannot compare runs as each must be named once: ${found}`, { where: second });
}

/** Names every run by the shortest end of its path that no other run shares. */
export function shortNames(paths: readonly string[]): string[] {
  const parts = paths.map((path) => path.split("/").filter((name) => name !== "" && name !== "."));
  const end = (own: string[], count: number) => own.slice(-count).join("/");
  return parts.map((own, i) => {
    const counts = own.map((_, i) => i + 1);
    const count = counts.find((count) =>
      parts.every((other, j) => j === i || end(other, count) !== end(own, count))
    );
    return count === undefined ? paths[i] : end(own, count);
  });
}

/** Lists the settings in which runs differ; a value is undefined in a run from before the setting existed. */
function listDifferences(runs: readonly NamedRun[]) {
  return FIELD_NAMES.flatMap((name) => {
    const values = runs.map(({ record }) => record.config.configuration[name]);
    const alike = new Set(values.map((value) => JSON.stringify(value))).size === 1;
    return alike ? [] : [{ setting: name, values }];
  });
}

/** Puts the sources that all evaluations share next to each other, and lists the labels of the others. */
function compareSources(evaluations: readonly (Evaluation | null)[]) {
  const scores = evaluations.map((own) => own && new Map(own.sources.map((score) => [score.source, score])));
  const evaluated = scores.filter((own) => own !== null);
  if (evaluated.length < 2) return { sources: [], sourcesApart: [] };
  const labels = [...new Set(evaluated.flatMap((own) => [...own.keys()]))].sort();
  const isShared = (label: string) => new Set(evaluated.map((own) => own.get(label)?.tokens)).size === 1;
  const sources = labels.filter(isShared).map((source) => {
    const perplexity = scores.map((own) => own?.get(source)?.perplexity.mixture ?? null);
    const lowest = Math.min(...perplexity.filter((value) => value !== null));
    const best = perplexity.flatMap((value, i) => value === lowest ? [i] : []);
    return { source, tokens: evaluated[0].get(source)!.tokens, perplexity, best };
  });
  return { sources, sourcesApart: labels.filter((label) => !isShared(label)) };
}
