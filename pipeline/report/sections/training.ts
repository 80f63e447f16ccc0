/**
 * The section of a report on the training of experts and dense models.
 *
 * @module
 */

import { BASELINE_NOTES } from "../../evaluation/baselines.ts";
import { denseTargets } from "../../stages/train_dense.ts";
import type { Way } from "../../evaluation/evaluation.ts";
import { secondsOf } from "../../run/timing.ts";
import { routingOf, trainResult } from "../../stages/training_result.ts";
import { foldedTable, type Html, htmlTable, markup, percent, type Table } from "../html.ts";
import { expertName, wayName } from "../plots.ts";
import { trainingPlots } from "../plots_training.ts";
import type { RunRecord } from "../read.ts";
import type { Section } from "../section.ts";
import { bytes, type Lacks, rough, shape, spent } from "./words.ts";

/** Writes the section: the curves of all trainings, and which are missing. */
export function trainingSection(
  record: RunRecord,
  lacks: Lacks,
): Section {
  const { partition, config, curves, times, alone, adopted } = record;
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
  const speeds: Table = {
    head: ["model", "steps", "tokens", "time", "tokens/s"],
    rows: curves.map(({ model, expert, points }) => {
      const { step, tokens } = points.at(-1)!;
      const seconds = secondsOf(times, `train-${model}`);
      const name = expert === null ? wayName(model as Way, experts) : expertName(expert);
      const speed = typeof seconds === "number" && seconds > 0 ? rough(tokens / seconds) : null;
      return [name, step, tokens, spent(seconds), speed];
    }),
  };
  return {
    ...section,
    plots: trainingPlots(curves, experts),
    after: [...switchRouting(record), foldedTable(speeds, "Time of trainings", "Time and speed")],
  };
}

/**
 * Writes how the Switch Transformer chose experts for tokens at the beginning, in the middle and at the end of its training, and what
 * memory it takes beside the mixture; nothing where none is trained.
 */
function switchRouting({ curves, manifests, config, path }: RunRecord): Html[] {
  const points = curves.find(({ model }) => model === "switch")?.points ?? [];
  const lines = points.flatMap(({ step, reports }) => reports ? [{ step, reports }] : []);
  if (lines.length === 0) return [];
  const { expertLayers: layers } = config.configuration;
  const shown = [...new Set([0, lines.length >> 1, lines.length - 1])].map((i) => lines[i]);
  const table: Table = {
    head: ["step", "balance", "tokens that no expert took"],
    rows: shown.map(({ step, reports }) => {
      const { balance, dropped } = routingOf(reports, { layers });
      return [step, balance.toFixed(3), percent(dropped)];
    }),
  };
  const made = manifests["train-switch"];
  const memory = made && trainResult(made, path).cost?.memory;
  return [
    markup`<p>How the Switch Transformer chose an expert for every token, over all layers. The balance is 1 where every
expert gets as many tokens, and the number of experts where one gets all. Tokens beyond what an expert takes in training are
taken by none.${
      memory
        ? ` To generate, it takes ${bytes(memory.inference)} of memory, ${
          memory.routing
            ? `the mixture ${bytes(memory.expertInference + memory.routing)}: one expert and all routers`
            : `one expert ${bytes(memory.expertInference)}`
        }.`
        : null
    }</p>\n`,
    htmlTable(table, "Routing in the Switch Transformer"),
  ];
}
