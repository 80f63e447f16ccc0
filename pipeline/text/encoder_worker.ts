/**
 * Encodes texts in parallel with the main thread, which reads documents and packs their tokens
 * meanwhile. It gets the tokenizer first.
 */

import { openTokenizer, type Tokenizer } from "./tokenizer.ts";

/** What an encoder gets. */
export type EncoderRequest = { json: string; eos: number } | string[];

/**
 * What it answers to texts, in the order in which they come: their ids; null where it cannot encode
 * them.
 */
export type Answer = Uint32Array[] | null;

// A worker's scope has these; types are checked as if this were the main thread, which lacks them.
declare function addEventListener(
  type: "message",
  listener: (event: MessageEvent<EncoderRequest>) => void,
): void;
declare function postMessage(answer: Answer): void;

let tokenizer: Promise<Tokenizer>;
let last: Promise<unknown> = Promise.resolve();

addEventListener("message", ({ data }) => {
  if (!Array.isArray(data)) tokenizer = openTokenizer(data.json, data.eos);
  else {
    // The main thread finds out why.
    const encoded = tokenizer.then((tokenizer) => tokenizer.encode(data)).catch(() => null);
    last = Promise.all([encoded, last]).then(([answer]) => postMessage(answer));
  }
});
