/**
 * Names the experts of a run.
 *
 * @module
 */

import { type ExpertName, nameExperts } from "../partition/names.ts";
import { readRunConfiguration } from "../run/configuration.ts";
import { exists } from "../run/files.ts";
import type { Vouched } from "../run/vouched.ts";
import { loadTokenizer } from "../text/tokenizer.ts";
import { TOKENIZER } from "./tokenizer.ts";

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
