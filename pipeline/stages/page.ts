/**
 * The node of the page that shows a run. It is made of what lies in the run when somebody asks for
 * it, and is out of date once that has changed.
 *
 *     report/page/     report.html
 *
 * @module
 */

import { task } from "../../kernels/errors.ts";
import { sha256 } from "../graph/files.ts";
import {
  EVALUATION,
  givenNode,
  NAMES,
  type Node,
  nodesAsMade,
  oneByOne,
  readManifest,
  unaskedNode,
  ZERO_SHOT,
} from "../graph/node.ts";
import { zeroShotTasks } from "../evaluation/choices/suite.ts";
import { RESULT } from "./overlap.ts";
import { partsAlone } from "./parts.ts";
import type { GraphOf } from "./stage.ts";

/** Name of the stage. */
export const REPORT = "report";
/** Name of the page's file. */
export const PAGE = "report.html";
const NODE = "report/page";
const REVISION = 1;

/** The page; without it, as it lies in the run. */
export interface PageRequest {
  /** Its text. */
  html?: string;
}

/** Lists the node of the page, after what it shows. */
export async function pageNodes(
  { run }: GraphOf,
  { html }: PageRequest,
): Promise<Node[]> {
  const asked = { name: REPORT, command: task(REPORT, { run }), optional: true };
  if (html === undefined) {
    const manifest = await readManifest(`${run}/${NODE}`).catch(() => null);
    return manifest ? nodesAsMade(manifest, REVISION, asked) : [unaskedNode(NODE, REVISION, asked)];
  }
  // No models: their folders may be cleared once they are evaluated.
  const asking = zeroShotTasks().map((name) => `${ZERO_SHOT}/${name}`);
  const shown = [NAMES, EVALUATION, RESULT, ...asking];
  const present = await Promise.all(
    shown.map(async (name) => await readManifest(`${run}/${name}`).catch(() => null) !== null),
  );
  const needs = shown.filter((_, i) => present[i]);
  return needs.map(givenNode).concat({
    name: NODE,
    needs,
    settings: { html: sha256(html) },
    links: { [PAGE]: PAGE },
    revision: REVISION,
    asked,
    maker: oneByOne(REPORT, async ({ write }) => {
      await write(PAGE, html);
      return {};
    }),
  });
}

/** Gives the page as it lies in a run: one request, also where nobody has asked for it. */
export const pageRequests = async ({ run }: GraphOf): Promise<PageRequest[]> =>
  (await partsAlone(run)).length > 0 ? [] : [{}];
