/**
 * Writes the sections of a report: what each part of a run shows, in words, plots and tables.
 *
 * @module
 */

import { task, type Words, wordText } from "../../kernels/errors.ts";
import type { Cost } from "../cost/cost.ts";
import { isEqual, sideOf } from "../evaluation/evaluation.ts";
import { onlyParts } from "../stages/parts_alone.ts";
import type { Lack } from "../stages/status.ts";
import { markup, number, unbroken } from "./html.ts";
import { COMPARED, wayName } from "./plots.ts";
import type { RunRecord } from "./read.ts";
import type { Samples } from "./samples.ts";
import type { Section } from "./section.ts";
import { claimsSection } from "./sections/claims.ts";
import { costsSection } from "./sections/costs.ts";
import { evaluationSection } from "./sections/evaluation.ts";
import { expertsSection } from "./sections/experts.ts";
import { outOfDateSection } from "./sections/out_of_date.ts";
import { partitionSection } from "./sections/partition.ts";
import { routersSection } from "./sections/routers.ts";
import { trainingSection } from "./sections/training.ts";
import { whatRanSection } from "./sections/what_ran.ts";
import { zeroShotSection } from "./sections/zero_shot.ts";
import { type Lacks, rounded } from "./sections/words.ts";

/** A part that a run does not have yet, or that is not up to date. */
export interface Missing {
  /** What that is. */
  part: string;
  /**
   * The command that makes it; undefined where only parts of the run lie here and the task needs the whole
   * run.
   */
  command?: string;
}

/** The contents of a report. */
export interface Sections {
  /** The figures at the top: a value, and what it is. */
  figures: [value: string, label: string][];
  /** The sections, in their order. */
  sections: Section[];
  /** Parts that are missing. */
  missing: Missing[];
  /** Stages that are not up to date. */
  outOfDate: Missing[];
}

/**
 * Writes everything that the files of a run tell, its experts' samples, and which stages are not up to date; `words` says how settings
 * and tasks are worded.
 */
export function sectionsOf(
  run: RunRecord,
  cost: Cost,
  { words, samples, outOfDate = [] }: { words?: Words; samples?: Samples; outOfDate?: readonly Lack[] } = {},
): Sections {
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
    whatRanSection(run, cost, words),
    ...outOfDateSection(outOfDate, words),
    ...(run.reproduction ? [claimsSection(run.reproduction)] : []),
    routersSection(run, lacks),
    partitionSection(run, lacks),
    ...expertsSection(run, samples),
    trainingSection(run, lacks),
    evaluationSection(run, lacks),
    ...zeroShotSection(run),
    costsSection(run, cost),
  ];
  const again = outOfDate.map(({ stages, command }) => ({
    part: stages.join(", "),
    command: wordText([command], words),
  }));
  return { figures: figures(run), sections, missing, outOfDate: again };
}

function figures({ config, partition, evaluation }: RunRecord): [string, string][] {
  const experts = partition?.whole.experts ?? config.configuration.experts;
  const found: [string, string][] = [];
  for (const { baseline, ...gain } of evaluation?.gains ?? []) {
    const { side, by } = sideOf(gain);
    const name = wayName(baseline, evaluation!.experts);
    found.push(
      isEqual(gain)
        ? ["equal", `perplexities of the mixture and of ${name}`]
        : [`${by.toFixed(1)}% ${side}`, `perplexity of the mixture than of ${name}`],
    );
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
