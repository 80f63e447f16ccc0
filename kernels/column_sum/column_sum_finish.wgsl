// column_sum_finish: adds sums over blocks, from column_sum_partial, layer_norm_backward or matmul_transposed.
//
//   partial  [models, blocks, width4]  vec4  read
//   sums     [models, width4]          vec4  write  ACCUMULATE 1: +=; offset and stride count vec4s
//
// One invocation per vec4 of columns; blocks are added in ascending order: equal bits.

override WG: u32 = 16u;
override ACCUMULATE: u32 = 0u;

// include column_sum_finish_bindings

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let column = (group.y * grid.x + group.x) * WG + lane;
  if (column >= params.width4) { return; }
  let model = group.z;
  var sum = vec4f();
  var i = model * params.blocks * params.width4 + column;
  for (var block = 0u; block < params.blocks; block++) {
    sum += partial[i];
    i += params.width4;
  }
  let out = params.sum_offset + model * params.sum_model + column;
  if (ACCUMULATE == 1u) { sums[out] += sum; } else { sums[out] = sum; }
}
