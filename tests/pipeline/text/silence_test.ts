import { assertEquals } from "@std/assert";
import { ROOT } from "../../tasks/support.ts";
import { printed } from "./printed.ts";

Deno.test("silently() keeps what a native library prints off standard output, and what comes after on it", async () => {
  const script = `
    import { silently } from "./pipeline/text/silence.ts";
    const c = Deno.dlopen("libc.so.6", { puts: { parameters: ["buffer"], result: "i32" }, fflush: { parameters: ["pointer"], result: "i32" } });
    const print = (text) => { c.symbols.puts(new TextEncoder().encode(text + "\\0")); c.symbols.fflush(null); };
    print("before");
    console.log(silently(() => { print("meanwhile"); return "result"; }));
    try { silently(() => { throw new Error(); }); } catch { print("after"); }
  `;
  assertEquals(await printed(script), "before\nresult\nafter\n");
});

Deno.test("silently() in a second thread, begun before the first ends and ended after it, leaves the output as it was", async () => {
  const worker = `
    import { silently } from "file://${ROOT}pipeline/text/silence.ts";
    addEventListener("message", ({ data }) => {
      const turns = new Int32Array(data);
      Atomics.wait(turns, 0, 0); // until the first is silent
      silently(() => {
        Atomics.store(turns, 0, 2);
        Atomics.notify(turns, 0);
        Atomics.wait(turns, 0, 2); // until the first has ended
      });
      postMessage("ended");
    });`;
  const script = `
    import { silently } from "./pipeline/text/silence.ts";
    const turns = new Int32Array(new SharedArrayBuffer(4));
    const worker = new Worker("data:application/typescript," + encodeURIComponent(${
    JSON.stringify(worker)
  }), { type: "module" });
    worker.postMessage(turns.buffer);
    silently(() => {
      Atomics.store(turns, 0, 1);
      Atomics.notify(turns, 0);
      Atomics.wait(turns, 0, 1); // until the second is silent
    });
    Atomics.store(turns, 0, 3);
    Atomics.notify(turns, 0);
    await new Promise((resolve) => worker.onmessage = resolve);
    worker.terminate();
    console.log("after");
  `;
  assertEquals(await printed(script), "after\n");
});
