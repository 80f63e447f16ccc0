/**
 * Keeps what a native library prints away from standard output, which carries the result of a task.
 *
 * @module
 */

const LIBRARIES: Partial<Record<typeof Deno.build.os, string>> = {
  darwin: "libSystem.B.dylib",
  linux: "libc.so.6",
};

const STANDARD_OUTPUT = 1;

/** The functions of the C library that redirect standard output and restore it. */
const SYMBOLS = {
  creat: { parameters: ["buffer", "u32"], result: "i32" },
  dup: { parameters: ["i32"], result: "i32" },
  dup2: { parameters: ["i32", "i32"], result: "i32" },
  close: { parameters: ["i32"], result: "i32" },
  readlink: { parameters: ["buffer", "buffer", "usize"], result: "isize" },
} as const;

const NOWHERE = "/dev/null";

/** Makes a text of C. */
const cString = (text: string) => new TextEncoder().encode(`${text}\0`);

/**
 * Runs a function and discards what it prints on standard output meanwhile. Where the system has no way to
 * redirect the output, it is printed. Threads of a process share its output: while one of them discards it,
 * another leaves it as it is, so that only the one that redirected it restores it.
 */
export function silently<T>(work: () => T): T {
  const name = LIBRARIES[Deno.build.os];
  if (name === undefined) return work();
  let library: Deno.DynamicLibrary<typeof SYMBOLS>;
  try {
    library = Deno.dlopen(name, SYMBOLS);
  } catch {
    return work(); // another C library: the output is printed, which disturbs only who reads standard output
  }
  const { creat, dup, dup2, close, readlink } = library.symbols;
  const kept = dup(STANDARD_OUTPUT);
  const nowhere = creat(cString(NOWHERE), 0o600);
  const target = new Uint8Array(NOWHERE.length + 1);
  const length = Number(readlink(cString(`/proc/self/fd/${kept}`), target, BigInt(target.length))); // -1 on macOS
  const isDiscarded = length >= 0 && new TextDecoder().decode(target.subarray(0, length)) === NOWHERE;
  const redirects = kept >= 0 && nowhere >= 0 && !isDiscarded;
  try {
    if (redirects) dup2(nowhere, STANDARD_OUTPUT);
    return work();
  } finally {
    if (redirects) dup2(kept, STANDARD_OUTPUT);
    for (const descriptor of [kept, nowhere]) if (descriptor >= 0) close(descriptor);
    library.close();
  }
}
