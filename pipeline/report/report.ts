/**
 * Writes the report of a run: one HTML page from whatever its folder holds.
 *
 * @module
 */

import type { Words } from "../../kernels/errors.ts";
import { readCost } from "../cost/cost.ts";
import { writeAtomic } from "../run/files.ts";
import type * as Draw from "./draw.ts";
import { type Drawn, FULL_WIDTH, HALF_WIDTH, page } from "./page.ts";
import { readRun } from "./read.ts";
import { type Missing, sectionsOf } from "./sections.ts";
import { LIGHT, withValues } from "./theme.ts";

/** Says what to report on, and where to. */
export interface ReportOptions {
  /** Run folder. */
  run: string;
  /** File to write; without it `report.html` in the run folder. */
  output?: string;
  /** Folder that gets each plot as an SVG file of its own, on light paper. */
  plots?: string;
  /** Words settings and tasks on the page. Default: as a library names them. */
  words?: Words;
  /** Ends the work. */
  signal?: AbortSignal;
  /** Hears what seems wrong with a plot. */
  onWarning?: (message: string) => void;
}

/** Says what was written. */
export interface Report {
  /** The page. */
  output: string;
  /** SVG files, none where no folder was named. */
  plots: string[];
  /** Parts that the run does not have yet, and the tasks that make them. */
  missing: Missing[];
}

// A variable, so that Vega is loaded here and now, not with whatever imports this file.
const DRAW = "./draw.ts";

/**
 * Writes the report of a run as one HTML page, with plots, for light and dark screens of any width; the same run gives the
 * same bytes. What the run does not have yet is left out, with a sentence that names the task to run.
 *
 * @throws {InputError} if the folder is not there or not a run's, if a file in it is not as the run wrote it, or if the page
 * or a plot cannot be written.
 */
export async function report(options: ReportOptions): Promise<Report> {
  const { run, output = `${run}/report.html`, plots: folder, words, signal, onWarning } = options;
  const record = await readRun(run);
  const cost = await readCost({ run, flops: 1, utilisation: 1 });
  const sections = sectionsOf(record, cost, words);
  const { drawPlot }: typeof Draw = await import(DRAW);

  const drawn = new Map<string, Drawn>();
  const files: string[] = [];
  for (const plot of sections.sections.flatMap(({ plots = [] }) => plots)) {
    signal?.throwIfAborted();
    const draw = (width: number, id: string, titled = false) =>
      drawPlot(plot, { width, id, titled, onWarning: (text) => onWarning?.(`plot ${plot.id}: ${text}`) });
    const width = plot.size === "full" ? FULL_WIDTH : HALF_WIDTH;
    const wide = await draw(width, plot.id);
    const narrow = plot.size === "full" ? await draw(HALF_WIDTH, `${plot.id}-n`) : undefined;
    drawn.set(plot.id, { plot, wide, narrow });
    if (folder !== undefined) {
      const path = `${folder}/${plot.id}.svg`;
      await writeAtomic(path, withValues(await draw(width + 32, plot.id, true), LIGHT) + "\n");
      files.push(path);
    }
  }
  await writeAtomic(output, page(record.name, sections, drawn, words));
  return { output, plots: files, missing: sections.missing };
}
