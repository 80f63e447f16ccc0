/**
 * Reads SPIR-V, what Deno's compiler makes of WGSL: which accesses to private memory have an index that is no constant. Drivers keep
 * such an array out of registers unless they unroll the loop.
 *
 * @module
 */

/** A variable of a function, or private to an invocation, that is indexed by what is no constant. */
export interface DynamicAccess {
  /** Id of the variable; 0 where a component of a vector is picked. */
  variable: number;
  /** What it holds: `array`, `vector`, `matrix` or `struct`. */
  of: string;
}

const MAGIC = 0x07230203;
const HEADER_WORDS = 5;
const STORAGE = { private: 6, function: 7 };
const OP = {
  typeVector: 23,
  typeMatrix: 24,
  typeArray: 28,
  typeStruct: 30,
  typePointer: 32,
  constant: 43,
  variable: 59,
  accessChain: 65,
  inBoundsAccessChain: 66,
  extractDynamic: 77,
  insertDynamic: 78,
};

/** Lists the instructions of a module: opcode and operands. Throws a `TypeError` where it is none. */
function instructionsOf(words: Uint32Array): { op: number; operands: Uint32Array }[] {
  if (words[0] !== MAGIC) throw new TypeError(`Cannot read SPIR-V as it must begin with its magic number`);
  const instructions = [];
  for (let at = HEADER_WORDS; at < words.length; at += words[at] >>> 16) {
    const count = words[at] >>> 16;
    if (count === 0) throw new TypeError(`Cannot read SPIR-V as word ${at} must begin an instruction`);
    instructions.push({ op: words[at] & 0xffff, operands: words.subarray(at + 1, at + count) });
  }
  return instructions;
}

/** Lists the accesses to private memory whose index is no constant, in the order of the text. */
export function dynamicAccesses(words: Uint32Array): DynamicAccess[] {
  const kinds = new Map<number, string>();
  const pointees = new Map<number, number>(); // of pointer types
  const members = new Map<number, number[]>(); // types of what a type holds
  const constants = new Map<number, number>();
  const variables = new Map<number, number>(); // types of private ones
  const found: DynamicAccess[] = [];
  for (const { op, operands } of instructionsOf(words)) {
    if (op === OP.typeVector || op === OP.typeMatrix || op === OP.typeArray) {
      kinds.set(operands[0], { [OP.typeVector]: "vector", [OP.typeMatrix]: "matrix" }[op] ?? "array");
      members.set(operands[0], [operands[1]]);
    } else if (op === OP.typeStruct) {
      kinds.set(operands[0], "struct");
      members.set(operands[0], [...operands.subarray(1)]);
    } else if (op === OP.typePointer) pointees.set(operands[0], operands[2]);
    else if (op === OP.constant) constants.set(operands[1], operands[2]);
    else if (op === OP.variable && (operands[2] === STORAGE.private || operands[2] === STORAGE.function)) {
      variables.set(operands[1], pointees.get(operands[0])!);
    } else if (op === OP.extractDynamic || op === OP.insertDynamic) {
      found.push({ variable: 0, of: "vector" });
    } else if (op === OP.accessChain || op === OP.inBoundsAccessChain) {
      const [, , base, ...indices] = operands;
      let type = variables.get(base);
      for (const index of type === undefined ? [] : indices) {
        const constant = constants.get(index);
        if (constant === undefined) found.push({ variable: base, of: kinds.get(type!) ?? "unknown" });
        const held: number[] = members.get(type!) ?? [];
        type = kinds.get(type!) === "struct" ? held[constant ?? 0] : held[0];
      }
    }
  }
  return found;
}
