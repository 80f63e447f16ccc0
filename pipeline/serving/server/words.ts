/** The words by which a person tells a run's experts apart. */

import { ExplainedError, say, type Text } from "../../../kernels/errors.ts";
import { nameExperts } from "../../partition/names.ts";
import { exists } from "../../run/files.ts";
import { vouchedFiles } from "../../run/manifest.ts";
import type { Tokenizer } from "../../text/tokenizer.ts";

/** Gives the words of every expert, the most telling first; null where they are not known. */
export type ExpertWords = () => Promise<string[][] | null>;

/**
 * Reads the words of the experts of a run from its partition, once, when they are first asked for. They are
 * not known where there is no partition (a server needs none) or where it cannot be read; `onWarning` is
 * called in the latter case.
 */
export function createWords(
  run: string,
  tokenizer: Tokenizer,
  onWarning?: (message: Text) => void,
): ExpertWords {
  let words: Promise<string[][] | null> | undefined;
  const folder = `${run}/partition`;
  async function read(): Promise<string[][] | null> {
    try {
      if (!await exists(`${folder}/manifest.json`)) return null;
      const names = await nameExperts(folder, { tokenizer, vouched: await vouchedFiles(run) });
      return names?.map(({ terms }) => terms.map(({ text }) => text)) ?? null;
    } catch (error) {
      const why = error instanceof ExplainedError ? error.what : String(error);
      onWarning?.(say`experts are listed without their words: ${why}`);
      return null;
    }
  }
  return () => words ??= read();
}
