/**
 * Writes the report of a run: one HTML page from whatever its folder holds.
 *
 * @module
 */

import type { Gpu, OpenGpuOptions } from "../../kernels/device/gpu.ts";
import type { Words } from "../../kernels/errors.ts";
import { readCost } from "../cost/cost.ts";
import { PARTITIONERS } from "../partition/partitioners.ts";
import { exists, writeAtomic } from "../run/files.ts";
import { checkOutput, isSamePlace } from "../stages/output.ts";
import { type Lack, lacksOf, statusOf } from "../stages/status.ts";
import { writePages } from "../run/manifest.ts";
import { type DrawOptions, drawPlots } from "./drawn.ts";
import { page } from "./page.ts";
import { readRun, type RunRecord } from "./read.ts";
import { writeSamples } from "./samples.ts";
import { type Missing, sectionsOf } from "./sections.ts";
import { MOST_EXPERTS } from "./sections/experts.ts";

/** The page, by its path in the run folder. */
const PAGE = "report.html";

/** Most tokens of the text that an expert writes, unless said. */
export const SAMPLE_TOKENS = 48;

/** Names what to report on, and where to write the report. */
export interface ReportOptions extends DrawOptions, OpenGpuOptions {
  /** Run folder. */
  run: string;
  /** File to write; without it `report.html` in the run folder. */
  output?: string;
  /** Most tokens of the text that every expert writes for the page; 0 for none, and no device. Default: 48. */
  samples?: number;
  /** An open device on which they write, instead of a new one; it stays open. */
  gpu?: Gpu;
  /** Words settings and tasks on the page. Default: as a library names them. */
  words?: Words;
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

/**
 * Writes the report of a run as one HTML page, with plots, for light and dark screens of any width; the same run gives the
 * same bytes on one adapter. What the run does not have yet is left out, with a sentence that names the task to run.
 *
 * @throws {InputError} if the folder is not there or not a run's, if a file in it is not as the run wrote it, or if the page
 * or a plot cannot be written.
 */
export async function report(options: ReportOptions): Promise<Report> {
  const { run, output = `${run}/${PAGE}`, words, samples: tokens = SAMPLE_TOKENS, ...rest } = options;
  const record = await readRun(run);
  const isPage = await isSamePlace(output, `${run}/${PAGE}`);
  if (!isPage) await checkOutput(output);
  const cost = await readCost({ run, flops: 1, utilisation: 1 });
  const experts = await expertsThatLieIn(run, record);
  const samples = await writeSamples(run, experts.slice(0, MOST_EXPERTS), { ...rest, tokens });
  const outOfDate = await outOfDateOf(run, record);
  const sections = sectionsOf(record, cost, { words, samples, outOfDate });
  const { drawn, files } = await drawPlots(sections.sections, options);
  const frame = {
    title: `SmallTalk run ${record.name}`,
    about: `${splitOf(record)}; each part has an expert of its own.`,
    task: "report",
    from: "the files of the run",
  };
  const text = page(frame, sections, drawn, words);
  // Parts that lie without their run have no manifests, and are known by that.
  if (isPage && record.alone.length === 0) {
    await writePages(run, "report", { [PAGE]: text });
  } else await writeAtomic(output, text);
  return { output, plots: files, missing: sections.missing, outOfDate: sections.outOfDate };
}

/** Lists the stages that are there and no longer of the run as it is, with commands for its path as the page names it. */
async function outOfDateOf(run: string, { path, evaluation }: RunRecord): Promise<Lack[]> {
  // Sections tell of what is missing. While a new evaluation is made, or was stopped, the figures of the one before are there.
  const isShown = ({ stages, state }: Lack) =>
    state === "out of date" || state === "damaged" || evaluation !== null && stages.includes("evaluate");
  return lacksOf((await statusOf(run)).stages).filter(isShown)
    .map(({ command, ...lack }) => ({
      ...lack,
      command: { ...command, with: { ...command.with, run: path } },
    }));
}

/** Says what split the text of a run. */
function splitOf({ config: { configuration: { routers, partitioner } } }: RunRecord): string {
  const kind = PARTITIONERS.get(partitioner);
  return routers !== "" || !kind || kind.models
    ? "Routers split a text by the likelihood of its prefixes"
    : `A text is split without routers: ${kind.about}`;
}

/** Lists the experts whose weights lie in a run, by id. */
async function expertsThatLieIn(run: string, { manifests }: RunRecord): Promise<number[]> {
  const found: number[] = [];
  for (const { stage, outputs } of Object.values(manifests)) {
    const [, id] = /^train-expert-(\d+)$/.exec(stage) ?? [];
    if (id === undefined) continue;
    const there = await Promise.all(Object.keys(outputs).map((path) => exists(`${run}/${path}`)));
    if (!there.includes(false)) found.push(Number(id));
  }
  return found.sort((a, b) => a - b);
}
