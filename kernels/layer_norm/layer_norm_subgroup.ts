/**
 * WGSL of LayerNorm for software adapters with subgroups of 8 lanes, one text per width of a row.
 *
 * A workgroup is one subgroup and walks a block of rows. Its lanes own every eighth vec4 of a row, so that a row is read
 * once, stays in registers, and is summed over the lanes by broadcasts; gains are read once per block. Going backward the
 * gradients of gains and biases are summed on the way, a block at a time. Fixed orders: equal bits. What stays over all
 * rows lies in private arrays, and storage is accessed in loops: matmul_subgroup.ts tells why. References:
 * layerNormForwardReference and layerNormBackwardReference in layer_norm.ts.
 */

import { chosen, LANES, sumOverLanes, XYZW } from "../device/subgroup.ts";

/** vec4s of a row that a lane may own: wider rows are left to other forms, since their text takes too long to compile. */
export const MOST_VEC4S = 8;

const join = (count: number, text: (i: number) => string, separator = " ") =>
  Array.from({ length: count }, (_, i) => text(i)).join(separator);

/** Element `j` of the four arrays, one per component, that {@link arrays} declares. */
const element = (name: string, j: number | string) =>
  `vec4f(${XYZW.map((part) => `${name}_${part}[${j}]`).join(", ")})`;
const arrays = (name: string, vec4s: number) =>
  XYZW.map((part) => `var ${name}_${part}: array<f32, ${vec4s}>;`).join(" ");
const fill = (name: string, value: string) =>
  XYZW.map((part) => `${name}_${part}[j] = ${value}.${part};`).join(" ");

/** Lets `j` run over the vec4s that a lane owns: with a literal as its bound, the driver would unroll it. */
const LOOP = `for (var j = 0u; j < (params.stride4 + ${LANES - 1}u) / ${LANES}u; j++)`;
const names = (name: string, vec4s: number) => Array.from({ length: vec4s }, (_, j) => `${name}${j}`);

const START = `
@compute @workgroup_size(${LANES})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let block = group.y * grid.x + group.x;
  let first = block * params.block_rows;
  if (first >= params.rows) { return; }
  let end = min(first + params.block_rows, params.rows);
  let model = group.z;
  let gain = params.parameter_offset + model * params.parameter_model;
  let size = f32(params.columns);`;

/** Which columns of vec4 `column` are no padding. */
const REAL = `
fn real(column: u32) -> vec4<bool> { return vec4u(column * 4u) + vec4u(0u, 1u, 2u, 3u) < vec4u(params.columns); }
`;

/** Returns the WGSL of the forward pass, `vec4s` per lane: bindings as in layer_norm_forward.wgsl. */
export function layerNormForwardSubgroup(vec4s: number): string {
  const each = (text: (j: number) => string, separator = " ") => join(vec4s, text, separator);
  return `
struct Params {
  rows: u32, columns: u32, stride4: u32, parameter_offset: u32, parameter_model: u32, epsilon: f32, block_rows: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> parameters: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> statistics: array<vec2f>;

fn load_x(i: u32) -> vec4f { return x[i]; }
fn store_y(i: u32, value: vec4f) { y[i] = value; }
${REAL}${START}
  ${arrays("gains", vec4s)} ${arrays("biases", vec4s)}
  ${LOOP} {
    let column = min(lane + ${LANES}u * j, params.stride4 - 1u);
    let own_gain = parameters[gain + column];
    let own_bias = parameters[gain + params.stride4 + column];
    ${fill("gains", "own_gain")} ${fill("biases", "own_bias")}
  }
  for (var row = first; row < end; row++) {
    let base = (model * params.rows + row) * params.stride4;
    ${each((j) => `var x${j} = vec4f();`)}
    ${LOOP} {
      let column = lane + ${LANES}u * j;
      let value = select(vec4f(), load_x(base + min(column, params.stride4 - 1u)), column < params.stride4);
      ${each((i) => `x${i} = select(x${i}, value, j == ${i}u);`)}
    }
    let sum = ${each((j) => `x${j}`, " + ")};
    let own_sum = sum.x + sum.y + sum.z + sum.w;
    let mean = ${sumOverLanes("own_sum")} / size;
    ${each((j) => `let d${j} = select(vec4f(), x${j} - mean, real(lane + ${LANES * j}u));`)}
    let squares = ${each((j) => `d${j} * d${j}`, " + ")};
    let own_squares = squares.x + squares.y + squares.z + squares.w;
    let scale = inverseSqrt(${sumOverLanes("own_squares")} / size + params.epsilon);
    ${each((j) => `let y${j} = d${j} * scale * ${element("gains", j)} + ${element("biases", j)};`)}
    ${LOOP} {
      let column = lane + ${LANES}u * j;
      if (column < params.stride4) { store_y(base + column, ${chosen(names("y", vec4s))}); }
    }
    if (lane == 0u) { statistics[model * params.rows + row] = vec2f(mean, scale); }
  }
}
`;
}

/**
 * Returns the WGSL of the backward pass, `vec4s` per lane: bindings as in layer_norm_backward.wgsl, and then `partial`
 * vec4 `[models, blocks, 2, stride4]`, what column_sum_partial.wgsl gives: sums of d_y · z, and of d_y, over blocks of rows.
 */
export function layerNormBackwardSubgroup(vec4s: number): string {
  const each = (text: (j: number) => string, separator = " ") => join(vec4s, text, separator);
  return `
struct Params {
  rows: u32, columns: u32, stride4: u32, parameter_offset: u32, parameter_model: u32, accumulate: u32, block_rows: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> d_y: array<vec4f>;
@group(0) @binding(2) var<storage, read> x: array<vec4f>;
@group(0) @binding(3) var<storage, read> statistics: array<vec2f>;
@group(0) @binding(4) var<storage, read> parameters: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> d_x: array<vec4f>;
@group(0) @binding(6) var<storage, read_write> partial: array<vec4f>;

fn load_x(i: u32) -> vec4f { return x[i]; }
${REAL}${START}
  ${["gains", "products", "sums"].map((name) => arrays(name, vec4s)).join("\n  ")}
  ${LOOP} {
    let own_gain = parameters[gain + min(lane + ${LANES}u * j, params.stride4 - 1u)];
    ${fill("gains", "own_gain")} ${fill("products", "vec4f()")} ${fill("sums", "vec4f()")}
  }
  for (var row = first; row < end; row++) {
    let base = (model * params.rows + row) * params.stride4;
    let known = statistics[model * params.rows + row];
    ${each((j) => `var d${j} = vec4f(); var z${j} = vec4f();`)}
    ${LOOP} {
      let column = lane + ${LANES}u * j;
      let at = base + min(column, params.stride4 - 1u);
      let d = select(vec4f(), d_y[at], column < params.stride4);
      let z = (load_x(at) - known.x) * known.y;
      ${each((i) => `d${i} = select(d${i}, d, j == ${i}u); z${i} = select(z${i}, z, j == ${i}u);`)}
    }
    ${
    each((j) => {
      const add = XYZW.map((part) =>
        `sums_${part}[${j}] += d${j}.${part}; products_${part}[${j}] += d${j}.${part} * z${j}.${part};`
      );
      return `let g${j} = d${j} * ${element("gains", j)}; ${add.join(" ")}`;
    }, "\n    ")
  }
    let g = ${each((j) => `g${j}`, " + ")};
    let gz = ${each((j) => `g${j} * z${j}`, " + ")};
    let own_g = g.x + g.y + g.z + g.w;
    let own_gz = gz.x + gz.y + gz.z + gz.w;
    let mean_g = ${sumOverLanes("own_g")} / size;
    let mean_gz = ${sumOverLanes("own_gz")} / size;
    ${each((j) => `let v${j} = known.y * (g${j} - mean_g - z${j} * mean_gz);`)}
    ${LOOP} {
      let column = lane + ${LANES}u * j;
      if (column < params.stride4) {
        var value = select(vec4f(), ${chosen(names("v", vec4s))}, real(column));
        if (params.accumulate == 1u) { value += d_x[base + column]; }
        d_x[base + column] = value;
      }
    }
  }
  let blocks = (params.rows + params.block_rows - 1u) / params.block_rows;
  let out = (model * blocks + block) * 2u * params.stride4;
  ${LOOP} {
    let column = lane + ${LANES}u * j;
    if (column < params.stride4) {
      partial[out + column] = ${element("products", "j")};
      partial[out + params.stride4 + column] = ${element("sums", "j")};
    }
  }
}
`;
}
