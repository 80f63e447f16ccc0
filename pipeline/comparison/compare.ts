/**
 * Compares runs side by side: the settings in which they differ, how well each run split its text, and how
 * good its mixture is on the same held-out text.
 *
 * @module
 */

import { InputError, say, task } from "../../kernels/errors.ts";
import { type DocumentScores, readDocumentScores } from "../evaluation/documents.ts";
import { RESAMPLES } from "../evaluation/evaluate.ts";
import type { Evaluation } from "../evaluation/evaluation.ts";
import { readRun } from "../report/read.ts";
import { withRemedy } from "../run/files.ts";
import { printable } from "../run/printable.ts";
import { Vouched } from "../run/vouched.ts";
import { FIELD_NAMES } from "../settings/configuration.ts";
import { DOCUMENTS } from "../stages/evaluate.ts";
import { checkOutput } from "../stages/output.ts";
import { type Lack, lacksOf, statusOf } from "../stages/status.ts";
import type { ComparedSource, CompareOptions, Comparison, SettingDifference } from "./comparison.ts";
import { heldOutHash, type LocatedRun, sharedHeldOut } from "./held_out.ts";
import { writePage } from "./page.ts";
import { besideFirst } from "./paired.ts";

/**
 * Compares runs by the files in their folders; nothing is run. Throws an `InputError` where fewer than two
 * runs are named, one is named twice, a folder is no run, a file is damaged, two runs hold out different
 * text, or the page would replace a file of a run.
 */
export async function compareRuns(options: CompareOptions): Promise<Comparison> {
  const { runs: paths, output, signal } = options;
  await checkPaths(paths);
  if (output !== undefined) await checkOutput(output);
  const names = shortNames(paths).map(printable);
  const located: (LocatedRun & { lacks: Lack[] })[] = [];
  for (const [i, run] of paths.entries()) {
    signal?.throwIfAborted();
    const record = await readRun(run, { doing: "compare", names: false });
    located.push({ name: names[i], run, record, lacks: lacksOf((await statusOf(run)).stages) });
  }
  const heldOut = await sharedHeldOut(located);
  const found = located.map(({ record }) => evaluationOf(record));
  const evaluations = found.map((own) => own?.trained ? null : own);
  const { sources, sourcesApart } = sourcesOf(evaluations);
  const documents = await Promise.all(
    located.map((run, i) => evaluations[i] && documentsOf(run, evaluations[i])),
  );
  const beside = await besideFirst(documents, { resamples: RESAMPLES, signal });
  const comparison: Comparison = {
    runs: located.map(({ name, run, record, lacks }, i) => {
      const { config: { configuration, adapter }, partition, rounds, curves, routes } = record;
      const trained = curves.filter(({ expert }) => expert !== null);
      const own = evaluations[i];
      return {
        name,
        run,
        partitioner: configuration.routers === "" ? configuration.partitioner : null,
        routes,
        experts: partition?.whole.experts ?? configuration.experts,
        adapter: adapter?.description ?? null,
        partition: partition && { ...partition.whole.train, costs: partition.whole.lineage.costs },
        rounds: rounds.map(({ round, nmi, regret, nllPerToken }) => ({ round, nmi, regret, nllPerToken })),
        expertTokens: trained.length === 0
          ? null
          : trained.reduce((sum, { points }) => sum + points.at(-1)!.tokens, 0),
        evaluation: own && {
          prefix: own.prefix,
          scores: own.scores,
          gains: own.gains,
          prefixes: own.prefixes,
          resamples: own.resamples,
        },
        trained: found[i]?.trained ?? null,
        documents: documents[i]?.document.length ?? null,
        beside: beside?.gains[i] ?? null,
        wins: own && sources.length > 0 ? sources.filter(({ best }) => best.includes(i)).length : null,
        lacks,
      };
    }),
    heldOut,
    reference: beside && names[beside.first],
    settings: differencesOf(located),
    sources,
    sourcesApart,
    unlabelled: unlabelledOf(evaluations, names),
  };
  if (output === undefined) return comparison;
  await writePage(comparison, { ...options, output });
  return { ...comparison, output };
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
  return parts.map((own, i) => {
    for (let count = 1; count <= own.length; count++) {
      const name = own.slice(-count).join("/");
      if (parts.every((other, j) => j === i || other.slice(-count).join("/") !== name)) return name;
    }
    return paths[i];
  });
}

/** Gives the evaluation of a run if it is one of the text that the run holds out now. */
function evaluationOf(record: LocatedRun["record"]): Evaluation | null {
  const { evaluation, manifests: { evaluate } } = record;
  return evaluate?.inputs.tokens === heldOutHash(record) ? evaluation : null;
}

/**
 * Reads what the held-out documents of an evaluated run came to; null where an older version evaluated it. Throws an `InputError` where
 * the file is gone or damaged, or not of this evaluation.
 */
async function documentsOf(
  { run, record }: LocatedRun,
  { documents, tokens, scores }: Evaluation,
): Promise<DocumentScores | null> {
  const path = `${run}/${DOCUMENTS}`;
  const { outputs } = record.manifests.evaluate!;
  if (!(DOCUMENTS in outputs)) return null;
  const remedy = say`run ${task("evaluate", { run, force: true })}`;
  const found = await readDocumentScores(path, new Vouched().add(run, outputs)).catch(withRemedy(remedy));
  const ownTokens = found.tokens.reduce((a, b) => a + b);
  const ownNll = found.nll.mixture.reduce((a, b) => a + b) / ownTokens;
  const text = (documents: number, tokens: number, nll: number) =>
    `${documents} documents, ${tokens} tokens, ${nll.toFixed(6)} nats per token`;
  const own = text(found.document.length, ownTokens, ownNll);
  const other = text(documents, tokens, scores.mixture!.nllPerToken);
  if (own === other) return found;
  throw new InputError(
    `Cannot compare "${run}" as "${path}" must be of the evaluation in evaluation.json: ${own} in the former, ${other} in the latter`,
    { where: path, remedy },
  );
}

function differencesOf(runs: readonly LocatedRun[]): SettingDifference[] {
  return FIELD_NAMES.flatMap((name) => {
    const values = runs.map(({ record }) => record.config.configuration[name]);
    const alike = new Set(values.map((value) => JSON.stringify(value))).size === 1;
    return alike ? [] : [{ setting: name, values }];
  });
}

/** Puts the sources that all evaluations share beside one another, and lists the labels of the others. */
function sourcesOf(
  evaluations: readonly (Evaluation | null)[],
): { sources: ComparedSource[]; sourcesApart: string[] } {
  const bySource = evaluations.map((own) =>
    own && new Map(own.sources.map((score) => [score.source, score]))
  );
  const evaluated = bySource.filter((scores) => scores !== null);
  if (evaluated.length < 2) return { sources: [], sourcesApart: [] };
  const labels = [...new Set(evaluated.flatMap((scores) => [...scores.keys()]))].sort();
  const isShared = (label: string) =>
    new Set(evaluated.map((scores) => scores.get(label)?.tokens)).size === 1;
  const sources = labels.filter(isShared).map((source) => {
    const perplexity = bySource.map((scores) => scores?.get(source)?.perplexity.mixture ?? null);
    const lowest = Math.min(...perplexity.filter((value) => value !== null));
    return {
      source,
      tokens: evaluated[0].get(source)!.tokens,
      perplexity,
      best: perplexity.flatMap((value, i) => value === lowest ? [i] : []),
    };
  });
  return { sources, sourcesApart: labels.filter((label) => !isShared(label)) };
}

/** Lists the names of the evaluated runs whose text has no labels, unless no run's has any. */
function unlabelledOf(evaluations: readonly (Evaluation | null)[], names: readonly string[]): string[] {
  const labelled = evaluations.map((own) => own && own.sources.some(({ source }) => source !== ""));
  return labelled.includes(true) ? names.filter((_, i) => labelled[i] === false) : [];
}
