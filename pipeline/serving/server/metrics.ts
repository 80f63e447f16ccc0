/** What the server counts, as Prometheus reads it. */

import { Counter, Gauge, Histogram, Registry } from "prom-client";
import type { Mixture } from "../mixture.ts";
import type { Admission } from "./admission.ts";

/** Counts what happens. */
export type Metrics = ReturnType<typeof createMetrics>;

const SECONDS = [0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100];
const NATS = [0.1, 0.3, 1, 3, 10, 30, 100];
const COSTS = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1];

/** Makes counters; what the mixture and the waiting room count themselves is read when it is asked for. */
export function createMetrics(mixture: Mixture, admission: Admission) {
  const registry = new Registry();
  const registers = [registry];
  const counter = (name: string, help: string, ...labelNames: string[]) =>
    new Counter({ name: `smalltalk_${name}_total`, help, labelNames, registers });
  const histogram = (name: string, help: string, buckets: number[], ...labelNames: string[]) =>
    new Histogram({ name: `smalltalk_${name}`, help, labelNames, buckets, registers });
  const read = (name: string, help: string, value: () => number) =>
    new Gauge({
      ...{ name: `smalltalk_${name}`, help, registers },
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
