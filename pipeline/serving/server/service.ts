/** What all of the server shares. */

import type { Text } from "../../../kernels/errors.ts";
import type { Tokenizer } from "../../text/tokenizer.ts";
import type { Mixture, MixtureOptions } from "../mixture.ts";
import type { TokenTexts } from "../text_stream.ts";
import type { Upstreams } from "./addresses.ts";
import type { Admission } from "./admission.ts";
import { ApiError, apiError } from "./errors.ts";
import type { Metrics } from "./metrics.ts";
import type { TextReader } from "./reading.ts";
import type { Encode, SpecialTokens } from "./special.ts";

/** A request that was answered, as its log line tells it. */
export interface Answered {
  /** Its method and path. */
  request: string;
  /** HTTP status of its answer. */
  status: number;
  /** Milliseconds to the end of its answer. */
  milliseconds: number;
  /** What else is known: model, tokens. */
  notes: Record<string, string | number>;
}

/** What `serve` takes. */
export interface ServeOptions extends MixtureOptions {
  /** The run folder. */
  run: string;
  /** Address to listen on. Default: this machine alone. */
  host?: string;
  /** Port to listen on; 0 takes a free one. Default 8000. */
  port?: number;
  /** Keys of clients; without keys everyone may ask. */
  keys?: readonly string[];
  /** Experts that answer here; all unless said. */
  serveExperts?: readonly number[];
  /** Experts that other servers hold. */
  upstreams?: Upstreams;
  /** Most texts that wait. Default 256. */
  queue?: number;
  /** Seconds after which a model that nobody uses leaves; 0 for never, which is the default. */
  idle?: number;
  /** Most bytes of a request. Default 8 MiB. */
  maxBody?: number;
  /** Seconds that a request may take to come, from its first line to the end of its body. Default 30. */
  requestTimeout?: number;
  /** Seconds that clients may take to read the last answers, once it ends. Default 10. */
  drainTimeout?: number;
  /** Ends it; answers that are under way are completed first. */
  signal?: AbortSignal;
  /** Called with the address where it listens. */
  onListen?: (address: { host: string; port: number }) => void;
  /** Called when it is ready to answer. */
  onReady?: () => void;
  /** Called with what is worth knowing. */
  onWarning?: (message: Text) => void;
  /** Called with every request that was answered. */
  onAnswer?: (answered: Answered) => void;
  /** Called with errors that are not the fault of a client. */
  onError?: (error: unknown) => void;
}

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
  onError?: (error: unknown) => void; // gets errors that are not the client's
}

/** Gives what a client gets of an error, and has it logged. */
export function logged({ notes, onError }: Exchange, error: unknown): ApiError {
  const reported = apiError(error);
  if (reported.status >= 500 && !(error instanceof ApiError)) onError?.(error);
  notes.error = reported.message;
  return reported;
}
