/**
 * Keeps memory low where a native library allocates it: V8's collector of garbage does not see it, and the C
 * library keeps what was freed.
 *
 * @module
 */

const M_MMAP_THRESHOLD = -3; // of glibc's malloc.h
const LARGE = 128 * 1024; // bytes: where glibc begins

/**
 * Gives the function that collects garbage now. A process has it as `gc()` where it was started with V8's
 * `--expose-gc`. That flag makes V8 compile everything anew at every start, so it is set here, when it is needed.
 */
export async function collector(): Promise<() => void> {
  const { gc } = globalThis as { gc?: () => void };
  if (gc) return gc;
  const [{ setFlagsFromString }, { runInNewContext }] = await Promise.all([
    import("node:v8"),
    import("node:vm"),
  ]);
  setFlagsFromString("--expose-gc");
  return runInNewContext("gc"); // a new context has what the flags say now
}

/**
 * Makes the C library give large blocks back to the system as they are freed. glibc raises the size of what it calls
 * large whenever a large block is freed, and keeps all smaller ones. The variable `MALLOC_MMAP_THRESHOLD_` does
 * the same, from the start of the process on, which takes a sixth longer then. Does nothing on other systems.
 */
export function returnLargeBlocks(): void {
  if (Deno.build.os !== "linux") return;
  let glibc;
  try {
    glibc = Deno.dlopen("libc.so.6", { mallopt: { parameters: ["i32", "i32"], result: "i32" } });
  } catch {
    return; // another C library
  }
  glibc.symbols.mallopt(M_MMAP_THRESHOLD, LARGE);
  glibc.close();
}
