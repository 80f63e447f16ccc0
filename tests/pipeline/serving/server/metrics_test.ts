import { assert, assertEquals } from "@std/assert";
import type { Mixture } from "../../../../pipeline/serving/mixture.ts";
import { Admission } from "../../../../pipeline/serving/server/admission.ts";
import { createMetrics } from "../../../../pipeline/serving/server/metrics.ts";

Deno.test("createMetrics() counts what it is told, and reads what others count when it is asked", async () => {
  const counts = { partitioners: 1, loads: 2, evictions: 1, held: ["expert 0"], bytes: 4096 };
  const admission = new Admission(8);
  const metrics = createMetrics({ counts } as unknown as Mixture, admission);
  metrics.request("/v1/completions", 200, 0.02);
  metrics.request("/v1/completions", 200, 20);
  metrics.request("/v1/completions", 404, 0.02);
  metrics.choice("expert-00", 2, null);
  metrics.choice("expert-00", null, null);
  metrics.choice("expert-01", 0.05, "distance");
  metrics.tokens("prompt", 10);
  metrics.tokens("prompt", 5);
  metrics.firstToken(performance.now() - 200);
  counts.loads = 3;
  const places = admission.enter(3);
  places.start();
  const lines = (await (await metrics.response()).text()).split("\n").filter((line) => !line.startsWith("#"));
  const valueOf = (name: string) => {
    const line = lines.find((line) => line.startsWith(`smalltalk_${name} `));
    assert(line, `${name} in\n${lines.join("\n")}`);
    return Number(line.split(" ").at(-1));
  };
  assertEquals(valueOf('requests_total{path="/v1/completions",status="200"}'), 2);
  assertEquals(valueOf('requests_total{path="/v1/completions",status="404"}'), 1);
  assertEquals(valueOf('request_seconds_bucket{le="0.03",path="/v1/completions"}'), 2);
  assertEquals(valueOf('request_seconds_count{path="/v1/completions"}'), 3);
  assertEquals(valueOf('expert_requests_total{model="expert-00"}'), 2);
  assertEquals(
    valueOf('routing_margin_nats_count{model="expert-00"}'),
    1,
    "what nobody routed has no margin",
  );
  assertEquals(
    lines.filter((line) => /margin.*_count\{/.test(line)).map((line) =>
      line.slice("smalltalk_routing_margin_".length)
    ),
    ['nats_count{model="expert-00"} 1', 'cost_count{model="expert-01"} 1'],
  );
  assertEquals(valueOf('routing_margin_cost_bucket{le="0.03",model="expert-01"}'), 0);
  assertEquals(valueOf('tokens_total{kind="prompt"}'), 15);
  assertEquals(valueOf("first_token_seconds_count"), 1);
  assertEquals([valueOf("model_loads"), valueOf("models_held"), valueOf("model_bytes")], [3, 1, 4096]);
  assertEquals([valueOf("requests_waiting"), valueOf("requests_running")], [2, 1]);
  places[Symbol.dispose]();
  assert((await metrics.response()).headers.get("content-type")!.startsWith("text/plain"));
});
