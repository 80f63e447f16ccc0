/**
 * The graph of a run: which folders it has, and what each is made of.
 *
 * @module
 */

import { InputError, say, setting } from "../../kernels/errors.ts";
import type { Node } from "../graph/node.ts";
import { checkLimit } from "../text/documents.ts";
import { OFF } from "../text/inputs.ts";
import type { Configuration } from "../settings/configuration.ts";
import { readDerivation } from "./derivation.ts";
import { recordedText } from "./documents.ts";
import { STAGES } from "./stages.ts";
import { type GivenText, lookAtText, type Text } from "./text.ts";

/** The nodes of a run, and the text that they are of. */
export interface Plan {
  /** What is known of the text. */
  text: Text;
  /**
   * The nodes, each after those that it needs. Where text must be unpacked first, only the nodes that do that: then the others are known.
   */
  nodes: Node[];
  /** Whether these are all nodes. */
  complete: boolean;
}

/** How a graph is found. */
export interface GraphOptions {
  /** Text that is handed over. */
  given?: GivenText;
  /** Whether hashes of files are kept in the run, so that a second look is fast. */
  keep?: boolean;
  /** Whether sizes and times of files that were seen before are not believed. */
  check?: boolean;
  /** Whether text, and what settings name elsewhere, is taken to be what the run was made of: nobody looks at it. */
  recorded?: boolean;
}

/** Gives the graph of a run's partition, and what its stages make on request. */
export async function partitionGraph(
  run: string,
  configuration: Configuration,
  { given = {}, keep = false, check = false, recorded = false }: GraphOptions = {},
): Promise<Plan> {
  const derivation = await readDerivation(run);
  if (derivation && !derivation.relearned) {
    const { derivedNodes, derivedText } = await import("./derived.ts");
    const text = await derivedText(run, configuration, derivation, { keep, check, recorded });
    if (!text.blocks) return { text, nodes: text.unpacked, complete: false };
    return { text, nodes: await derivedNodes(configuration, derivation, text), complete: true };
  }
  checkLabels(configuration);
  checkLimit(configuration);
  const text = recorded
    ? await recordedText(run, configuration)
    : await lookAtText(run, configuration, given, { keep, check });
  const { blocks, unpacked } = text;
  if (!blocks) { // what settings name is read all the same, before anything is made
    const { levels, prices } = configuration;
    if (levels.length === 0 && !recorded) await (await import("./assign.ts")).readNamedPrices(prices);
    return { text, nodes: unpacked, complete: false };
  }
  const nodes: Node[] = [], of = { configuration, text, blocks, recorded };
  for (const stage of STAGES.values()) nodes.push(...await stage.nodes?.(of) ?? []);
  return { text, nodes, complete: true };
}

/** Throws an `InputError` where text is to be split by labels that nothing tells. */
function checkLabels({ partitioner, routers, input, sourceField, sourceFromPath }: Configuration): void {
  if (partitioner !== "source" || routers !== "" || input.length === 0) return;
  if (sourceField !== "" || sourceFromPath !== OFF) return;
  const [field, path] = ["sourceField", "sourceFromPath"].map((name) => setting(name));
  throw new InputError(
    say`Cannot split text by its sources as there must be labels: neither ${field} nor ${path} is given`,
    {
      remedy:
        say`name the field or column of labels with ${field}, or take the names of folders with ${path}`,
    },
  );
}
