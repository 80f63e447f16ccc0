/**
 * Draws the plots of a page, for wide and narrow screens, and as files of their own.
 *
 * @module
 */

import { writeAtomic } from "../run/files.ts";
import type * as Draw from "./draw.ts";
import type { Plot } from "./plots.ts";
import type { Section } from "./section.ts";
import { adaptive } from "./theme.ts";

/** Width of a full plot, in pixels. */
export const FULL_WIDTH = 720;
/** Width of a half plot, and of a full plot on a narrow page. */
export const HALF_WIDTH = 348;

/** A drawn plot: for a wide page, and for a narrow one if that differs. */
export interface Drawn {
  /** The plot. */
  plot: Plot;
  /** SVG for a wide page. */
  wide: string;
  /** SVG for a narrow page; none where the wide one serves. */
  narrow?: string;
}

/** How plots are drawn. */
export interface DrawOptions {
  /** Folder that gets each plot as an SVG file of its own, on light paper or, on a dark screen, dark. */
  plots?: string;
  /** Ends the work. */
  signal?: AbortSignal;
  /** Called with what seems wrong in a plot. */
  onWarning?: (message: string) => void;
}

// A variable, so that Vega is loaded only here and not by everything that imports this file.
const DRAW = "./draw.ts";

/** Draws all plots of the sections; gives them by name, and the files that were written. */
export async function drawPlots(
  sections: readonly Section[],
  { plots: folder, signal, onWarning }: DrawOptions,
): Promise<{ drawn: Map<string, Drawn>; files: string[] }> {
  const { drawPlot }: typeof Draw = await import(DRAW);
  const drawn = new Map<string, Drawn>();
  const files: string[] = [];
  for (const plot of sections.flatMap(({ plots = [] }) => plots)) {
    signal?.throwIfAborted();
    const draw = (width: number, id: string, titled = false) =>
      drawPlot(plot, { width, id, titled, onWarning: (text) => onWarning?.(`plot ${plot.id}: ${text}`) });
    const width = plot.size === "full" ? FULL_WIDTH : HALF_WIDTH;
    const wide = await draw(width, plot.id);
    const narrow = plot.size === "full" ? await draw(HALF_WIDTH, `${plot.id}-n`) : undefined;
    drawn.set(plot.id, { plot, wide, narrow });
    if (folder !== undefined) {
      const path = `${folder}/${plot.id}.svg`;
      await writeAtomic(path, adaptive(await draw(width + 32, plot.id, true)) + "\n");
      files.push(path);
    }
  }
  return { drawn, files };
}
