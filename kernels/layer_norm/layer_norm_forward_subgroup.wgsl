// layer_norm_forward_subgroup: LayerNorm or RMSNorm of rows that stay in registers. For software adapters with subgroups of 8 lanes.
//
//   x           [models, rows, stride4]              vec4   read   padding columns are zero
//   parameters  [models, 2, stride4]                 vec4   read   gains, then biases (none in RMSNorm); offset and stride count vec4s
//   y           [models, rows, stride4]              vec4   write  padding columns become zero
//   statistics  [models, rows]                       vec2f  write  mean, reciprocal deviation
//
// y = (x - mean) / sqrt(variance + epsilon) * gain + bias; RMSNorm (CENTRED 0) has mean 0 and no bias
//
// A workgroup is one subgroup and walks a block of rows. Its lanes own every eighth vec4 of a row, so that a row is read once,
// and is summed over the lanes by broadcasts; gains and biases are read once per block and lie in private arrays. Fixed
// orders: equal bits. The loops that must be unrolled are fragments: layer_norm_subgroup.ts writes them; storage is accessed
// in loops, since each access takes long to compile. References: layerNormForwardReference
// and rmsNormForwardReference in layer_norm.ts.

override CENTRED: u32 = 1u;

// include layer_norm_forward_bindings

// Which columns of vec4 `column` are no padding.
fn real(column: u32) -> vec4<bool> { return vec4u(column * 4u) + vec4u(0u, 1u, 2u, 3u) < vec4u(params.columns); }

@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let block = group.y * grid.x + group.x;
  let first = block * params.block_rows;
  if (first >= params.rows) { return; }
  let end = min(first + params.block_rows, params.rows);
  let model = group.z;
  let gain = params.parameter_offset + model * params.parameter_model;
  let size = f32(params.columns);
  // include lane_arrays
  for (var j = 0u; j < (params.stride4 + 7u) / 8u; j++) {
    let column = min(lane + 8u * j, params.stride4 - 1u);
    let own_gain = parameters[gain + column];
    var own_bias = vec4f();
    if (CENTRED == 1u) { own_bias = parameters[gain + params.stride4 + column]; }
    // include fill_parameters
  }
  for (var row = first; row < end; row++) {
    let base = (model * params.rows + row) * params.stride4;
    // include clear_row
    for (var j = 0u; j < (params.stride4 + 7u) / 8u; j++) {
      let column = lane + 8u * j;
      let value = select(vec4f(), load_x(base + min(column, params.stride4 - 1u)), column < params.stride4);
      // include keep_value
    }
    // include sum_row
    let own_sum = sum.x + sum.y + sum.z + sum.w;
    // include mean_over_lanes
    // include centre_row
    let own_squares = squares.x + squares.y + squares.z + squares.w;
    // include scale_over_lanes
    // include normalise_row
    for (var j = 0u; j < (params.stride4 + 7u) / 8u; j++) {
      let column = lane + 8u * j;
      if (column < params.stride4) {
        // include store_row
      }
    }
    if (lane == 0u) { statistics[model * params.rows + row] = vec2f(mean, scale); }
  }
}
