/**
 * Encodes texts beside the main thread, which reads documents and packs their tokens meanwhile.
 */

import { reopenTokenizer, type Tokenizer } from "./tokenizer.ts";

/** What an encoder is told: first the tokenizer, then texts, each time with a number of its own. */
export type Order = { json: string; eos: number } | { number: number; texts: string[] };

/** What it answers to texts: the ids of all of them, one after another, and how many each has; none where it cannot encode them. */
export interface Encoded {
  /** The number that came with the texts. */
  number: number;
  /** Ids and numbers of them. */
  encoded?: { ids: Uint32Array<ArrayBuffer>; lengths: Uint32Array<ArrayBuffer> };
}

// A worker's scope has these; types are checked as if this were the main thread, which lacks them.
declare function addEventListener(type: "message", listener: (event: MessageEvent<Order>) => void): void;
declare function postMessage(answer: Encoded, transfer: ArrayBuffer[]): void;

let tokenizer: Promise<Tokenizer>;

addEventListener("message", async ({ data: order }) => {
  if ("json" in order) {
    tokenizer = reopenTokenizer(order);
    return;
  }
  const { number, texts } = order;
  try {
    const encoded = join(await (await tokenizer).encode(texts));
    postMessage({ number, encoded }, [encoded.ids.buffer, encoded.lengths.buffer]);
  } catch {
    postMessage({ number }, []); // the main thread finds out why
  }
});

function join(parts: Uint32Array[]): Required<Encoded>["encoded"] {
  const lengths = Uint32Array.from(parts, ({ length }) => length);
  const ids = new Uint32Array(lengths.reduce((sum, length) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    ids.set(part, at);
    at += part.length;
  }
  return { ids, lengths };
}
