/**
 * Trains byte-level BPE on a file in a thread of its own. The call of the library returns only when it is
 * done, and the main thread must be able to react to signals meanwhile.
 */

import { BPE, byteLevelPreTokenizer, Tokenizer } from "tokenizers";
import { silently } from "./silence.ts";

/** What the worker gets: the text to train on, and the file to write. */
export interface Training {
  /** Path of the text. */
  sample: string;
  /** Path of the `tokenizer.json` to write. */
  trained: string;
}

// The scope of a worker has these. Types are checked as for the main thread, which lacks them.
declare function addEventListener(type: "message", listener: (event: MessageEvent<Training>) => void): void;
declare function postMessage(error: string | null): void;

addEventListener("message", ({ data: { sample, trained } }) => {
  try {
    const trainee = new Tokenizer(BPE.empty());
    trainee.setPreTokenizer(byteLevelPreTokenizer(false));
    silently(() => trainee.train([sample])); // it prints line breaks
    trainee.save(trained);
    postMessage(null);
  } catch (error) {
    postMessage((error as Error).message);
  }
});
