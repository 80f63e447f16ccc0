/**
 * Parts by source: labels sorted by their tokens, the largest first into the lightest of E groups.
 *
 *     partitioner.json
 *     sources.json     the expert and the training tokens of every label
 *
 * It goes by labels that a prompt does not have. So it can split text and take the true label of
 * held-out text, but not route.
 */

import * as v from "valibot";
import { InputError, say, setting } from "../../kernels/errors.ts";
import { hashFile, jsonText, writeAtomic } from "../graph/files.ts";
import { byLabel, count, readJson } from "../graph/schema.ts";
import {
  identifiedBy,
  type PartitionerKind,
  readDescription,
  type TokenRows,
  writeDescription,
} from "./partitioner.ts";

const FILE = "sources.json";

/** The schema of groups of labels, for experts below a number. */
const groupsBelow = (experts: number) =>
  byLabel(v.object({ expert: v.pipe(count, v.maxValue(experts - 1)), tokens: count }));

/** Opens, learns and identifies parts by source. */
export const source: PartitionerKind = {
  kind: "source",
  about: "the label of a sequence's source chooses the expert; it cannot route a prompt",
  routes: false,
  splits: true,
  whole: true,
  method: "argmax",
  settings: ["experts"],
  revision: 1,
  async learn({ configuration: { experts, sequenceLength: prefix }, folder, tokens, sources }) {
    const { sha256 } = await writeAtomic(
      `${folder}/${FILE}`,
      jsonText(groupLabels(sources, experts)),
    );
    await writeDescription(folder, { kind: "source", experts, prefix, ...tokens });
    return { sha256, result: { sources: sources.size } };
  },
  async open(folder) {
    const description = (await readDescription(folder))!;
    const path = `${folder}/${FILE}`;
    const schema = groupsBelow(description.experts);
    const groups = await readJson(path, schema, "the experts of sources by label");
    const { sha256 } = await hashFile(path);
    const experts = new Map(Object.entries(groups).map(([label, { expert }]) => [label, expert]));
    return {
      ...description,
      sha256,
      perSequence: true,
      costs: (rows, prefixes) =>
        Promise.try(() => labelCosts(rows, prefixes, description.experts, experts)),
      unknown: ({ source = [] }) => source.filter((label) => !experts.has(label)).length,
      close() {},
    };
  },
  identify: identifiedBy(FILE),
};

/**
 * Groups labels: the one with most tokens comes first, and each goes to the lightest group so far,
 * the lower expert among equals.
 */
function groupLabels(totals: ReadonlyMap<string, number>, experts: number): object {
  if (totals.size < experts) {
    const labels = totals.size === 1 && totals.has("") ? "none" : `${totals.size}`;
    const wanted = setting("experts");
    throw new InputError(
      say`Cannot split text by its sources as there must be at least as many labels as ${wanted}: \
there are ${labels}, ${wanted} is ${experts}`,
      {
        remedy: say`name the field of labels with ${setting("sourceField")}, or take fewer experts`,
      },
    );
  }
  const weights = new Array<number>(experts).fill(0);
  const sorted = [...totals].sort(([a, x], [b, y]) => y - x || (a < b ? -1 : 1));
  return Object.fromEntries(sorted.map(([label, tokens]) => {
    const expert = weights.indexOf(Math.min(...weights));
    weights[expert] += tokens;
    return [label, { expert, tokens }];
  }));
}

/**
 * Gives costs f32 `[prefixes, rows, E]`: 0 for the expert of a row's label, 1 for all others, and
 * for all where the label is new.
 */
function labelCosts(
  { length, source }: TokenRows,
  prefixes: readonly number[],
  experts: number,
  groups: ReadonlyMap<string, number>,
): Float32Array {
  if (source === undefined && length.length > 0) {
    throw new InputError(
      "Cannot go by sources as every sequence must have its label: there are none",
    );
  }
  const rows = length.length;
  const costs = new Float32Array(prefixes.length * rows * experts).fill(1);
  for (let i = 0; i < prefixes.length * rows; i++) {
    const expert = groups.get(source![i % rows]);
    if (expert !== undefined) costs[i * experts + expert] = 0;
  }
  return costs;
}
