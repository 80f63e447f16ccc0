/**
 * The section of a report on costs, beside those that the paper prints.
 *
 * @module
 */

import type { Cost } from "../../cost/cost.ts";
import { paperTable, PRINTED_COMMUNICATION } from "../../cost/paper.ts";
import { htmlTable, markup, percent, scientific, type Table } from "../html.ts";
import { overheadPlot } from "../plots_evaluation.ts";
import type { RunRecord } from "../read.ts";
import type { Section } from "../section.ts";
import { bytes } from "./words.ts";

/** Writes the section: FLOPs, bytes exchanged and memory, beside the seven mixtures of the paper. */
export function costsSection(
  { evaluation }: RunRecord,
  { flops, communication, memory, mixture }: Cost,
): Section {
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
  const hasRouters = mixture.routers > 0;
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
      ...hasRouters
        ? [
          [
            "exchanges of scores in router training",
            String(communication.exchanges),
            String(paper.exchanges),
          ],
          [perExchange, bytes(communication.bytesPerExchange), bytes(paper.bytesPerExchange)],
          ["the same for the scores of the corpus, once", bytes(communication.corpusBytes), null],
        ]
        : [],
      ["exchanged while experts train", bytes(0), bytes(0)],
      [perStep, bytes(communication.denseBytesPerStep), bytes(paper.denseBytesPerStep)],
    ],
  };
  const held: Table = {
    head: ["memory on a device", "this run"],
    rows: [
      ["training of one expert", bytes(memory.expert.total)],
      ...hasRouters ? [["training of all routers side by side", bytes(memory.routers.total)]] : [],
      ["generation with one expert", bytes(memory.inference.total)],
      ...hasRouters
        ? [[
          "generation, with the routers that choose it",
          bytes(memory.inference.total + memory.routing.total),
        ]]
        : [],
    ],
  };
  // A share of nothing has no place on a logarithmic axis.
  const overheads = models.slice(hasRouters ? 0 : 1).map(({ model, experts, training, inference }) => ({
    name: `${model}, E = ${experts}`,
    training: training[1] / training[0],
    inference: inference[1] / inference[0],
  }));
  return {
    id: "costs",
    title: "Costs beside the paper's",
    lead: [
      hasRouters
        ? markup`<p>Counted from the configuration by the paper's formulas. What the mixture costs beyond its experts is
the routers: their training, and the scoring of text by all of them. Small models pay a larger share, as their routers are
not so much smaller than they are.</p>`
        : markup`<p>Counted from the configuration by the paper's formulas. This run splits text without models: what
that costs is not counted. What routers cost is shown for the mixtures of the paper.</p>`,
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
