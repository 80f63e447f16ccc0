// column_sum_partial: LayerNorm's gain and bias gradients over blocks of rows; column_sum_finish adds the blocks.
//
//   d_y         [models, rows, stride4]       vec4   read
//   x           [models, rows, stride4]       vec4   read
//   statistics  [models, rows]                vec2f  read   mean, reciprocal deviation
//   partial     [models, blocks, 2, stride4]  vec4   write  sums of d_y * (x - mean) * scale, then of d_y
//
// One invocation per vec4 of columns and block of `block_rows` rows, in ascending order: equal bits.
// Reference: layerNormBackwardReference in layer_norm.ts.

override WG: u32 = 16u;

// include column_sum_partial_bindings

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let index = (group.y * grid.x + group.x) * WG + lane;
  let column = index % params.stride4;
  let block = index / params.stride4;
  if (block >= params.blocks) { return; }
  let model = group.z;
  let first = block * params.block_rows;
  let end = min(first + params.block_rows, params.rows);
  var sum = vec4f();
  var product = vec4f();
  var i = (model * params.rows + first) * params.stride4 + column;
  for (var row = first; row < end; row++) {
    let d = d_y[i];
    let s = statistics[model * params.rows + row];
    sum += d;
    product += d * ((load_x(i) - s.x) * s.y);
    i += params.stride4;
  }
  let out = (model * params.blocks + block) * params.stride4 * 2u + column;
  partial[out] = product;
  partial[out + params.stride4] = sum;
}
