/**
 * What all of the server shares: its options, an opened mixture with what serves it, its metrics,
 * and a request while it is answered.
 */

import { Counter, Gauge, Histogram, Registry } from "prom-client";
import type { Text } from "../../../kernels/errors.ts";
import { exampleOf, expertNames } from "../../partition/names.ts";
import { readChatTemplate, type Tokenizer, TOKENIZER_CONFIG } from "../../text/tokenizer.ts";
import type { Fallback } from "../answering.ts";
import type { Mixture, MixtureOptions } from "../mixture.ts";
import type { TokenTexts } from "../text_stream.ts";
import type { Upstreams } from "./addresses.ts";
import type { Admission } from "./admission.ts";
import { ApiError, apiError } from "./errors.ts";
import { type ChatTemplate, jinjaTemplate, PLAIN, SpecialTokens, TextReader } from "./reading.ts";

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
  /** The dense model that answers for the mixture where the choice of one expert is unsure. */
  fallback?: Fallback;
  /** Most texts that wait. Default 256. */
  queue?: number;
  /** Seconds after which a model that nobody uses leaves; 0 for never, which is the default. */
  idle?: number;
  /** Most bytes of a request. Default 8 MiB. */
  maxBody?: number;
  /**
   * Seconds that a request may take to come, from its first line to the end of its body. Default
   * 30.
   */
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

/** An open mixture with what serves it. */
export interface Service {
  mixture: Mixture;
  tokenizer: Tokenizer;
  special: SpecialTokens;
  reader: TextReader; // of the texts of requests
  texts: TokenTexts; // of single tokens
  /** What tells experts apart: words, the most telling first, and the beginning of a text. */
  names: readonly { words: readonly string[]; example: string | null }[] | null;
  template: ChatTemplate;
  admission: Admission;
  metrics: Metrics;
  serveExperts?: readonly number[]; // that answer here; all unless said
  upstreams?: Upstreams; // that hold experts
  /** The dense model that answers where the mixture is unsure. */
  fallback?: Fallback;
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

/**
 * Opens the tokenizer and the partitioner of a run, and reads what answers say of its experts and
 * chats.
 */
export async function openService(
  mixture: Mixture,
  admission: Admission,
  { run, serveExperts, upstreams, fallback }: ServeOptions,
): Promise<Service> {
  const tokenizer = await mixture.tokenizer();
  if (mixture.routes) await mixture.partitioner();
  const names = await expertNames(run);
  const texts = await mixture.texts();
  const special = new SpecialTokens(tokenizer, await texts.text(tokenizer.eos));
  const source = await readChatTemplate(run);
  return {
    mixture,
    tokenizer,
    special,
    texts,
    names: names && names.map((name) => ({
      words: name.terms.map(({ text }) => text),
      example: exampleOf(name),
    })),
    admission,
    serveExperts,
    upstreams,
    fallback,
    template: source === undefined
      ? PLAIN
      : jinjaTemplate(source, special, `${run}/${TOKENIZER_CONFIG}`),
    reader: new TextReader(tokenizer),
    metrics: createMetrics(mixture, admission),
  };
}

/** Counts what happens. */
type Metrics = ReturnType<typeof createMetrics>;

const SECONDS = [0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100];
const NATS = [0.1, 0.3, 1, 3, 10, 30, 100];
const COSTS = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1];

/**
 * Makes counters; what the mixture and the waiting room count themselves is read when it is asked
 * for.
 */
function createMetrics(mixture: Mixture, admission: Admission) {
  const registry = new Registry();
  const registers = [registry];
  const counter = (name: string, help: string, ...labelNames: string[]) =>
    new Counter({ name: `smalltalk_${name}_total`, help, labelNames, registers });
  const histogram = (name: string, help: string, buckets: number[], ...labelNames: string[]) =>
    new Histogram({ name: `smalltalk_${name}`, help, labelNames, buckets, registers });
  const read = (name: string, help: string, value: () => number) =>
    new Gauge({
      name: `smalltalk_${name}`,
      help,
      registers,
      collect() {
        this.set(value());
      },
    });
  read("requests_waiting", "Texts that wait for a model or a slot", () => admission.waiting);
  read("requests_running", "Texts that are being written or scored", () => admission.running);
  read("model_loads", "Models loaded so far", () => mixture.counts.loads);
  read("model_evictions", "Models that left so far", () => mixture.counts.evictions);
  read("models_held", "Models held", () => mixture.counts.held.length);
  read("model_bytes", "Device memory that models hold", () => mixture.counts.bytes);
  return {
    registry,
    requests: counter("requests", "Requests answered", "path", "status"),
    choices: counter("expert_requests", "Texts by the model that wrote or scored them", "model"),
    tokens: counter("tokens", "Tokens read and written", "kind"),
    seconds: histogram("request_seconds", "Seconds of a request", SECONDS, "path"),
    firstToken: histogram("first_token_seconds", "Seconds to the first piece of text", SECONDS),
    margins: histogram("routing_margin_nats", "Margin over the runner-up", NATS, "model"),
    costs: histogram("routing_margin_cost", "Margin where costs are not in nats", COSTS, "model"),
  };
}
