/**
 * A section of a page: words, plots and tables.
 *
 * @module
 */

import type { Html } from "./html.ts";
import type { Plot } from "./plots.ts";

/** A section of the page. */
export interface Section {
  /** Name, of the anchor too. */
  id: string;
  /** Heading. */
  title: string;
  /** Paragraphs and tables before the plots. */
  lead: Html[];
  /** Plots. */
  plots?: Plot[];
  /** What follows them. */
  after?: Html[];
}
