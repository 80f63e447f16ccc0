// Returns whether runs hold out the same text: perplexities of different texts, or of different tokens,
// cannot be compared.

import { InputError, say, setting, type Text } from "../../kernels/errors.ts";
import { heldOutTokens, type RunRecord } from "../report/read.ts";
import { shortHash } from "../run/files.ts";
import { listNames } from "../settings/configuration.ts";
import { findTextSeed, TEXT, TOKENS } from "../settings/text.ts";

/** A run by its name next to the others, and what it holds. */
export type NamedRun = { name: string; record: RunRecord };

/** The held-out text that runs share. */
export interface HeldOut {
  /** SHA-256 of its tokens: of its shards as the manifest of the first run that has one lists them. */
  sha256: string;
  /** Its sequences, where they are known. */
  sequences: number | null;
  /** Names of the runs whose manifests do not describe it. */
  untold: string[];
}

/**
 * Finds the held-out text that runs share; null where no manifest describes it. Shards that differ hold the same text if all their
 * tokens are the same. Throws an `InputError` that names two runs whose held-out text differs.
 */
export async function sharedHeldOut(runs: readonly NamedRun[]): Promise<HeldOut | null> {
  const [first, ...others] = runs.map(({ record }) => record).filter(({ heldOut }) => heldOut !== null);
  if (first === undefined) return null;
  for (const other of others) {
    if (other.heldOut!.sha256 === first.heldOut!.sha256) continue;
    const tokens = await heldOutTokens(first);
    if (tokens === null || tokens !== await heldOutTokens(other)) throw differs(first, other);
  }
  const { sha256, sequences } = first.heldOut!;
  return { sha256, sequences, untold: runs.filter(({ record }) => !record.heldOut).map(({ name }) => name) };
}

/** Settings that decide which text is held out, and how it is cut. */
const SETTINGS = [
  ...listNames(TEXT, "textSeed"),
  ...listNames(TOKENS, "shardSequences"),
  "textSeed",
] as const;

function differs(former: RunRecord, latter: RunRecord): InputError {
  const [own, other] = [former, latter].map(({ config: { configuration } }) => ({
    ...configuration,
    textSeed: findTextSeed(configuration),
  }));
  const differing = SETTINGS.filter((name) => valueText(own[name]) !== valueText(other[name]));
  const hashes = [former, latter].map(({ heldOut }) => shortHash(heldOut!.sha256));
  const what = differing.reduce<Text>(
    (text, name) => say`${text}, ${setting(name)} ${valueText(own[name])} and ${valueText(other[name])}`,
    `Cannot compare "${former.run}" and "${latter.run}" as their held-out tokens must be the same: SHA-256 is ${
      hashes.join(" and ")
    }`,
  );
  const remedy = differing.length > 0
    ? say`make one of them anew, in another folder, with the same settings`
    : say`make one of them anew, in another folder, of the same text with the other's ${
      setting("tokenizer")
    }`;
  return new InputError(what, { where: latter.run, remedy });
}

/** Writes the value of a setting. */
export const valueText = (value: unknown): string =>
  value === undefined ? "–" : [value].flat().join(", ") || "none";
