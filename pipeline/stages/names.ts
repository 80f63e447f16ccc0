/**
 * Names the experts of a run.
 *
 * @module
 */

import * as v from "valibot";
import { type ExpertName, nameExperts } from "../partition/names.ts";
import { readRunConfiguration } from "../run/configuration.ts";
import { exists } from "../run/files.ts";
import { readManifest } from "../run/manifest.ts";
import type { Vouched } from "../run/vouched.ts";
import { loadTokenizer } from "../text/tokenizer.ts";
import { TOKENIZER } from "./tokenizer.ts";

const WORDS = v.array(v.array(v.string()));

/** Lists the words, or pairs of tokens, that set an expert apart, the most telling first. */
export function wordsOf({ terms }: ExpertName): string[] {
  return terms.map(({ text }) => text);
}

/** Reads the words of every expert that the stage `split` kept, or else looks for them in the parts. */
export async function keptWords(run: string, vouched?: Vouched): Promise<string[][]> {
  const words = (await readManifest(run, "split"))?.result.words;
  return v.is(WORDS, words) ? words : (await expertNames(run, vouched) ?? []).map(wordsOf);
}

/**
 * Reads what sets the experts of a partitioned run apart; null where its tokenizer or its shards are not there. Throws an
 * `InputError` where a file is damaged.
 */
export async function expertNames(run: string, vouched?: Vouched): Promise<ExpertName[] | null> {
  const path = `${run}/${TOKENIZER}`;
  if (!await exists(path)) return null;
  const eos = (await readRunConfiguration(run))?.configuration.eos || undefined;
  const tokenizer = await loadTokenizer(path, { eos, vouched });
  return await nameExperts(`${run}/partition`, { tokenizer, vouched });
}
