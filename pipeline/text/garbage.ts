/**
 * Finds V8's collector of garbage, for who holds memory that V8 does not see.
 *
 * @module
 */

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
