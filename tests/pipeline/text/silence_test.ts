import { assertEquals } from "@std/assert";
import { ROOT } from "../../tasks/support.ts";

Deno.test("silently() keeps what a native library prints off standard output, and what comes after on it", async () => {
  const script = `
    import { silently } from "./pipeline/text/silence.ts";
    const c = Deno.dlopen("libc.so.6", { puts: { parameters: ["buffer"], result: "i32" }, fflush: { parameters: ["pointer"], result: "i32" } });
    const print = (text) => { c.symbols.puts(new TextEncoder().encode(text + "\\0")); c.symbols.fflush(null); };
    print("before");
    console.log(silently(() => { print("meanwhile"); return "result"; }));
    try { silently(() => { throw new Error(); }); } catch { print("after"); }
  `;
  const args = ["run", "--no-prompt", "--allow-ffi", "--allow-read", "--ext=js", "-"];
  const child = new Deno.Command(Deno.execPath(), {
    args,
    cwd: ROOT,
    stdin: "piped",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  await ReadableStream.from([new TextEncoder().encode(script)]).pipeTo(child.stdin);
  const { stdout } = await child.output();
  assertEquals(new TextDecoder().decode(stdout), "before\nresult\nafter\n");
});
