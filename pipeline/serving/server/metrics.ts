/** What the server counts, as Prometheus reads it. */

import { Counter, Gauge, Histogram, Registry } from "prom-client";
import type { Mixture } from "../mixture.ts";
import type { Admission } from "./admission.ts";

/** Counts what happens. */
export type Metrics = ReturnType<typeof createMetrics>;

const SECONDS = [0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100];

/** Makes counters; what the mixture and the waiting room count themselves is read when it is asked for. */
export function createMetrics(mixture: Mixture, admission: Admission) {
  const registry = new Registry();
  const registers = [registry];
  const counter = (name: string, help: string, labelNames: string[]) =>
    new Counter({ name: `smalltalk_${name}_total`, help, labelNames, registers });
  const histogram = (name: string, help: string, labelNames: string[], buckets: number[]) =>
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
  const requests = counter("requests", "Requests answered", ["path", "status"]);
  const choices = counter("expert_requests", "Texts by the model that wrote or scored them", ["model"]);
  const tokens = counter("tokens", "Tokens read and written", ["kind"]);
  const seconds = histogram("request_seconds", "Seconds of a request", ["path"], SECONDS);
  const first = histogram("first_token_seconds", "Seconds to the first piece of text", [], SECONDS);
  const margins = histogram("routing_margin_nats", "Margin over the runner-up", ["model"], [
    ...[0.1, 0.3, 1, 3, 10, 30, 100],
  ]);
  const costs = histogram("routing_margin_cost", "Margin where costs are not in nats", ["model"], [
    ...[0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1],
  ]);
  read("requests_waiting", "Texts that wait for a model or a slot", () => admission.waiting);
  read("requests_running", "Texts that are being written or scored", () => admission.running);
  read("model_loads", "Models loaded so far", () => mixture.counts.loads);
  read("model_evictions", "Models that left so far", () => mixture.counts.evictions);
  read("models_held", "Models held", () => mixture.counts.held.length);
  read("model_bytes", "Device memory that models hold", () => mixture.counts.bytes);
  return {
    /** Counts a request that was answered, by the path of its route and its HTTP status. */
    request(path: string, status: number, duration: number): void {
      requests.inc({ path, status: String(status) });
      seconds.observe({ path }, duration);
    },
    /** Counts a text that a model was chosen for, and the margin where a partitioner chose: in nats, or in a `cost` of that name. */
    choice(model: string, margin: number | null, cost: string | null): void {
      choices.inc({ model });
      if (margin !== null) (cost ? costs : margins).observe({ model }, margin);
    },
    /** Counts tokens read and tokens written. */
    tokens: (kind: "prompt" | "completion", count: number): void => tokens.inc({ kind }, count),
    /** Counts the time from a request to its first piece of text. */
    firstToken: (began: number): void => first.observe((performance.now() - began) / 1000),
    /** All of it, as it is sent. */
    response: async () =>
      new Response(await registry.metrics(), { headers: { "content-type": registry.contentType } }),
  };
}
