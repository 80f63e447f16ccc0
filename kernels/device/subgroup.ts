/**
 * Lines of WGSL that the variants with subgroups of 8 lanes share. In all of these variants a
 * workgroup is one subgroup.
 */

/** Invocations of a subgroup. */
export const LANES = 8;

/** The components of a vec4. */
export const XYZW: readonly string[] = [..."xyzw"];

/** Returns 0, 1, … below `count`. */
export function numbers(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i);
}

/** Writes a line for each number below `count`. */
export function unroll(count: number, line: (i: number) => string, separator = "\n"): string {
  return numbers(count).map(line).join(separator);
}

/** Keeps the text of each shape, because all layers of a model plan the same few texts. */
export function remembered<Shape>(write: (shape: Shape) => string): (shape: Shape) => string {
  const texts = new Map<string, string>();
  return (shape) => texts.getOrInsertComputed(JSON.stringify(shape), () => write(shape));
}

/** Writes WGSL that combines a value over the lanes, in a fixed order. */
export function overLanes(value: string, combine: (a: string, b: string) => string): string {
  return numbers(LANES).map((lane) => `subgroupBroadcast(${value}, ${lane}u)`).reduce(combine);
}

/** Writes WGSL that sums a scalar over the lanes, in a fixed order. */
export function sumOverLanes(value: string): string {
  return `(${overLanes(value, (a, b) => `${a} + ${b}`)})`;
}

/** Writes WGSL that selects the value whose number the loop variable `j` holds. */
export function pick(values: readonly string[]): string {
  return values.reduce((selected, value, j) => `select(${selected}, ${value}, j == ${j}u)`);
}

/** The private arrays in which a lane keeps vec4s: one array of scalars for each component. */
interface LaneArrays {
  /** Their declarations. */
  declarations: string;
  /** Element `at` of the four arrays of vec4 `j`. */
  vector(j: number, at: number | string): string;
  /** Stores the components of `value` into element `at` of the arrays of vec4 `j`. */
  store(j: number, at: number | string, value: string): string;
}

/**
 * Writes the declarations and uses of arrays `name0x`, `name0y`, …, of `length` scalars each: four
 * for each of `width` vec4s. kernels/NOTES.md says why they are scalars.
 */
export function laneArrays(name: string, width: number, length: number): LaneArrays {
  const array = (j: number, part: string) => `${name}${j}${part}`;
  return {
    declarations: unroll(
      width,
      (j) => XYZW.map((part) => `var ${array(j, part)}: array<f32, ${length}>;`).join(" "),
    ),
    vector: (j, at) => `vec4f(${XYZW.map((part) => `${array(j, part)}[${at}]`).join(", ")})`,
    store: (j, at, value) =>
      XYZW.map((part) => `${array(j, part)}[${at}] = ${value}.${part};`).join(" "),
  };
}
