/**
 * Writes the sections of a report: what each part of a run says, in words, plots and tables.
 *
 * @module
 */

import { setting, task, type TaskReference, type Words, wordText } from "../../kernels/errors.ts";
import { type Configuration, FIELD_NAMES, FIELDS } from "../settings/configuration.ts";
import type { Cost } from "../cost/cost.ts";
import type { ModelConfig } from "../model/shape.ts";
import { paperTable, PRINTED_COMMUNICATION } from "../cost/paper.ts";
import {
  type Content,
  type Html,
  htmlTable,
  markup,
  number,
  percent,
  printable,
  scientific,
  scrolled,
  type Table,
  unbroken,
} from "./html.ts";
import { type Plot, wayName } from "./plots.ts";
import {
  gainPlot,
  overheadPlot,
  perplexityPlot,
  prefixPlots,
  segmentPlot,
  sourcePlot,
} from "./plots_evaluation.ts";
import { heatPlot, roundPlots, sharePlot } from "./plots_routing.ts";
import { trainingPlots } from "./plots_training.ts";
import { onlyParts } from "../stages/parts_alone.ts";
import { type Claims, type RunRecord } from "./read.ts";

/** A section of the page. */
export interface Section {
  /** Name, of the anchor too. */
  id: string;
  /** Heading. */
  title: string;
  /** Paragraphs and tables before the plots. */
  lead: Html[];
  /** Plots. */
  plots: Plot[];
  /** What follows them. */
  after: Html[];
}

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
  const found: [string, string][] = [
    [number(experts), experts === 1 ? "expert" : "experts"],
  ];
  if (partition) {
    found.push([compact(partition.whole.train.tokens), "training tokens"]);
    const { nmi } = partition.whole.train;
    if (nmi !== null && experts > 1) found.push([number(round(nmi, 3)), "NMI of expert and source"]);
  }
  if (evaluation) {
    const { mixture } = evaluation.scores;
    if (mixture) found.push([mixture.perplexity.toFixed(2), "perplexity of the mixture"]);
    for (const way of ["dense", "dense-steps"] as const) {
      const score = evaluation.scores[way];
      if (score) found.push([score.perplexity.toFixed(2), wayName(way, evaluation.experts)]);
    }
  }
  return found;
}

const compact = (value: number): string =>
  value.toLocaleString("en", { notation: "compact", maximumSignificantDigits: 3 });
const round = (value: number, digits: number): number => Number(value.toFixed(digits));

// What ran.

function whatRan(run: RunRecord, cost: Cost, words?: Words): Section {
  const { configuration: c, versions, adapter } = run.config;
  const { corpus, tokenize } = run.manifests;
  const tokens = tokenize?.result ?? {};
  const inputs = c.input.length === 0 ? "the embedded corpus" : c.input.map(printable).join(", ");
  const of = (name: string) => typeof tokens[name] === "number" ? number(tokens[name]) : null;
  const facts: [string, Content][] = [
    ["text", inputs],
    [
      "documents",
      of("documents") ??
        (typeof corpus?.result.documents === "number" ? number(corpus.result.documents) : null),
    ],
    [
      "tokens",
      of("tokens") &&
      `${of("tokens")}, of a vocabulary of ${of("vocabulary")}; ${of("trainSequences")} training and ${
        of("testSequences")
      } held-out sequences of at most ${number(c.sequenceLength)}`,
    ],
    ["experts", `${c.experts}, each of ${shape(cost.mixture.expert, cost.parameters.expert)}`],
    [
      "routers",
      `${c.experts}, each of ${shape(cost.mixture.router, cost.parameters.router)}; ${
        c.routers === ""
          ? `${plural(c.rounds, "EM round")}, prefix of ${c.prefix} tokens`
          : `taken from ${printable(c.routers)}`
      }`,
    ],
    ["seed", String(c.seed)],
    ["adapter", adapter ? `${printable(adapter.description)} (${adapter.kind})` : null],
    ["versions", Object.entries(versions ?? {}).map(([name, version]) => `${name} ${version}`).join(", ")],
  ];
  const stages: Table = {
    head: ["stage", "files", "size", "key"],
    rows: Object.values(run.manifests).map(({ stage, outputs, key }) => {
      const files = Object.values(outputs);
      return [
        printable(stage),
        files.length,
        bytes(files.reduce((sum, file) => sum + file.bytes, 0)),
        key.slice(0, 12),
      ];
    }),
  };
  const settings: Table = {
    head: ["setting", "value", "meaning"],
    rows: FIELD_NAMES.filter((name) => name in c).map((name) => [
      unbroken(wordText([setting(name)], words)),
      valueText(c[name]),
      unbroken(wordText(FIELDS[name].help, words)),
    ]),
  };
  return {
    id: "what-ran",
    title: "What ran",
    lead: [
      markup`<dl>\n${
        facts.filter(([, value]) => value !== null && value !== "")
          .map(([name, value]) => markup`<dt>${name}</dt><dd>${value}</dd>\n`)
      }</dl>\n`,
      markup`<details><summary>All settings</summary>${htmlTable(settings, "Settings")}</details>`,
      markup`<details><summary>Stages that are complete</summary>${htmlTable(stages, "Stages")}</details>`,
    ],
    plots: [],
    after: [],
  };
}

function shape({ hidden, layers, heads }: ModelConfig, parameters: number): string {
  return `${number(parameters)} parameters (width ${hidden}, ${plural(layers, "layer")}, ${
    plural(heads, "head")
  })`;
}

function valueText(value: Configuration[keyof Configuration]): string {
  if (Array.isArray(value)) return value.length === 0 ? "none" : printable(value.join(", "));
  return value === "" ? "none" : printable(String(value));
}

// Claims.

function claims({ claims: rows, search, trialShare }: Claims): Section {
  const verdict = (holds: boolean | null) =>
    holds === null
      ? markup`<span class="open">–</span>`
      : holds
      ? markup`<span class="yes">✓ holds</span>`
      : markup`<span class="no">✗ does not</span>`;
  const headings = ["claim", "paper", "here", "holds"].map((text) => markup`<th scope="col">${text}</th>`);
  const body = rows.map(({ claim, paper, here, holds }) =>
    markup`<tr><td>${claim}</td><td>${paper}</td><td>${here}</td><td>${verdict(holds)}</td></tr>\n`
  );
  const table = markup`<table class="claims">
<thead><tr>${headings}</tr></thead>
<tbody>
${body}</tbody>
</table>`;
  return {
    id: "claims",
    title: "The paper's claims, and this run",
    lead: [scrolled(table, "Claims"), ...(search ? [searches(search, trialShare)] : [])],
    plots: [],
    after: [],
  };
}

function searches(search: NonNullable<Claims["search"]>, share?: number): Html {
  const trials: Table = {
    head: ["model", "learning rate", "held-out loss, nats per token", ""],
    rows: Object.entries(search).flatMap(([model, found]) =>
      [...found.trials].sort((a, b) => a.rate - b.rate).map(({ rate, validationLoss }) => [
        model,
        rate,
        validationLoss ?? "diverged",
        rate === found.rate ? "taken" : null,
      ])
    ),
  };
  const length = share === undefined ? "" : ` on ${percent(share)} of the training`;
  return markup`<details><summary>Learning rates that were tried${length}</summary>${
    htmlTable(trials, "Learning rates that were tried")
  }</details>\n`;
}

// Rounds.

function rounds(run: RunRecord, lacks: Lacks): Section {
  const section = { id: "rounds", title: "Routers, by expectation maximisation", after: [] };
  if (run.rounds.length === 0) {
    const { routers } = run.config.configuration;
    const lead = routers === ""
      ? lacks("The record of router training", "train-routers")
      : markup`<p>The routers were taken from <code>${
        printable(routers)
      }</code>; their rounds are recorded there.</p>`;
    return { ...section, lead: [lead], plots: [] };
  }
  const last = run.rounds.at(-1)!;
  if (last.shares.length === 1) {
    const trained = plural(run.rounds.length, "round");
    const nll = number(last.nllPerToken);
    const lead =
      markup`<p>One router trained in ${trained}; after the last one a prefix token costs ${nll} nats. With one
router there is nothing to route: shares, agreement with sources and the cost of balance are left out.</p>`;
    return { ...section, lead: [lead], plots: roundPlots(run.rounds) };
  }
  return {
    ...section,
    lead: [
      markup`<p>In each of ${plural(run.rounds.length, "round")} every router trained on the sequences that it
predicts best, loads kept equal, and new sequences were scored. After the last one a prefix token costs
${number(last.nllPerToken)} nats${
        last.nmi === null ? "" : `, and NMI with the sources is ${number(round(last.nmi, 3))}`
      }.</p>`,
    ],
    plots: roundPlots(run.rounds),
  };
}

// Partition.

function partition(run: RunRecord, lacks: Lacks): Section {
  const section = { id: "partition", title: "Partition" };
  if (!run.partition) {
    return { ...section, lead: [lacks("The partition", "partition")], plots: [], after: [] };
  }
  const { whole, parts } = run.partition;
  const { train } = whole;
  const loads: Table = {
    head: ["expert", "sequences", "tokens", "held-out sequences", "held-out tokens"],
    rows: parts.map((part) => [
      part.expert,
      part.train.sequences,
      part.train.tokens,
      part.test?.sequences ?? null,
      part.test?.tokens ?? null,
    ]),
  };
  const after = [
    markup`<details><summary>Loads</summary>${htmlTable(loads, "Loads of the experts")}</details>`,
  ];
  if (whole.experts === 1) {
    const sequences = plural(train.sequences, "training sequence");
    const lead =
      markup`<p>${sequences}, all for the one expert; shares and sources by expert are left out.</p>`;
    return { ...section, lead: [lead], plots: [], after };
  }
  const sources = new Set(parts.flatMap(({ train }) => train.sources.map(({ source }) => source)));
  return {
    ...section,
    lead: [
      markup`<p>${
        plural(train.sequences, "training sequence")
      } in equal parts, one for each expert. The largest part has ${
        percent(train.tokenImbalance)
      } more tokens than the mean; ${
        train.nmi === null
          ? "the text has no two sources to compare experts with, so that no plot shows them"
          : `NMI of expert and source is ${number(round(train.nmi, 3))}`
      }${
        train.regret === null
          ? null
          : `, and balance costs ${number(round(train.regret, 4))} nats per prefix token`
      }.</p>`,
    ],
    plots: [sharePlot(whole), ...(sources.size > 1 ? [heatPlot(parts)] : [])],
    after,
  };
}

// Training.

function training(run: RunRecord, lacks: Lacks): Section {
  const section = { id: "training", title: "Training" };
  const experts = run.partition?.whole.experts ?? run.config.configuration.experts;
  const has = (model: string) => run.curves.some((curve) => curve.model === model);
  const trained = run.curves.filter(({ expert }) => expert !== null).length;
  const notes: Html[] = [];
  if (run.alone.length > 0) {
    for (const expert of run.alone.filter((expert) => !run.curves.some((curve) => curve.expert === expert))) {
      notes.push(lacks(`Training of expert ${expert}`, "train-expert", { expert }));
    }
  } else if (trained < experts) {
    const part = trained === 0
      ? "Training of the experts"
      : `Training of ${experts - trained} of the ${experts} experts`;
    notes.push(lacks(part, "train-expert", { expert: "all" }));
  }
  if (!has("dense")) {
    notes.push(lacks(`The dense baseline with ${experts} times the batch`, "train-dense"));
  }
  if (!has("dense-steps")) {
    notes.push(
      lacks(`The dense baseline with ${experts} times the steps`, "train-dense", { match: "steps" }),
    );
  }
  if (run.curves.length === 0) return { ...section, lead: notes, plots: [], after: [] };
  return {
    ...section,
    lead: [
      markup`<p>${
        experts === 1
          ? "The one expert and the dense models have the same shape, see the same tokens and take the same steps."
          : `Every expert trains alone, on its part. Expert and dense models have the same shape, so the same cost of
inference; a dense model sees all the tokens, in batches ${experts} times as large or in ${experts} times the steps.`
      } The steep beginning of the curves is cut off.</p>`,
      ...notes,
    ],
    plots: trainingPlots(run.curves, experts),
    after: [],
  };
}

// Evaluation.

function evaluation(run: RunRecord, lacks: Lacks): Section {
  const section = { id: "evaluation", title: "Held-out text" };
  const measured = run.evaluation;
  if (!measured) return { ...section, lead: [lacks("The evaluation", "evaluate")], plots: [], after: [] };
  const { gains, experts, documents, sequences, tokens, prefix, resamples } = measured;
  const routes = experts > 1;
  const compares = measured.sources.length > 1;
  const gainText = gains.map(({ baseline, percent, low, high }) => {
    const side = percent >= 0 ? "lower" : "higher";
    const [from, to] = percent >= 0 ? [low, high] : [-high, -low];
    const digits = (value: number) => value.toFixed(1).replace("-", "−");
    if (percent === 0 && low === 0 && high === 0) {
      return markup` Its perplexity is <strong>equal</strong> to that of ${wayName(baseline, experts)}.`;
    }
    return markup` Its perplexity is <strong>${digits(Math.abs(percent))}% ${side}</strong> than that of ${
      wayName(baseline, experts)
    } (95% interval ${digits(from)} to ${digits(to)}).`;
  });
  return {
    ...section,
    lead: [
      markup`<p>${plural(tokens, "token")} of ${plural(sequences, "sequence")} in ${
        plural(documents, "document")
      } that no model was trained on. ${
        routes
          ? `The mixture routes each sequence by its first ${prefix} tokens and runs one expert.`
          : "The mixture is its one expert."
      }${gainText} Intervals
are of ${plural(resamples, "bootstrap resample")} of the documents.</p>`,
      ...(routes && compares ? [] : [
        markup`<p>${
          routes ? null : "With one expert there are no segments, and no routing prefix to vary. "
        }${compares ? null : "The text has no two sources to compare. "}Plots of these are left out.</p>`,
      ]),
    ],
    plots: [
      perplexityPlot(measured),
      ...(gains.length > 0 ? [gainPlot(measured)] : []),
      ...(routes && measured.segments.some(({ perplexity }) => typeof perplexity.mixture === "number")
        ? [segmentPlot(measured)]
        : []),
      ...(compares ? [sourcePlot(measured)] : []),
      ...(routes ? prefixPlots(measured) : []),
    ],
    after: [],
  };
}

// Costs.

const arrow = (from: number, to: number): string => `${from.toFixed(2)}\u00a0→\u00a0${to.toFixed(2)}`;

function costs(run: RunRecord, { flops, communication, memory, mixture }: Cost): Section {
  const rows = paperTable();
  const ratio = (part: number, whole: number) => whole === 0 ? "–" : percent(part / whole, 2);
  const measured = run.evaluation?.scores;
  const perplexities = measured?.mixture && measured.dense
    ? arrow(measured.dense.perplexity, measured.mixture.perplexity)
    : null;
  const table: Table = {
    head: [
      "model",
      "E",
      "training, FLOPs",
      "overhead",
      "share",
      "inference, FLOPs",
      "overhead",
      "share",
      "perplexity, dense → mixture",
    ],
    rows: [
      [
        "this\u00a0run",
        mixture.experts,
        scientific(flops.experts),
        scientific(flops.overhead),
        ratio(flops.overhead, flops.experts),
        scientific(flops.inference),
        scientific(flops.inferenceOverhead),
        ratio(flops.inferenceOverhead, flops.inference),
        perplexities,
      ],
      ...rows.map(({ model, experts, counted, perplexity }) => [
        model,
        experts,
        scientific(counted.training * 1e19),
        scientific(counted.trainingOverhead * 1e19),
        ratio(counted.trainingOverhead, counted.training),
        scientific(counted.inference * 1e12),
        scientific(counted.inferenceOverhead * 1e12),
        ratio(counted.inferenceOverhead, counted.inference),
        arrow(perplexity.dense, perplexity.mixture),
      ]),
    ],
  };
  const paper = PRINTED_COMMUNICATION;
  const exchanged: Table = {
    head: ["communication", "this run", "paper, 1.3B, E = 32"],
    rows: [
      ["exchanges of scores in router training", String(communication.exchanges), String(paper.exchanges)],
      [
        "sent and received per router and exchange",
        bytes(communication.bytesPerExchange),
        bytes(paper.bytesPerExchange),
      ],
      ["the same for the scores of the corpus, once", bytes(communication.corpusBytes), null],
      ["exchanged while experts train", bytes(0), bytes(0)],
      [
        "data-parallel dense training, per node and step",
        bytes(communication.denseBytesPerStep),
        bytes(paper.denseBytesPerStep),
      ],
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
  const plotted = [
    {
      name: `this run, E = ${mixture.experts}`,
      training: flops.overhead / flops.experts,
      inference: flops.inferenceOverhead / flops.inference,
    },
    ...rows.map(({ model, experts, counted }) => ({
      name: `${model}, E = ${experts}`,
      training: counted.trainingOverhead / counted.training,
      inference: counted.inferenceOverhead / counted.inference,
    })),
  ];
  return {
    id: "costs",
    title: "Costs beside the paper's",
    lead: [
      markup`<p>Counted from the configuration by the paper's formulas. What the mixture costs beyond its experts is
the routers: their training, and the scoring of text by all of them. Small models pay a larger share, as their routers are
not so much smaller than they are.</p>`,
    ],
    plots: [overheadPlot(plotted)],
    after: [
      markup`<p>Below this run stand the seven mixtures of the paper's Table 3, counted by the same formulas.</p>\n`,
      htmlTable(table, "Costs beside those of the paper"),
      htmlTable(exchanged, "Communication"),
      htmlTable(held, "Memory"),
    ],
  };
}
