/**
 * Evaluates a mixture on held-out sequences next to its baselines: perplexities with intervals, by
 * source, by routed segment and by length of the routing prefix (SmallTalk LM, sections 3.2 and
 * 3.3, figures 4b and 5).
 *
 * The sequences are read once per model. Models are leased one after another. Of a sequence it
 * keeps where it goes and its NLL under every model, of a document a row of sums. Only mixtures of
 * several experts (`mix.ts`) need single tokens. Margins tell how sure a choice is; where they are
 * small, a dense model may take over.
 *
 * @module
 */

import { ensure, InputError, say, setting, type Text } from "../../kernels/errors.ts";
import { parameterCount } from "../model/shape.ts";
import type { Partitioner } from "../partition/partitioner.ts";
import { unknownText } from "../partition/score.ts";
import { type ModelName, modelTitle } from "../serving/models.ts";
import { type Baseline, BASELINES, hasOwnShape } from "./baselines.ts";
import { calibrateMargin } from "./calibration.ts";
import { fewDocuments, RESAMPLES } from "./bootstrap.ts";
import {
  type Evaluation,
  EVALUATION_FORMAT,
  type FallbackScores,
  type Reliability,
} from "./evaluation.ts";
import { addMixes, listMixes, mixExperts, type MixOptions } from "./mix.ts";
import {
  type ModelScores,
  route,
  type Routed,
  type RouteOptions,
  type Routes,
  shapeChecker,
} from "./passes.ts";
import {
  computeFigures,
  createTable,
  type DocumentScores,
  type Figures,
  prefixColumn,
  scoresOfDocuments,
  shareAgreed,
  summarize,
  type SumTable,
} from "./tables.ts";

/** Which sequences go to a dense model, and to which. */
export interface FallbackOptions {
  /**
   * The dense model that takes unsure sequences, one of those that the mixture is compared with.
   */
  fallback?: Baseline;
  /**
   * Sequences with a smaller margin are sent. Without it, only the curve over all margins is
   * computed.
   */
  margin?: number;
  /**
   * The share of the sequences to send, above 0 and below 1: the margin that sends it is found, and
   * kept with the results.
   */
  calibrate?: number;
}

/** What {@linkcode evaluate} takes. */
export interface EvaluateOptions extends RouteOptions, MixOptions, FallbackOptions {
  /**
   * Gives what a model scores, whoever let it: what `scoreModel` gives of all sequences. Experts
   * that are mixed are scored here.
   */
  scores: (model: ModelName) => Promise<ModelScores>;
  /** Baselines of the mixture to compare with. */
  baselines?: readonly Baseline[];
  /**
   * A partitioner apart from the mixture's own that chooses among its experts too. It stays open.
   */
  routeBy?: Partitioner;
  /** Draws of the bootstrap; 1000 unless given. */
  resamples?: number;
  /** Seed of the bootstrap; 0 unless given. */
  seed?: number;
  /** Called with the sequences done so far; a sequence counts once per pass. */
  onProgress?: (done: number) => void;
  /** Called with the sums of every held-out document, before the bootstrap. */
  onDocuments?: (scores: DocumentScores) => void;
  /**
   * Called with a warning of sequences of which the partitioner knows nothing, or of too few
   * documents for intervals.
   */
  onWarning?: (message: Text) => void;
}

/** What of the evaluation of a run is chosen beyond its settings, by the names of options. */
export const CHOICES = [
  ...["trained", "resamples", "mix", "routingTemperature", "reroute"] as const,
  ...["fallback", "margin", "calibrate", "routeLengths", "routeBy", "beam"] as const,
];

/** The values of {@linkcode CHOICES}. */
export interface EvaluationChoices
  extends Pick<EvaluateOptions, Exclude<typeof CHOICES[number], "routeBy" | "beam">> {
  /**
   * Kind of a further partitioner that chooses among the experts: `self`, the experts themselves.
   */
  routeBy?: "self";
  /** Branches of each level of a tree that a sequence follows; 1 unless given. */
  beam?: number;
}

/** Compares the experts that two partitioners choose by prefixes of the same lengths. */
const compareRoutes = (
  { perplexity, gain }: Figures,
  nameColumn: (tokens: number) => string,
  otherRoutes: Routed["routes"],
  routes: Routed["routes"],
) =>
  Array.from(otherRoutes, ([tokens, chosen]) => ({
    prefix: tokens,
    ...perplexity(nameColumn(tokens)),
    gain: gain(prefixColumn(tokens), nameColumn(tokens)),
    agreement: shareAgreed(chosen, routes.get(tokens)!),
  }));

/**
 * Evaluates experts that a partitioner chooses on held-out sequences.
 *
 * Where only some experts are there (`trained`), only sequences that go to them count, and prefixes
 * of other lengths choose among them.
 *
 * M tokens route as in `score` and `assignArgmax`, to the bit: the lowest cost, the lower id among
 * equals. The same sequences, models and device give the same result however the sequences are cut
 * into batches.
 *
 * Every mixture of several experts is measured on the same sequences and draws; one of a single
 * expert is the mixture, to the bit.
 *
 * @throws {InputError} if there are no sequences, an NLL isn't finite, or a mixture that is asked
 * for is impossible. Also if models differ in shape, or if tokens, partitioner and models differ in
 * tokenizer.
 */
export async function evaluate(options: EvaluateOptions): Promise<Evaluation> {
  const { mixture, prefix, sequenceLength, fallback, routeBy, trained } = options;
  const { resamples = RESAMPLES, seed = 0 } = options;
  let done = 0;
  const onRows = (rows: number) => options.onProgress?.(done += rows);
  const partitioner = await mixture.partitioner();
  const { experts, shape: router } = partitioner;
  const mixes = listMixes(options, partitioner);
  const routed = await route(options, partitioner, onRows, mixes !== undefined)
    .finally(() => mixture.closePartitioner());
  warn(routed, options);
  const routedOtherwise = routeBy && await route({ ...options, mixture: routeBy }, routeBy, onRows);
  const together = mixes && await mixExperts(mixes, routed, options, partitioner, onRows);
  const expertIds = trained ?? [...Array(experts).keys()];
  const baselines = BASELINES.filter((name) => options.baselines?.includes(name));
  const scores = new Map<ModelName, ModelScores>();
  const { vocabulary } = partitioner;
  const check = shapeChecker({ vocabulary, context: sequenceLength }, "the run");
  for (const model of [...expertIds, ...baselines]) {
    const modelScores = typeof model === "number" && together?.scores[model] ||
      await options.scores(model);
    check(model, modelScores);
    const nll = countedNll(model, modelScores.nll, routed);
    scores.set(model, { ...modelScores, nll });
    if (!together || typeof model === "string") onRows(nll.length);
  }

  const table = createTable(routed, { prefix, experts });
  const nll = (model: ModelName) => scores.get(model)!.nll;
  const routedNll = ({ expert }: Routes) => (row: number) => nll(expert[row])[row];
  const mixtureNll = routedNll(routed.routes.get(prefix)!);
  const expertNlls = expertIds.map(nll);
  const bestNll = (row: number) => Math.min(...expertNlls.map((values) => values[row]));
  table.add("mixture", mixtureNll);
  for (const values of expertNlls) table.add("random", (row) => values[row] / expertIds.length);
  table.add("oracle", bestNll);
  for (const name of baselines) table.add(name, (row) => nll(name)[row]);
  for (const [tokens, routes] of routed.routes) table.add(prefixColumn(tokens), routedNll(routes));
  options.onDocuments?.(scoresOfDocuments(routed, table.document));
  const mixing = together &&
    addMixes(table, together.mixed, mixes!.routingTemperature, { ...routed, prefix });
  const sent = fallback &&
    addFallback(table, { ...options, fallback }, routed, mixtureNll, (row) => nll(fallback)[row]);
  const otherBy = (tokens: number) => `${routeBy?.kind} by ${tokens} tokens`;
  for (const [tokens, routes] of routedOtherwise?.routes ?? []) {
    table.add(otherBy(tokens), routedNll(routes));
  }

  const bytes = routed.bytes.reduce((a, b) => a + b, 0);
  const drawing = { resamples, seed, signal: options.signal };
  const figures = await computeFigures(table.document, drawing, bytes);
  const lossOf = (row: number) => mixtureNll(row) - bestNll(row);
  const choice = (margin: number, row: number) => ({ margin, loss: lossOf(row) });
  return {
    format: EVALUATION_FORMAT,
    prefix,
    experts,
    ...trained && { trained: [...trained] },
    documents: routed.documents.length,
    sequences: routed.predicted.length,
    tokens: table.document.tokens.reduce((a, b) => a + b),
    ...bytes > 0 && { bytes, unscoredBytes: routed.unscoredBytes },
    resamples,
    seed,
    ...summarize(routed, table, figures, prefix),
    ...!trained && { reliability: measureReliability(routed.margin.map(choice)) },
    ...mixing && { mixing: mixing(figures) },
    ...sent && { fallback: sent(figures) },
    ...routedOtherwise && {
      routedBy: {
        kind: routeBy!.kind,
        prefixes: compareRoutes(figures, otherBy, routedOtherwise.routes, routed.routes),
      },
    },
    models: {
      ...sharedShapes(scores),
      ...router && { router, routerParameters: parameterCount(router) },
    },
  };
}

/**
 * Warns of what makes the figures weak. Throws an `InputError` where there is nothing to evaluate.
 */
function warn({ documents, unknown }: Routed, { trained, onWarning }: EvaluateOptions): void {
  const ofExperts = trained ? ` that go to experts ${trained.join(", ")}` : "";
  ensure(
    documents.length > 0,
    `Cannot evaluate as there must be held-out sequences${ofExperts}: there are none`,
  );
  if (unknown > 0) onWarning?.(unknownText(unknown));
  const few = fewDocuments(documents.length);
  if (few) onWarning?.(say`${few}; more are held out with a larger ${setting("holdout")}`);
}

/**
 * Gives the NLL of the sequences that count. Throws an `InputError` where one is not finite, or
 * other sequences were read.
 */
function countedNll(
  model: ModelName,
  all: Float32Array,
  { documents, document, counts }: Routed,
): Float32Array {
  const nll = all.filter((_, row) => counts[row]);
  const name = modelTitle(model);
  const rule = "every pass must read the same sequences";
  ensure(
    all.length === counts.length,
    `Cannot evaluate as ${rule}: ${name} gets more or fewer of them`,
  );
  const row = nll.findIndex((value) => !Number.isFinite(value));
  if (row < 0) return nll;
  const fact = `that of a sequence of document ${documents[document[row]].id} under ${name} is ${
    nll[row]
  }`;
  throw new InputError(`Cannot evaluate as every NLL must be finite: ${fact}`, {
    remedy: `train ${name} again at a lower rate`,
  });
}

/**
 * Gives the shape that the models have, and the experts that were adopted. Where all were, the
 * first one gives the shape.
 */
function sharedShapes(scores: ReadonlyMap<ModelName, ModelScores>): Evaluation["models"] {
  const all = [...scores].map(([model, { config, notes }]) => {
    return { model, shape: { config, parameters: parameterCount(config) }, from: notes.adopted };
  });
  const first = all.find(({ model, from }) => from === undefined && !hasOwnShape(model)) ?? all[0];
  const adopted = all.flatMap(({ model, shape, from }) =>
    from === undefined || typeof model === "string" ? [] : [{ expert: model, ...shape, from }]
  );
  return { ...first.shape, ...adopted.length > 0 && { adopted } };
}

/** A routed sequence. */
export interface RoutedSequence {
  /** How much less its prefix costs the chosen expert than the second best one. */
  margin: number;
  /** How much higher its NLL under the chosen expert is than under its best one, nats. */
  loss: number;
}

const BINS = 10;

/**
 * Tells how often choices are right and what wrong ones lose, over all and by margin. There are at
 * most ten bins of margins with about equally many sequences; equal margins are in the same bin.
 */
export function measureReliability(choices: readonly RoutedSequence[]): Reliability {
  const sorted = choices.toSorted((a, b) => a.margin - b.margin);
  const bins: Reliability["bins"] = [];
  for (let begin = 0, bin = 1; begin < sorted.length; bin++) {
    let end = Math.round(bin * sorted.length / BINS);
    if (end <= begin) continue;
    while (end < sorted.length && sorted[end].margin === sorted[end - 1].margin) end++;
    const inBin = sorted.slice(begin, end);
    bins.push({ from: inBin[0].margin, to: inBin.at(-1)!.margin, ...summary(inBin) });
    begin = end;
  }
  return { ...summary(sorted), bins };
}

function summary(choices: readonly RoutedSequence[]) {
  const losses = choices.map(({ loss }) => loss).filter((loss) => loss > 0);
  return {
    sequences: choices.length,
    right: 1 - losses.length / choices.length,
    loss: losses.length === 0 ? null : losses.reduce((a, b) => a + b, 0) / losses.length,
  };
}

/**
 * Points of the curve: margins that send no sequence, about a twentieth of them, two twentieths …
 * all.
 */
const STEPS = 20;

const shareBelow = (margins: readonly number[], limits: (row: number) => number) =>
  margins.filter((margin, row) => margin < limits(row)).length / margins.length;

/**
 * Adds a column for each margin below which sequences are sent, and returns what gives their
 * figures. `mixtureNll` and `denseNll` give the NLL of a sequence by the mixture and by the dense
 * model.
 */
function addFallback(
  table: SumTable,
  { fallback, margin, calibrate }: FallbackOptions & { fallback: Baseline },
  { margin: margins, document }: Pick<Routed, "margin" | "document">,
  mixtureNll: (row: number) => number,
  denseNll: (row: number) => number,
): (figures: Figures) => FallbackScores {
  const sorted = margins.toSorted((a, b) => a - b);
  const send = (name: string, limits: (row: number) => number) =>
    table.add(name, (row) => margins[row] < limits(row) ? denseNll(row) : mixtureNll(row));
  const steps = Array.from(
    { length: STEPS },
    (_, i) => sorted[Math.floor(i * sorted.length / STEPS)],
  );
  const curve = [...new Set(steps), Infinity];
  const column = (limit: number) => `${fallback} below ${limit}`;
  for (const limit of new Set(margin === undefined ? curve : [...curve, margin])) {
    send(column(limit), () => limit);
  }
  const unseen = `${fallback} below the margin of the other half`;
  const half = (row: number) => document[row] % 2;
  const ofOthers = calibrate === undefined
    ? []
    : [1, 0].map((side) =>
      calibrateMargin(margins.filter((_, row) => half(row) === side), calibrate)
    );
  ensure(
    ofOthers.every(Number.isFinite),
    `Cannot calibrate a fallback as there must be two held-out documents: there are too few`,
    { remedy: say`partition with a larger ${setting("holdout")}` },
  );
  if (calibrate !== undefined) send(unseen, (row) => ofOthers[half(row)]);
  const point = (limit: number) => ({
    margin: limit === Infinity ? null : limit,
    share: shareBelow(margins, () => limit),
  });
  const calibrated = (wanted: number, { perplexity, gain }: Figures) => {
    const margin = calibrateMargin(margins, wanted);
    return {
      wanted,
      margin,
      share: shareBelow(margins, () => margin),
      unseen: {
        share: shareBelow(margins, (row) => ofOthers[half(row)]),
        ...perplexity(unseen),
        gain: gain(unseen, "mixture"),
      },
    };
  };
  return (figures) => ({
    model: fallback,
    ...calibrate !== undefined && { calibrated: calibrated(calibrate, figures) },
    ...margin !== undefined && { chosen: { ...point(margin), ...figures.score(column(margin)) } },
    curve: curve.map((limit) => ({ ...point(limit), ...figures.perplexity(column(limit)) })),
  });
}
