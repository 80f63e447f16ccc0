/**
 * Says whether runs hold out the same text: perplexities of different texts, or of different tokens, cannot be compared.
 *
 * @module
 */

import { createHash } from "node:crypto";
import { InputError, say, setting, task, type Text } from "../../kernels/errors.ts";
import type { RunRecord } from "../report/read.ts";
import { fromBatch, readShards } from "../rows/arrow.ts";
import { exists, shortHash } from "../run/files.ts";
import { outputsHash, outputsUnder, vouchedFiles } from "../run/manifest.ts";
import { namesOf } from "../settings/configuration.ts";
import { TEXT, textSeedOf } from "../settings/text.ts";
import { TOKENS } from "../settings/tokens.ts";
import { tokenizeResult } from "../stages/tokenize.ts";

/** A run, and where it lies. */
export interface LocatedRun {
  /** Its name beside the others. */
  name: string;
  /** Path of its folder. */
  run: string;
  /** What it holds. */
  record: RunRecord;
}

/** The held-out text that the runs share which tell of some. */
export interface HeldOut {
  /** SHA-256 of its tokens: of its shards as the manifest of the first run that has one lists them. */
  sha256: string;
  /** Its sequences, where they are known. */
  sequences: number | null;
  /** Names of the runs that do not tell what they hold out. */
  untold: string[];
}

const SHARDS = "tokens/test-";

/** Gives the hash of a run's held-out shards; null where no manifest tells of them. */
export function heldOutHash({ manifests: { tokenize, evaluate } }: RunRecord): string | null {
  return tokenize ? outputsHash(tokenize, SHARDS) : evaluate?.inputs.tokens ?? null;
}

/**
 * Finds the held-out text that runs share; null where no run tells what it holds out. Runs that do not tell
 * are named. Shards that differ hold the same text if all their tokens are the same. Throws an `InputError`
 * that names two runs whose held-out text differs.
 */
export async function sharedHeldOut(runs: readonly LocatedRun[]): Promise<HeldOut | null> {
  const known = runs.flatMap((run) => {
    const hash = heldOutHash(run.record);
    return hash === null ? [] : [{ ...run, hash }];
  });
  if (known.length === 0) return null;
  const [first, ...others] = known;
  for (const other of others) {
    if (other.hash === first.hash) continue;
    const contents = [await contentHash(first), await contentHash(other)];
    if (contents[0] !== null && contents[0] === contents[1]) continue;
    throw differs(first, other);
  }
  const { tokenize } = first.record.manifests;
  const sequences = tokenize ? tokenizeResult(tokenize, first.run).testSequences : null;
  const untold = runs.filter(({ record }) => heldOutHash(record) === null).map(({ name }) => name);
  return { sha256: first.hash, sequences, untold };
}

/** Hashes the real tokens of a run's held-out sequences, in their order; null where a shard is not there. */
async function contentHash({ run, record: { manifests: { tokenize } } }: LocatedRun): Promise<string | null> {
  if (!tokenize) return null;
  const paths = outputsUnder(tokenize, SHARDS).map((path) => `${run}/${path}`);
  for (const path of paths) if (!await exists(path)) return null;
  const { vocabulary, tokenizer } = tokenizeResult(tokenize, run);
  const hash = createHash("sha256").update(`${vocabulary} ${tokenizer}`);
  for await (const batch of readShards(paths, await vouchedFiles(run))) {
    const { rows, tokens, length } = fromBatch(batch, run, ["tokens"]);
    const width = tokens!.length / rows;
    for (let row = 0; row < rows; row++) {
      const real = tokens!.slice(row * width, row * width + length[row]);
      hash.update(Uint32Array.of(length[row])).update(Uint32Array.from(real));
    }
  }
  return hash.digest("hex");
}

/** Settings that decide which text is held out, and how it is cut. */
const SETTINGS = [...namesOf(TEXT, "textSeed"), ...namesOf(TOKENS, "shardSequences"), "textSeed"] as const;

function differs(
  former: LocatedRun & { hash: string },
  latter: LocatedRun & { hash: string },
): InputError {
  const [own, other] = [former, latter].map(({ record: { config: { configuration } } }) => ({
    ...configuration,
    textSeed: textSeedOf(configuration),
  }));
  const names = SETTINGS.filter((name) => valueText(own[name]) !== valueText(other[name]));
  let what =
    say`Cannot compare "${former.run}" and "${latter.run}" as their held-out tokens must be the same: SHA-256 is ${
      shortHash(former.hash)
    } in the former, ${shortHash(latter.hash)} in the latter`;
  for (const name of names) {
    what = say`${what}, ${setting(name)} ${valueText(own[name])} and ${valueText(other[name])}`;
  }
  const rest = names.slice(1).reduce<Text>((text, name) => say`${text}, ${setting(name)}`, "");
  const same = names.length > 0
    ? say`${setting(names[0])}${rest}`
    : say`text, and the tokenizer of the other as ${setting("tokenizer")}`;
  const remedy = say`make one of them anew, in another folder: ${task("partition")} with the same ${same}`;
  return new InputError(what, { where: latter.run, remedy });
}

const valueText = (value: unknown): string => [value].flat().join(", ") || "none";
