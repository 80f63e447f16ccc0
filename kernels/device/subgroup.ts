/** Pieces of WGSL that the forms with subgroups of 8 lanes share: a workgroup is one subgroup in all of them. */

/** Invocations of a subgroup. */
export const LANES = 8;

/** The components of a vec4. */
export const XYZW: readonly string[] = [..."xyzw"];

/** A value combined over the lanes, in a fixed order. */
export function overLanes(value: string, combine: (a: string, b: string) => string): string {
  return Array.from({ length: LANES }, (_, lane) => `subgroupBroadcast(${value}, ${lane}u)`).reduce(combine);
}

/** A scalar summed over the lanes, in a fixed order. */
export function sumOverLanes(value: string): string {
  return `(${overLanes(value, (a, b) => `${a} + ${b}`)})`;
}

/** The one of the values that `j` names. */
export function chosen(values: readonly string[]): string {
  return values.reduce((rest, value, j) => `select(${rest}, ${value}, j == ${j}u)`);
}

/** Private arrays of `length` scalars, four for each of `width` vec4s: what a lane owns. */
export interface LaneArrays {
  /** Their declarations. */
  declarations: string;
  /** Element `at` of the four arrays of vec4 `j`. */
  vector(j: number, at: number | string): string;
  /** Stores the components of `value` into element `at` of the arrays of vec4 `j`. */
  store(j: number, at: number | string, value: string): string;
}

/** Writes the uses of arrays `name0x`, `name0y`, …: kernels/NOTES.md tells why they are scalars. */
export function laneArrays(name: string, width: number, length: number): LaneArrays {
  const array = (j: number, part: string) => `${name}${j}${part}`;
  const all = Array.from({ length: width }, (_, j) => XYZW.map((part) => array(j, part))).flat();
  return {
    declarations: all.map((one) => `var ${one}: array<f32, ${length}>;`).join("\n  "),
    vector: (j, at) => `vec4f(${XYZW.map((part) => `${array(j, part)}[${at}]`).join(", ")})`,
    store: (j, at, value) => XYZW.map((part) => `${array(j, part)}[${at}] = ${value}.${part};`).join(" "),
  };
}

/**
 * The start of a matrix product's `main`: a workgroup has rows from `first` and `width` vec4s of columns per lane, the
 * lane's first one `column`, of model `model`. `own` is how many of these vec4s there are in the last tile of a row: a
 * bound that the driver cannot see, or it would unroll loops, and accesses take long to compile.
 */
export function tileStart(width: number, rows: string): string {
  const across = LANES * width;
  return `
@compute @workgroup_size(${LANES})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let tile = group.y * grid.x + group.x;
  let across = (params.n4 + ${across - 1}u) / ${across}u;
  let first = (tile / across) * ${rows};
  let column = (tile % across) * ${across}u + lane;
  if (first >= params.m) { return; }
  let own = (min(${across}u, params.n4 - (column - lane)) + ${LANES - 1}u) / ${LANES}u;
  let model = group.z;`;
}
