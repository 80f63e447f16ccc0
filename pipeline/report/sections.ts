/**
 * Writes the sections of a report: what each part of a run says, in words, plots and tables.
 *
 * @module
 */

import { setting, task, type TaskReference, type Words, wordText } from "../../kernels/errors.ts";
import type { Cost } from "../cost/cost.ts";
import { paperTable, PRINTED_COMMUNICATION } from "../cost/paper.ts";
import { BASELINE_NOTES } from "../evaluation/baselines.ts";
import { type Evaluation, sideOf } from "../evaluation/evaluation.ts";
import type { ModelConfig } from "../model/shape.ts";
import { PARTITIONERS } from "../partition/partitioners.ts";
import { FIELD_NAMES, FIELDS } from "../settings/configuration.ts";
import { onlyParts } from "../stages/parts_alone.ts";
import { denseTargets } from "../stages/train_dense.ts";
import { expertsSection } from "./experts.ts";
import {
  type Content,
  foldedTable,
  type Html,
  htmlTable,
  markup,
  number,
  percent,
  scientific,
  type Table,
  unbroken,
} from "./html.ts";
import { COMPARED, wayName } from "./plots.ts";
import {
  gainPlot,
  overheadPlot,
  perplexityPlot,
  prefixPlots,
  segmentPlot,
  sourcePlot,
} from "./plots_evaluation.ts";
import { mixingPlots } from "./plots_mixing.ts";
import { routeByPlots } from "./plots_route_by.ts";
import { heatPlot, roundPlots, sharePlot } from "./plots_routing.ts";
import { trainingPlots } from "./plots_training.ts";
import type { RunRecord } from "./read.ts";
import type { Claim, Claims } from "./reproduction.ts";
import type { Section } from "./section.ts";

/** A part that a run does not have yet. */
export interface Missing {
  /** What is not there. */
  part: string;
  /** The task that makes it, in words; none where that takes the whole run, of which a part lies here alone. */
  command?: string;
}

/** Holds what a report says. */
export interface Sections {
  /** The figures at the top: a value, and what it is. */
  figures: [value: string, label: string][];
  /** The sections, in their order. */
  sections: Section[];
  /** What is left out. */
  missing: Missing[];
}

const bytes = (size: number): string => {
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  const power = size < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log10(size) / 3));
  return `${Number((size / 1000 ** power).toPrecision(3))}\u00a0${units[power]}`;
};

const plural = (count: number, one: string): string => `${number(count)} ${one}${count === 1 ? "" : "s"}`;
const rounded = (value: number, digits: number): string => number(Number(value.toFixed(digits)));

/** Says everything that a run's files hold; `words` says how settings and tasks are worded. */
export function sectionsOf(run: RunRecord, cost: Cost, words?: Words): Sections {
  const missing: Missing[] = [];
  const lacks: Lacks = (part, name, settings = {}) => {
    if (run.alone.length > 0 && name !== "train-expert") {
      missing.push({ part });
      return markup`<p class="missing">${part} is not here: ${onlyParts(run.alone)}.</p>`;
    }
    const command = wordText([task(name, { ...settings, run: run.path })], words);
    missing.push({ part, command });
    return markup`<p class="missing">${part} is not here yet: run <code>${unbroken(command)}</code>.</p>`;
  };
  const sections = [
    whatRan(run, cost, words),
    ...(run.reproduction ? [claims(run.reproduction)] : []),
    rounds(run, lacks),
    partition(run, lacks),
    ...expertsSection(run),
    training(run, lacks),
    evaluation(run, lacks),
    costs(run, cost),
  ];
  return { figures: figures(run), sections, missing };
}

/** Says that a part is not there, and which task makes it. */
type Lacks = (part: string, name: string, settings?: TaskReference["with"]) => Html;

function figures({ config, partition, evaluation }: RunRecord): [string, string][] {
  const experts = partition?.whole.experts ?? config.configuration.experts;
  const found: [string, string][] = [];
  for (const { baseline, ...gain } of evaluation?.gains ?? []) {
    const { side, by } = sideOf(gain);
    found.push([
      `${by.toFixed(1)}% ${side}`,
      `perplexity of the mixture than of ${wayName(baseline, evaluation!.experts)}`,
    ]);
  }
  found.push([number(experts), experts === 1 ? "expert" : "experts"]);
  if (partition) {
    const { tokens, nmi } = partition.whole.train;
    const compact = tokens.toLocaleString("en", { notation: "compact", maximumSignificantDigits: 3 });
    found.push([compact, "training tokens"]);
    if (nmi !== null && experts > 1) found.push([rounded(nmi, 3), "NMI of expert and source"]);
  }
  for (const way of COMPARED) {
    const score = evaluation?.scores[way];
    if (!score) continue;
    const label = way === "mixture" ? "perplexity of the mixture" : wayName(way, evaluation.experts);
    found.push([score.perplexity.toFixed(2), label]);
  }
  return found;
}

function whatRan({ config, manifests }: RunRecord, cost: Cost, words?: Words): Section {
  const { configuration: c, versions, adapter } = config;
  const of = (stage: string, name: string) => {
    const value = manifests[stage]?.result[name];
    return typeof value === "number" ? number(value) : null;
  };
  const tokens = (name: string) => of("tokenize", name);
  const kind = PARTITIONERS.get(c.partitioner);
  const facts: [string, Content][] = [
    ["text", c.input.length === 0 ? "the embedded corpus" : c.input.join(", ")],
    ["documents", tokens("documents") ?? of("corpus", "documents")],
    [
      "tokens",
      tokens("tokens") &&
      `${tokens("tokens")}, of a vocabulary of ${tokens("vocabulary")}; ${
        tokens("trainSequences")
      } training and ${tokens("testSequences")} held-out sequences of at most ${number(c.sequenceLength)}`,
    ],
    ["experts", `${c.experts}, each of ${shape(cost.mixture.expert, cost.parameters.expert)}`],
    c.routers === "" && kind && !kind.models ? ["partitioner", `${kind.kind}: ${kind.about}`] : [
      "routers",
      `${c.experts}, each of ${shape(cost.mixture.router, cost.parameters.router)}; ${
        c.routers === ""
          ? `${plural(c.rounds, "EM round")}, prefix of ${c.prefix} tokens`
          : `taken from ${c.routers}`
      }`,
    ],
    ["seed", String(c.seed)],
    ["adapter", adapter && `${adapter.description} (${adapter.kind})`],
    ["versions", Object.entries(versions ?? {}).map(([name, version]) => `${name} ${version}`).join(", ")],
  ];
  const stages: Table = {
    head: ["stage", "files", "size", "key"],
    rows: Object.values(manifests).map(({ stage, outputs, key }) => {
      const sizes = Object.values(outputs).map((file) => file.bytes);
      return [stage, sizes.length, bytes(sizes.reduce((a, b) => a + b, 0)), key.slice(0, 12)];
    }),
  };
  const settings: Table = {
    head: ["setting", "value", "meaning"],
    rows: FIELD_NAMES.filter((name) => name in c).map((name) => [
      unbroken(wordText([setting(name)], words)),
      [c[name]].flat().join(", ") || "none",
      unbroken(wordText(FIELDS[name].help, words)),
    ]),
  };
  return {
    id: "what-ran",
    title: "What ran",
    lead: [
      markup`<dl>\n${
        facts.filter(([, value]) => value)
          .map(([name, value]) => markup`<dt>${name}</dt><dd>${value}</dd>\n`)
      }</dl>\n`,
      foldedTable(settings, "Settings", "All settings"),
      foldedTable(stages, "Stages", "Stages that are complete"),
    ],
  };
}

function shape(
  { hidden, layers, heads }: Pick<ModelConfig, "hidden" | "layers" | "heads">,
  parameters: number,
): string {
  return `${number(parameters)} parameters (width ${hidden}, ${plural(layers, "layer")}, ${
    plural(heads, "head")
  })`;
}

/** Writes claims as a table, with what became of each. */
export function claimsTable(claims: readonly Claim[]): Html {
  const verdict = (holds: boolean | null) =>
    holds === null
      ? markup`<span class="open">–</span>`
      : holds
      ? markup`<span class="yes">✓ holds</span>`
      : markup`<span class="no">✗ does not</span>`;
  const table: Table = {
    head: ["claim", "paper", "here", "holds"],
    rows: claims.map(({ claim, paper, here, holds }) => [claim, paper, here, verdict(holds)]),
    look: "claims",
  };
  return htmlTable(table, "Claims");
}

function claims({ claims, search, trialShare }: Claims): Section {
  const trials: Table = {
    head: ["model", "learning rate", "held-out loss, nats per token", ""],
    rows: Object.entries(search).flatMap(([model, found]) =>
      found.trials.toSorted((a, b) => a.rate - b.rate).map((
        { rate, validationLoss: loss },
      ) => [model, rate, loss === Infinity ? "diverged" : loss, rate === found.rate ? "taken" : null])
    ),
  };
  const tried = "Learning rates that were tried";
  return {
    id: "claims",
    title: "The paper's claims, and this run",
    lead: [
      claimsTable(claims),
      markup`${foldedTable(trials, tried, `${tried} on ${percent(trialShare)} of the training`)}\n`,
    ],
  };
}

function rounds({ rounds, config }: RunRecord, lacks: Lacks): Section {
  const section = { id: "rounds", title: "Routers, by expectation maximisation" };
  const last = rounds.at(-1);
  if (!last) {
    const { routers, partitioner } = config.configuration;
    const kind = PARTITIONERS.get(partitioner);
    const lead = routers === "" && kind && !kind.models
      ? markup`<p>The parts are those of <code>${kind.kind}</code>: ${kind.about}. There are no rounds.</p>`
      : routers === ""
      ? lacks("The record of router training", "train-routers")
      : markup`<p>The routers were taken from <code>${routers}</code>; their rounds are recorded there.</p>`;
    return { ...section, lead: [lead] };
  }
  const trained = plural(rounds.length, "round");
  const nll = number(last.nllPerToken);
  const lead = last.shares.length === 1
    ? markup`<p>One router trained in ${trained}; after the last one a prefix token costs ${nll} nats. With one
router there is nothing to route: shares, agreement with sources and the cost of balance are left out.</p>`
    : markup`<p>In each of ${trained} every router trained on the sequences that it
predicts best, loads kept equal, and new sequences were scored. After the last one a prefix token costs
${nll} nats${last.nmi === null ? "" : `, and NMI with the sources is ${rounded(last.nmi, 3)}`}.</p>`;
  return { ...section, lead: [lead], plots: roundPlots(rounds) };
}

function partition({ partition }: RunRecord, lacks: Lacks): Section {
  const section = { id: "partition", title: "Partition" };
  if (!partition) return { ...section, lead: [lacks("The partition", "partition")] };
  const { whole, parts } = partition;
  const { sequences, tokenImbalance, nmi, regret } = whole.train;
  const loads: Table = {
    head: ["expert", "sequences", "tokens", "held-out sequences", "held-out tokens"],
    rows: parts.map(({ expert, train, test }) => [
      ...[expert, train.sequences, train.tokens],
      ...[test?.sequences ?? null, test?.tokens ?? null],
    ]),
  };
  const after = [foldedTable(loads, "Loads of the experts", "Loads")];
  const trained = plural(sequences, "training sequence");
  if (whole.experts === 1) {
    const lead =
      markup`<p>${trained}, all for the one expert; shares and sources by expert are left out.</p>`;
    return { ...section, lead: [lead], after };
  }
  const sources = new Set(parts.flatMap(({ train }) => Object.keys(train.sources)));
  return {
    ...section,
    lead: [
      markup`<p>${trained} in equal parts, one for each expert. The largest part has ${
        percent(tokenImbalance)
      } more tokens than the mean; ${
        nmi === null
          ? "the text has no two sources to compare experts with, so that no plot shows them"
          : `NMI of expert and source is ${rounded(nmi, 3)}`
      }${regret === null ? null : `, and balance costs ${rounded(regret, 4)} nats per prefix token`}.</p>`,
    ],
    plots: [sharePlot(whole), ...(sources.size > 1 ? [heatPlot(parts)] : [])],
    after,
  };
}

function training({ partition, config, curves, alone, adopted }: RunRecord, lacks: Lacks): Section {
  const experts = partition?.whole.experts ?? config.configuration.experts;
  const ready = new Set([
    ...curves.flatMap(({ expert }) => expert ?? []),
    ...adopted.map(({ expert }) => expert),
  ]);
  const has = (model: string) => curves.some((curve) => curve.model === model);
  const lead = alone.filter((expert) => !ready.has(expert))
    .map((expert) => lacks(`Training of expert ${expert}`, "train-expert", { expert }));
  if (alone.length === 0 && ready.size < experts) {
    const which = ready.size === 0 ? "the" : `${experts - ready.size} of the ${experts}`;
    lead.push(lacks(`Training of ${which} experts`, "train-expert", { expert: "all" }));
  }
  for (const { match, name, command } of denseTargets()) {
    if (has(name) || !BASELINE_NOTES[name].sameTokens) continue;
    lead.push(lacks(`The dense baseline with ${experts} times the ${match}`, command.task, command.with));
  }
  for (const { expert, from, shape: own, parameters } of adopted) {
    lead.push(
      markup`<p>Expert ${expert} was adopted from <code>${from}</code>: ${
        shape(own, parameters)
      }, trained by others.</p>`,
    );
  }
  const section = { id: "training", title: "Training", lead };
  if (curves.length === 0) return section;
  lead.unshift(
    markup`<p>${
      experts === 1
        ? "The one expert and the dense models have the same shape, see the same tokens and take the same steps."
        : markup`Every expert trains alone, on its part. Expert and dense models have the same shape, so the same cost of
inference; a dense model sees all the tokens, in batches ${experts} times as large or in ${experts} times the steps.`
    }${
      has("dense-compute")
        ? " The larger dense model sees fewer tokens, as its training costs as many FLOPs as the mixture's."
        : null
    }${
      has("switch")
        ? " The Switch Transformer has as many experts in every layer, all in memory, and chooses one for every token."
        : null
    } The steep beginning of the curves is cut off.</p>`,
  );
  return { ...section, plots: trainingPlots(curves, experts) };
}

function evaluation({ evaluation }: RunRecord, lacks: Lacks): Section {
  const section = { id: "evaluation", title: "Held-out text" };
  if (!evaluation) return { ...section, lead: [lacks("The evaluation", "evaluate")] };
  const { gains, experts, trained, documents, sequences, tokens, prefix, resamples, segments } = evaluation;
  const routes = experts > 1;
  const compares = evaluation.sources.length > 1;
  const gainText = gains.map(({ baseline, ...gain }) => {
    const name = wayName(baseline, experts);
    if (Object.values(gain).every((value) => value === 0)) {
      return markup` Its perplexity is <strong>equal</strong> to that of ${name}.`;
    }
    const { side, by, from, to } = sideOf(gain);
    const digits = (value: number) => value.toFixed(1).replace("-", "−");
    return markup` Its perplexity is <strong>${
      digits(by)
    }% ${side}</strong> than that of ${name} (95% interval ${digits(from)} to ${digits(to)}).`;
  });
  return {
    ...section,
    lead: [
      markup`<p>${plural(tokens, "token")} of ${plural(sequences, "sequence")} in ${
        plural(documents, "document")
      } that no model was trained on${
        trained ? `, only what goes to the ${trained.length} of ${experts} experts that were trained` : ""
      }. ${
        routes
          ? `The mixture routes each sequence by its first ${prefix} tokens and runs one expert.`
          : "The mixture is its one expert."
      }${gainText} Intervals
are of ${plural(resamples, "bootstrap resample")} of the documents.</p>`,
      ...worse(evaluation),
      ...(routes ? sureness(evaluation) : []),
      ...(routes && compares ? [] : [
        markup`<p>${
          routes ? null : "With one expert there are no segments, and no routing prefix to vary. "
        }${compares ? null : "The text has no two sources to compare. "}Plots of these are left out.</p>`,
      ]),
    ],
    plots: [
      perplexityPlot(evaluation),
      ...(gains.length > 0 ? [gainPlot(evaluation)] : []),
      ...(routes && segments.some(({ perplexity }) => perplexity.mixture !== null)
        ? [segmentPlot(evaluation)]
        : []),
      ...(compares ? [sourcePlot(evaluation)] : []),
      ...(routes ? [...prefixPlots(evaluation), ...mixingPlots(evaluation)] : []),
      ...routeByPlots(evaluation),
    ],
  };
}

/** Says how often the chosen expert is the best one, and what a smaller margin means for that. */
function sureness({ reliability }: Evaluation): Html[] {
  if (reliability === undefined) return [];
  const { right, loss, bins } = reliability;
  const [unsure, sure] = [bins[0], bins.at(-1)!];
  return [
    markup`<p>The chosen expert is the best in hindsight for ${percent(right)} of the sequences${
      loss === null ? null : `; elsewhere it costs ${rounded(loss, 2)} nats per sequence more than that one`
    }.${
      bins.length < 2
        ? null
        : ` It is the best for ${percent(unsure.right)} of the sequences whose margin is smallest, and for ${
          percent(sure.right)
        } of those whose margin is largest.`
    }</p>`,
  ];
}
/** Parts that are named where the mixture is worse, at most. */
const MOST_WORSE = 12;

/** Says which sources and segments the mixture is worse on than a dense model, the worst first. */
function worse({ sources, segments, gains, experts }: Evaluation): Html[] {
  const parts = [
    ...(sources.length > 1
      ? sources.map(({ source, perplexity }) => ({ name: `source “${source || "none"}”`, perplexity }))
      : []),
    ...(experts > 1
      ? segments.map(({ expert, perplexity }) => ({ name: `the text of expert ${expert}`, perplexity }))
      : []),
  ];
  return gains.flatMap(({ baseline }) => {
    const found = parts.flatMap(({ name, perplexity: { mixture, [baseline]: dense } }) =>
      mixture && dense && mixture > dense ? [{ name, by: 100 * (mixture / dense - 1) }] : []
    ).filter(({ by }) => by >= 0.05).sort((a, b) => b.by - a.by);
    if (found.length === 0) return [];
    const named = found.slice(0, MOST_WORSE).map(({ name, by }) => `${name} (${by.toFixed(1)}% higher)`);
    const more = found.length - MOST_WORSE;
    const list = named.join(", ") + (more > 0 ? ` and ${more} more` : "");
    return [markup`<p><strong>Worse</strong> than ${wayName(baseline, experts)} on ${list}.</p>`];
  });
}

function costs({ evaluation }: RunRecord, { flops, communication, memory, mixture }: Cost): Section {
  const { mixture: ours, dense } = evaluation?.scores ?? {};
  const models = [
    {
      model: "this run",
      experts: mixture.experts,
      training: [flops.experts, flops.overhead],
      inference: [flops.inference, flops.inferenceOverhead],
      perplexity: ours && dense && { mixture: ours.perplexity, dense: dense.perplexity },
    },
    ...paperTable().map(({ model, experts, counted, perplexity }) => ({
      model,
      experts,
      training: [counted.training * 1e19, counted.trainingOverhead * 1e19],
      inference: [counted.inference * 1e12, counted.inferenceOverhead * 1e12],
      perplexity,
    })),
  ];
  const cells = (
    [whole, part]: number[],
  ) => [scientific(whole), scientific(part), whole === 0 ? "–" : percent(part / whole, 2)];
  const table: Table = {
    head: [
      ...["model", "E", "training, FLOPs", "overhead", "share", "inference, FLOPs", "overhead", "share"],
      "perplexity, dense → mixture",
    ],
    rows: models.map(({ model, experts, training, inference, perplexity }) => [
      model.replace(" ", "\u00a0"),
      experts,
      ...cells(training),
      ...cells(inference),
      perplexity ? `${perplexity.dense.toFixed(2)}\u00a0→\u00a0${perplexity.mixture.toFixed(2)}` : null,
    ]),
  };
  const paper = PRINTED_COMMUNICATION;
  const perExchange = "sent and received per router and exchange";
  const perStep = "data-parallel dense training, per node and step";
  const exchanged: Table = {
    head: ["communication", "this run", "paper, 1.3B, E = 32"],
    rows: [
      ["exchanges of scores in router training", String(communication.exchanges), String(paper.exchanges)],
      [perExchange, bytes(communication.bytesPerExchange), bytes(paper.bytesPerExchange)],
      ["the same for the scores of the corpus, once", bytes(communication.corpusBytes), null],
      ["exchanged while experts train", bytes(0), bytes(0)],
      [perStep, bytes(communication.denseBytesPerStep), bytes(paper.denseBytesPerStep)],
    ],
  };
  const held: Table = {
    head: ["memory on a device", "this run"],
    rows: [
      ["training of one expert", bytes(memory.expert.total)],
      ["training of all routers side by side", bytes(memory.routers.total)],
      ["generation with one expert", bytes(memory.inference.total)],
    ],
  };
  const overheads = models.map(({ model, experts, training, inference }) => ({
    name: `${model}, E = ${experts}`,
    training: training[1] / training[0],
    inference: inference[1] / inference[0],
  }));
  return {
    id: "costs",
    title: "Costs beside the paper's",
    lead: [
      markup`<p>Counted from the configuration by the paper's formulas. What the mixture costs beyond its experts is
the routers: their training, and the scoring of text by all of them. Small models pay a larger share, as their routers are
not so much smaller than they are.</p>`,
    ],
    plots: [overheadPlot(overheads)],
    after: [
      markup`<p>Below this run stand the seven mixtures of the paper's Table 3, counted by the same formulas.</p>\n`,
      htmlTable(table, "Costs beside those of the paper"),
      htmlTable(exchanged, "Communication"),
      htmlTable(held, "Memory"),
    ],
  };
}
