/**
 * Names the experts of a run by the words that set their sequences apart, in a random sample of all training sequences.
 *
 *     partition/names/   names.json: for every expert its words, likeliest and least likely texts
 *
 * @module
 */

import * as v from "valibot";
import { readManifest } from "../graph/manifest.ts";
import { type Making, type Node, oneByOne } from "../graph/node.ts";
import { NAMES, TOKENIZER } from "../graph/places.ts";
import { addRow, type ExpertName, nameSamples, newSample, sampledRows } from "../partition/names.ts";
import { Order } from "../rows/order.ts";
import { jsonText, writeAtomic } from "../run/files.ts";
import { count, finite, readJson, share } from "../run/schema.ts";
import { tokenizerIn } from "../text/tokenizer.ts";
import { assignmentPlace } from "./assign.ts";
import { scoresNode } from "./score.ts";
import { SPLIT } from "./split.ts";
import { openNeeded } from "./token_rows.ts";
import type { GraphOf } from "./stage.ts";
import { ALL_TRAIN, TRAIN, trainFiles } from "./tokenize.ts";

export { NAMES };
const FILE = "names.json";
const ROW = ["sequence", "source", "tokens", "length"] as const;

const TEXT = v.object({ sequence: v.string(), source: v.string(), cost: finite, text: v.string() });
const SCHEMA: v.GenericSchema<unknown, ExpertName[]> = v.array(v.object({
  ...{ expert: count, sampled: count, likeliest: v.array(TEXT), leastLikely: v.array(TEXT) },
  terms: v.array(v.object({ text: v.string(), logOdds: finite, share, shareOfRest: share })),
}));

/** Makes the node that names experts. */
export function namesNode(of: GraphOf): Node {
  const { configuration: { experts, seed, eos }, blocks } = of;
  return {
    name: NAMES,
    needs: [TOKENIZER, ALL_TRAIN, ...new Set(blocks.map((block) => assignmentPlace(block, of).node))],
    settings: { experts, seed, eos },
    revision: 1,
    maker: oneByOne(SPLIT, (making) => name(making, of)),
  };
}

async function name(making: Making, of: GraphOf): Promise<Record<string, unknown>> {
  const { configuration: { experts, seed, eos }, blocks } = of;
  using tokens = await openNeeded(making, trainFiles(blocks));
  using scores = await openNeeded(making, blocks.map((block) => ({ need: scoresNode(block), file: TRAIN })));
  const places = blocks.map((block) => assignmentPlace(block, of));
  using assigned = await openNeeded(
    making,
    places.map(({ node, file }) => ({ need: node, file: file("train") })),
  );
  const tokenizer = await tokenizerIn(making.path(TOKENIZER), { eos });
  const samples = Array.from({ length: experts }, newSample);
  const order = new Order(Math.max(1, tokens.count), { seed, purpose: "names" });
  const rows = Math.min(tokens.count, experts * sampledRows(experts));
  for (const number of Float64Array.from({ length: rows }, (_, i) => order.at(i)).sort()) {
    const { tokens: ids, length: [length], ...row } = tokens.read([number], ROW);
    const [expert] = assigned.read([number], ["expert"]).expert;
    const cost = scores.read([number], ["nll"]).nll[expert];
    const one = { sequence: row.sequence[0], source: row.source[0], ids: ids.subarray(0, length), cost };
    await addRow(samples[expert], one, scores.lineage!, tokenizer);
  }
  const names = await nameSamples(samples, tokenizer);
  await writeAtomic(`${making.folder}/${FILE}`, jsonText(names));
  return { experts, words: names.map(({ terms }) => terms.map(({ text }) => text)) };
}

/** Reads what sets the experts of a run apart; null where nobody has named them. Throws an `InputError` where the file is damaged. */
export async function expertNames(run: string): Promise<ExpertName[] | null> {
  const folder = `${run}/${NAMES}`;
  if (!await readManifest(folder)) return null;
  return await readJson(`${folder}/${FILE}`, SCHEMA, "names of experts");
}
