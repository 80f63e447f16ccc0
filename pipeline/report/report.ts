// Writes the report of a run: one HTML page from whatever its folder holds.

import type { Gpu, OpenGpuOptions } from "../../kernels/device/gpu.ts";
import { wordText } from "../../kernels/errors.ts";
import { readCost } from "../cost/cost.ts";
import { asPositive, isEqual } from "../evaluation/evaluation.ts";
import { PARTITIONERS } from "../partition/partitioners.ts";
import { writeAtomic } from "../graph/files.ts";
import { numberText, rounded } from "../graph/numbers.ts";
import { checkOutput, isSamePlace } from "../run/output.ts";
import { requestGraph } from "../run/plan.ts";
import { makeNodes } from "../run/run.ts";
import type { Lack } from "../run/status.ts";
import { PAGE, pageNodes, REPORT } from "../stages/page.ts";
import { needConfiguration } from "../stages/parts.ts";
import { COMPARED, wayName } from "./charts.ts";
import { type Missing, page, type PageOptions } from "./page.ts";
import { readRun, type RunRecord } from "./read.ts";
import { evaluationSection } from "./sections/evaluation.ts";
import { expertsSection, writeSamples } from "./sections/experts.ts";
import { claimsSection, costsSection } from "./sections/paper.ts";
import { overlapSection, partitionSection } from "./sections/partition.ts";
import { routersSection } from "./sections/routers.ts";
import { trainingSection } from "./sections/training.ts";
import { outOfDateSection, whatRanSection } from "./sections/what_ran.ts";
import { zeroShotSection } from "./sections/zero_shot.ts";

/** Most tokens of the text that an expert writes, unless said. */
export const SAMPLE_TOKENS = 48;

/** Names what to report on, and where to write the report. */
export interface ReportOptions extends PageOptions, OpenGpuOptions {
  /** Run folder. */
  run: string;
  /** File to write; without it `report.html` in the run folder. */
  output?: string;
  /**
   * Most tokens of the text that every expert writes for the page; 0 for none, and no device.
   * Default: 48.
   */
  samples?: number;
  /** An open device on which they write, instead of a new one; it stays open. */
  gpu?: Gpu;
}

/** Names what was written. */
export interface Report {
  /** The page. */
  output: string;
  /** SVG files; none if no folder was named for them. */
  plots: string[];
  /** Parts that the run does not have yet, and the tasks that make them. */
  missing: Missing[];
  /** Stages that are there and no longer of the run as it is, and the tasks that make them anew. */
  outOfDate: Missing[];
}

/** The sections, in their order. */
const SECTIONS = [
  ...[whatRanSection, outOfDateSection, claimsSection, routersSection, partitionSection],
  ...[
    overlapSection,
    expertsSection,
    trainingSection,
    evaluationSection,
    zeroShotSection,
    costsSection,
  ],
];

/**
 * Writes the report of a run as one HTML page, with plots, for light and dark screens of any width;
 * the same run gives the same bytes on one adapter. What the run does not have yet is left out,
 * with a sentence that names the task to run.
 *
 * @throws {InputError} if the folder is not there or not a run's, or if a file in it is not as the
 * run wrote it. Also if the page or a plot cannot be written.
 */
export async function report(options: ReportOptions): Promise<Report> {
  const { run, output = `${run}/${PAGE}`, words, samples: tokens = SAMPLE_TOKENS, ...device } =
    options;
  const record = await readRun(run);
  const isPage = await isSamePlace(output, `${run}/${PAGE}`);
  if (!isPage) await checkOutput(output);
  const data = {
    ...record,
    words,
    cost: await readCost({ run, flops: 1, utilisation: 1 }),
    samples: await writeSamples(run, record.weights, { ...device, tokens }),
    outOfDate: lacksShown(record),
  };
  const frame = {
    title: `SmallTalk run ${record.name}`,
    about: `${splitText(record)}; each part has an expert of its own.`,
    task: "report",
    from: "the files of the run",
    figures: figures(record),
  };
  const { html, plots, missing } = await page(frame, SECTIONS, data, options);
  if (isPage) {
    const graph = requestGraph(run, await needConfiguration(run));
    await makeNodes(run, await pageNodes(graph, { html }), REPORT);
  } else await writeAtomic(output, html);
  const outOfDate = data.outOfDate.map(({ stages, command }) => ({
    part: stages.join(", "),
    command: wordText([command], words),
  }));
  return { output, plots, missing, outOfDate };
}

/**
 * Lists the stages that are there and no longer of the run as it is, with commands for its path as
 * the page names it.
 */
function lacksShown({ lacks, path, evaluation }: RunRecord): Lack[] {
  // Sections tell of what is missing. While a new evaluation is made, or was stopped, the figures
  // of the one before are there.
  const isShown = ({ stages, state }: Lack) =>
    state === "out of date" || state === "damaged" ||
    evaluation !== null && stages.includes("evaluate");
  return lacks.filter(isShown).map(({ command, ...lack }) => ({
    ...lack,
    command: { ...command, with: { ...command.with, run: path } },
  }));
}

/** Reports what split the text of a run. */
function splitText({ config: { configuration: { routers, partitioner } } }: RunRecord): string {
  const kind = PARTITIONERS.get(partitioner);
  return routers !== "" || !kind || kind.models
    ? "Routers split a text by the likelihood of its prefixes"
    : `A text is split without routers: ${kind.about}`;
}

/** Gives the figures at the top of the page: gains, the size of the run, and perplexities. */
function figures({ config, partition, evaluation }: RunRecord): [string, string][] {
  const experts = partition?.experts ?? config.configuration.experts;
  const { gains = [], scores = {}, experts: times = experts } = evaluation ?? {};
  const comparisons = gains.map(({ baseline, ...gain }): [string, string] => {
    const { side, by } = asPositive(gain);
    const name = wayName(baseline, times);
    return isEqual(gain)
      ? ["equal", `perplexities of the mixture and of ${name}`]
      : [`${by.toFixed(1)}% ${side}`, `perplexity of the mixture than of ${name}`];
  });
  comparisons.push([numberText(experts), experts === 1 ? "expert" : "experts"]);
  if (partition) {
    const { tokens, nmi } = partition.train;
    const compact = tokens.toLocaleString("en", {
      notation: "compact",
      maximumSignificantDigits: 3,
    });
    comparisons.push([compact, "training tokens"]);
    if (nmi !== null && experts > 1) {
      comparisons.push([rounded(nmi, 3), "NMI of expert and source"]);
    }
  }
  for (const way of COMPARED.filter((way) => scores[way])) {
    const label = way === "mixture" ? "perplexity of the mixture" : wayName(way, times);
    comparisons.push([scores[way]!.perplexity.toFixed(2), label]);
  }
  return comparisons;
}
