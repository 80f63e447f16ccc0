/** What all routes of the server share. */

import type { Tokenizer } from "../../text/tokenizer.ts";
import type { Mixture } from "../mixture.ts";
import type { TokenTexts } from "../text_stream.ts";
import type { Upstreams } from "./addresses.ts";
import type { Admission } from "./admission.ts";
import { ApiError, apiError } from "./errors.ts";
import type { Metrics } from "./metrics.ts";
import type { TextReader } from "./reading.ts";
import type { Encode, SpecialTokens } from "./special.ts";

/** How conversations become prompts. */
export interface ChatTemplate {
  name: string; // what answers say of it
  /** Gives the ids of a conversation's prompt; `encode` encodes the texts that it consists of. */
  encode(messages: readonly Record<"role" | "content", string>[], encode: Encode): Promise<Uint32Array>;
}

/** An open mixture with what serves it. */
export interface Service {
  mixture: Mixture;
  tokenizer: Tokenizer;
  special: SpecialTokens;
  reader: TextReader; // of the texts of requests
  texts: TokenTexts; // of single tokens
  words: readonly string[][] | null; // by which a person tells experts apart, the most telling first
  template: ChatTemplate;
  admission: Admission;
  metrics: Metrics;
  serveExperts?: readonly number[]; // that answer here; all unless said
  upstreams?: Upstreams; // that hold experts
}

/** A request while it is answered. */
export interface Exchange {
  readonly service: Service; // a 503 while it is loaded
  signal: AbortSignal; // ends the work: the client hung up, or all was answered
  began: number; // when it came, in milliseconds
  notes: Record<string, string | number>; // fields of its line in the log
  held: DisposableStack; // what is held until its answer is complete
  over?: Promise<void>; // resolves when its answer is complete, if that is later than its headers
  leave(): void; // says that the client hung up
  onError?: (error: unknown) => void; // is told of errors that are not the client's
}

/** Gives what a client is told of an error, and has it logged. */
export function logged({ notes, onError }: Exchange, error: unknown): ApiError {
  const told = apiError(error);
  if (told.status >= 500 && !(error instanceof ApiError)) onError?.(error);
  notes.error = told.message;
  return told;
}
