import { assertEquals } from "@std/assert";
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
