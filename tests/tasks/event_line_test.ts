import { assertEquals, assertStringIncludes } from "@std/assert";
import { say, setting } from "../../kernels/mod.ts";
import { eventLine } from "../../tasks/event_line.ts";

Deno.test("eventLine() words what happens with counts, in one and many, times and flags", () => {
  assertEquals(eventLine({ type: "stage", stage: "corpus", state: "started" }), "corpus         started");
  const result = { files: 1, documents: 1234, unknown: 3 };
  assertEquals(
    eventLine({ type: "stage", stage: "corpus", state: "done", seconds: 250, result }),
    "corpus         done: 1 file, 1,234 documents (4 min 10 s)",
  );
  const message = say`set ${setting("sequenceLength", 64)}`;
  assertEquals(eventLine({ type: "warning", message }), "warning: set --sequence-length 64");
  const adapter = "llvmpipe";
  assertEquals(
    eventLine({ type: "adapter", adapter, kind: "software" }),
    "adapter        llvmpipe (in software)",
  );
});

Deno.test("eventLine() tells the shares of a few routers one by one, of many their range", () => {
  const line = (shares: number[]) =>
    eventLine({
      ...{ type: "round", round: 2, rounds: 3, shares, nmi: null, nllPerToken: 4, regret: 0.1 },
      ...{ trainingLoss: [], rate: 1e-3, steps: 4, sequences: 8 },
    });
  assertStringIncludes(line([0.75, 0.25]), "shares 75% 25%  regret");
  assertStringIncludes(line(Array.from({ length: 64 }, (_, i) => i / 2016)), "shares 0% to 3%  regret");
});
