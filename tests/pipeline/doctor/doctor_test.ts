import { assert, assertEquals, assertRejects } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { examine } from "../../../pipeline/doctor/doctor.ts";

Deno.test("examine() refuses a wish that this machine cannot fulfil, and ends when it is asked to", async () => {
  await assertRejects(
    () => examine({ adapter: "no such card", quick: true }),
    InputError,
    '"no such card"',
  );
  const steps: string[] = [];
  const stopping = new AbortController();
  const onStep = (what: string) => {
    steps.push(what);
    if (what === "memory") stopping.abort(new DOMException("stopped", "AbortError"));
  };
  await assertRejects(
    () => examine({ quick: true, onStep, signal: stopping.signal }),
    DOMException,
    "stopped",
  );
  assertEquals(steps, ["the system", "other adapters", "memory"]);
});

Deno.test("examine() opens the adapter that is asked for, also for every variant of the kernels", async () => {
  const { requestAdapter } = GPU.prototype;
  const asked: (string | undefined)[] = [];
  GPU.prototype.requestAdapter = function (options) {
    asked.push(options?.powerPreference);
    return requestAdapter.call(this, options);
  };
  const stopping = new AbortController();
  const onStep = (what: string) =>
    what === "the peak" && stopping.abort(new DOMException("stopped", "AbortError"));
  try {
    const options = { adapter: "low-power", quick: true, onStep, signal: stopping.signal };
    await assertRejects(() => examine(options), DOMException, "stopped");
  } finally {
    GPU.prototype.requestAdapter = requestAdapter;
  }
  assert(asked.length > 1);
  assertEquals(new Set(asked), new Set(["low-power"]));
});
