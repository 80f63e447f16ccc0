// matmul: C = A · B per model of a bank, with a fused tail. For adapters without fast workgroup memory.
//
//   a      [models, m, a_stride]       f32   read        rows of k values, contiguous
//   b      [models, k, b_stride]       vec4  read        strides and offsets of b, bias, extra and c count vec4s
//   bias   [models, n4]                vec4  read        used by TAIL 1, 2, 3
//   extra  [models, m, extra_stride]   vec4  read/write  TAIL 2 writes the sum before GELU; 3 to 5 read
//   c      [models, m, c_stride]       vec4  write       ACCUMULATE 1: adds into c
//
// TAIL 0: A·B    1: + bias    2: gelu(A·B + bias)    3: A·B + bias + extra    4: A·B ⊙ gelu'(extra)    5: A·B + extra
//
// One invocation holds 8 rows × 8 columns in registers; invocations are numbered along the columns, then the
// rows. Every element is one sum over k in ascending order, so equal inputs give equal bits.
// Columns come in vec4s: padding columns of b must be zero. Reference: matmulReference in matmul.ts.

override WG: u32 = 16u;
override TAIL: u32 = 0u;
override ACCUMULATE: u32 = 0u;

struct Params {
  m: u32, n4: u32, k: u32,
  a_offset: u32, a_stride: u32, a_model: u32,
  b_offset: u32, b_stride: u32, b_model: u32,
  bias_offset: u32, bias_model: u32,
  extra_offset: u32, extra_stride: u32, extra_model: u32,
  c_offset: u32, c_stride: u32, c_model: u32,
}

@group(0) @binding(1) var<storage, read> a: array<f32>;

fn load_a(i: u32) -> f32 { return a[i]; }

// include matmul_tail

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let tile = (group.y * grid.x + group.x) * WG + lane;
  let column_tiles = (params.n4 + 1u) / 2u;
  let row = (tile / column_tiles) * 8u;
  let column = (tile % column_tiles) * 2u;
  if (row >= params.m) { return; }
  let model = group.z;
  let last = params.m - 1u;
  let a_base = params.a_offset + model * params.a_model;
  let a0 = a_base + min(row + 0u, last) * params.a_stride;
  let a1 = a_base + min(row + 1u, last) * params.a_stride;
  let a2 = a_base + min(row + 2u, last) * params.a_stride;
  let a3 = a_base + min(row + 3u, last) * params.a_stride;
  let a4 = a_base + min(row + 4u, last) * params.a_stride;
  let a5 = a_base + min(row + 5u, last) * params.a_stride;
  let a6 = a_base + min(row + 6u, last) * params.a_stride;
  let a7 = a_base + min(row + 7u, last) * params.a_stride;
  var b_left = params.b_offset + model * params.b_model + column;
  let right = min(1u, params.n4 - 1u - column); // the odd last column is computed twice and stored once
  var l0 = vec4f(); var r0 = vec4f();
  var l1 = vec4f(); var r1 = vec4f();
  var l2 = vec4f(); var r2 = vec4f();
  var l3 = vec4f(); var r3 = vec4f();
  var l4 = vec4f(); var r4 = vec4f();
  var l5 = vec4f(); var r5 = vec4f();
  var l6 = vec4f(); var r6 = vec4f();
  var l7 = vec4f(); var r7 = vec4f();
  for (var k = 0u; k < params.k; k++) {
    let left4 = load_b(b_left);
    let right4 = load_b(b_left + right);
    let x0 = load_a(a0 + k); l0 += x0 * left4; r0 += x0 * right4;
    let x1 = load_a(a1 + k); l1 += x1 * left4; r1 += x1 * right4;
    let x2 = load_a(a2 + k); l2 += x2 * left4; r2 += x2 * right4;
    let x3 = load_a(a3 + k); l3 += x3 * left4; r3 += x3 * right4;
    let x4 = load_a(a4 + k); l4 += x4 * left4; r4 += x4 * right4;
    let x5 = load_a(a5 + k); l5 += x5 * left4; r5 += x5 * right4;
    let x6 = load_a(a6 + k); l6 += x6 * left4; r6 += x6 * right4;
    let x7 = load_a(a7 + k); l7 += x7 * left4; r7 += x7 * right4;
    b_left += params.b_stride;
  }
  // A loop: some drivers take half a second to compile sixteen copies of finish().
  var sums = array<vec4f, 16>(l0, r0, l1, r1, l2, r2, l3, r3, l4, r4, l5, r5, l6, r6, l7, r7);
  for (var i = 0u; i < 16u; i++) { finish(model, row + i / 2u, column + i % 2u, sums[i]); }
}
