/**
 * The nodes of what is exported from a run for other trainers and tools. An export holds all that
 * it was made of in its settings, so it needs no other node.
 *
 *     export/NAME/     files in the format of another trainer
 *
 * @module
 */

import { task } from "../../kernels/errors.ts";
import {
  GIVEN,
  givenNode,
  type Making,
  type Node,
  nodesIn,
  oneByOne,
  type Work,
} from "../graph/node.ts";
import type { GraphOf } from "./stage.ts";

/** Name of the stage, and of the folder of its nodes. */
export const EXPORT = "export";

/** An export: as it lies in the run, or what it is made of and how. */
export interface ExportRequest {
  /** Name of its node. */
  name: string;
  /** How it is made, if it is. */
  recipe?: {
    /** What it is made of. */
    settings: Readonly<Record<string, unknown>>;
    /** Fills its folder. */
    write: (making: Making, work: Work) => Promise<Record<string, unknown>>;
  };
}

/** Lists the node of an export. */
export function exportNodes(
  { run }: Pick<GraphOf, "run">,
  { name, recipe }: ExportRequest,
): Node[] {
  const asked = { name: EXPORT, command: task(EXPORT, { run }), optional: true };
  if (!recipe) return [{ ...givenNode(name), asked, maker: { ...GIVEN, stage: EXPORT } }];
  const { settings, write } = recipe;
  return [{ name, needs: [], settings, revision: 1, asked, maker: oneByOne(EXPORT, write) }];
}

/** Lists the exports that lie in a run. */
export const exportRequests = async ({ run }: GraphOf): Promise<ExportRequest[]> =>
  await Array.fromAsync(nodesIn(run, EXPORT), (name) => ({ name }));
