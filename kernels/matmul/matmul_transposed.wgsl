// matmul_transposed: C = Aᵀ · B per model of a bank: the weight gradient d_weight = d_outputᵀ · input.
//
//   a  [models, k, a_stride]  vec4  read   strides and offsets count vec4s; padding columns may hold anything finite
//   b  [models, k, b_stride]  vec4  read
//   c  [models, m, c_stride]  vec4  write  ACCUMULATE 1: adds into c
//   sums  [models, m4]        vec4  write  sums of a's columns (the bias gradient), where with_sums is 1; padding is zero
//
// One invocation holds 8 rows × 8 columns in registers; invocations are numbered along the columns, then the
// rows. Every element is one sum over k in ascending order, so equal inputs give equal bits.
// Reference: matmulReference in matmul.ts.

override WG: u32 = 16u;
override ACCUMULATE: u32 = 0u;

struct Params {
  m: u32, n4: u32, k: u32,
  a_offset: u32, a_stride: u32, a_model: u32,
  b_offset: u32, b_stride: u32, b_model: u32,
  c_offset: u32, c_stride: u32, c_model: u32,
  with_sums: u32,
}

// include matmul_transposed_bindings

// include matmul_transposed_tail

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let tile = (group.y * grid.x + group.x) * WG + lane;
  let column_tiles = (params.n4 + 1u) / 2u;
  let row = (tile / column_tiles) * 8u;
  let column = (tile % column_tiles) * 2u;
  if (row >= params.m) { return; }
  let model = group.z;
  var a_index = params.a_offset + model * params.a_model + row / 4u;
  let below = min(1u, (params.m - 1u) / 4u - row / 4u); // the odd last vec4 of rows is computed twice and stored once
  var b_index = params.b_offset + model * params.b_model + column;
  let right = min(1u, params.n4 - 1u - column);
  var l0 = vec4f(); var r0 = vec4f();
  var l1 = vec4f(); var r1 = vec4f();
  var l2 = vec4f(); var r2 = vec4f();
  var l3 = vec4f(); var r3 = vec4f();
  var l4 = vec4f(); var r4 = vec4f();
  var l5 = vec4f(); var r5 = vec4f();
  var l6 = vec4f(); var r6 = vec4f();
  var l7 = vec4f(); var r7 = vec4f();
  var top_sum = vec4f(); var bottom_sum = vec4f();
  for (var k = 0u; k < params.k; k++) {
    let top = load_a(a_index);
    let bottom = load_a(a_index + below);
    let left4 = load_b(b_index);
    let right4 = load_b(b_index + right);
    l0 += top.x * left4; r0 += top.x * right4;
    l1 += top.y * left4; r1 += top.y * right4;
    l2 += top.z * left4; r2 += top.z * right4;
    l3 += top.w * left4; r3 += top.w * right4;
    l4 += bottom.x * left4; r4 += bottom.x * right4;
    l5 += bottom.y * left4; r5 += bottom.y * right4;
    l6 += bottom.z * left4; r6 += bottom.z * right4;
    l7 += bottom.w * left4; r7 += bottom.w * right4;
    top_sum += top; bottom_sum += bottom;
    a_index += params.a_stride;
    b_index += params.b_stride;
  }
  if (params.with_sums == 1u && column == 0u) {
    store_sum(model, row / 4u, top_sum);
    if (below == 1u) { store_sum(model, row / 4u + 1u, bottom_sum); }
  }
  finish(model, row + 0u, column, l0); finish(model, row + 0u, column + 1u, r0);
  finish(model, row + 1u, column, l1); finish(model, row + 1u, column + 1u, r1);
  finish(model, row + 2u, column, l2); finish(model, row + 2u, column + 1u, r2);
  finish(model, row + 3u, column, l3); finish(model, row + 3u, column + 1u, r3);
  finish(model, row + 4u, column, l4); finish(model, row + 4u, column + 1u, r4);
  finish(model, row + 5u, column, l5); finish(model, row + 5u, column + 1u, r5);
  finish(model, row + 6u, column, l6); finish(model, row + 6u, column + 1u, r6);
  finish(model, row + 7u, column, l7); finish(model, row + 7u, column + 1u, r7);
}
