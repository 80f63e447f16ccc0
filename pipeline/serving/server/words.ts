/** The words by which a person tells a run's experts apart. */

import * as v from "valibot";
import { InputError, say, type Text } from "../../../kernels/errors.ts";
import { readManifest } from "../../graph/manifest.ts";
import { NAMES } from "../../graph/places.ts";

/** Gives the words of every expert, the most telling first; null where they are not known. */
export type ExpertWords = () => Promise<string[][] | null>;

const WORDS = v.array(v.array(v.string()));

/**
 * Reads the words of the experts of a run once, when they are first asked for. They are not known where they were not copied with what a
 * server needs, nor where they are damaged; then `onWarning` is called.
 */
export function createWords(run: string, onWarning?: (message: Text) => void): ExpertWords {
  let words: Promise<string[][] | null> | undefined;
  const read = async () => {
    const found = await readManifest(`${run}/${NAMES}`).catch((error) => {
      if (!(error instanceof InputError)) throw error;
      onWarning?.(say`experts are listed without their words: ${error.what}`);
      return null;
    });
    return v.is(WORDS, found?.result.words) ? found.result.words as string[][] : null;
  };
  return () => words ??= read();
}
