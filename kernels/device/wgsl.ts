/**
 * Puts WGSL texts together. A text names a fragment on a line of its own, `// include NAME`. The
 * fragment is either a file `NAME.wgsl` next to it, or lines that TypeScript writes because a loop
 * must be unrolled. A fragment or replacement that does not find its place throws a `TypeError`:
 * the text would otherwise run unchanged and compute something else. kernels/NOTES.md tells how the
 * variants of a kernel are made.
 */

/** Replaces every place of a text that holds `found`. Throws where there is none. */
export function replace(
  text: string,
  pattern: string | RegExp,
  by: string | ((...groups: string[]) => string),
): string {
  if (typeof pattern === "string" ? !text.includes(pattern) : text.search(pattern) < 0) {
    throw new TypeError(
      `Cannot compose WGSL as the text must hold what is replaced: it lacks ${pattern}`,
    );
  }
  const every = typeof pattern === "string"
    ? pattern
    : new RegExp(pattern, pattern.flags.replace("g", "") + "g");
  return text.replaceAll(every, typeof by === "string" ? () => by : by);
}

const INCLUDE = /^ *\/\/ include (\w+)$/gm;

/**
 * Puts `fragments` where the text includes them, and gives its own `const`s of type u32 the values
 * of `constants`.
 *
 * Throws where the text includes a fragment that is not given, and where one is given that no text
 * includes. Also where a constant is not declared.
 */
export function compose(
  text: string,
  fragments: Readonly<Record<string, string>>,
  constants: Readonly<Record<string, number>> = {},
): string {
  let composed = text; // constants first, while the text is short: unrolled loops make it long
  for (const [name, value] of Object.entries(constants)) {
    const declaration = new RegExp(`^const ${name}: u32 = \\d+u;`, "m");
    composed = replace(composed, declaration, `const ${name}: u32 = ${value}u;`);
  }
  const unused = new Set(Object.keys(fragments));
  composed = composed.replace(INCLUDE, (_, name: string) => {
    if (!Object.hasOwn(fragments, name)) {
      throw new TypeError(
        `Cannot compose WGSL as fragment "${name}" must be given: there are ${
          [...unused].join(", ")
        }`,
      );
    }
    unused.delete(name);
    return fragments[name];
  });
  if (unused.size > 0) {
    throw new TypeError(
      `Cannot compose WGSL as the text must include each fragment: it lacks ${
        [...unused].join(", ")
      }`,
    );
  }
  return composed;
}

const USES_SUBGROUPS = /\bsubgroup(?:_|[A-Z])/;

/**
 * Adds the directive to a text that uses subgroups. WGSL demands it, and Deno 2.9 refuses it:
 * `openGpu` finds out which holds.
 */
export function enableSubgroups(code: string): string {
  return USES_SUBGROUPS.test(code) ? `enable subgroups;\n${code}` : code;
}
