/**
 * Counts what Deno's compiler puts into a text: loops, and in innermost loops the clamps of indices
 * and the additions of products that a driver may fuse as it likes.
 *
 * @module
 */

/** Counts of one text. */
export interface LoopCounts {
  /** Loops. */
  loops: number;
  /** Clamped indices in loops that hold no other loop. */
  clamps: number;
  /** Additions in the text one of whose terms is a product: a driver may fuse them or not. */
  fusible: number;
}

interface Loop {
  merge: string;
  clamps: number;
  isInner: boolean;
}

/** Counts in a disassembly of SPIR-V, as `spirv-dis` writes it. */
export function countLoops(disassembly: string): LoopCounts {
  const counts: LoopCounts = { loops: 0, clamps: 0, fusible: 0 };
  const open: Loop[] = [];
  const products = new Set<string>();
  for (const line of disassembly.split("\n")) {
    const [, result, operation, operands = ""] = /^\s*(?:(%\S+) = )?(Op\w+)\s*(.*)$/.exec(line) ??
      [];
    if (operation === "OpLoopMerge") {
      counts.loops++;
      const [merge] = operands.split(" ");
      for (const loop of open) loop.isInner = false;
      open.push({ merge, clamps: 0, isInner: true });
    } else if (operation === "OpLabel" && open.at(-1)?.merge === result) {
      const { clamps, isInner } = open.pop()!;
      if (isInner) counts.clamps += clamps;
    } else if (operation === "OpExtInst" && / UMin /.test(operands)) {
      const loop = open.at(-1);
      if (loop) loop.clamps++;
    } else if (/^Op(FMul|VectorTimesScalar)$/.test(operation ?? "")) products.add(result);
    else if (/^OpF(Add|Sub)$/.test(operation ?? "")) {
      if (operands.split(" ").slice(1).some((term) => products.has(term))) counts.fusible++;
    }
  }
  return counts;
}

/** Counts in a file of SPIR-V; undefined where there is no `spirv-dis` (package spirv-tools). */
export async function countLoopsOf(file: string): Promise<LoopCounts | undefined> {
  try {
    const { success, stdout, stderr } = await new Deno.Command("spirv-dis", {
      args: ["--no-color", "--no-header", file],
    }).output();
    if (!success) throw new Error(new TextDecoder().decode(stderr));
    return countLoops(new TextDecoder().decode(stdout));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}
