/**
 * Trains byte-level BPE on a file beside the main thread: the library's call ends only when it is done, and the main thread must
 * hear signals.
 */

import { BPE, byteLevelPreTokenizer, Tokenizer } from "tokenizers";
import { silently } from "./silence.ts";

/** What the worker is told: the text to train on, and the file to write. */
export interface Training {
  /** Path of the text. */
  sample: string;
  /** Path of the `tokenizer.json` to write. */
  trained: string;
}

const worker = self as unknown as {
  onmessage: (event: MessageEvent<Training>) => void;
  postMessage(error: string | null): void;
};

worker.onmessage = ({ data: { sample, trained } }) => {
  try {
    const trainee = new Tokenizer(BPE.empty());
    trainee.setPreTokenizer(byteLevelPreTokenizer(false));
    silently(() => trainee.train([sample])); // it prints line breaks
    trainee.save(trained);
    worker.postMessage(null);
  } catch (error) {
    worker.postMessage((error as Error).message);
  }
};
