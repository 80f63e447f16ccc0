// layer_norm_backward_subgroup: the gradients of LayerNorm or RMSNorm. For software adapters with subgroups of 8 lanes.
//
//   d_y         [models, rows, stride4]       vec4   read
//   x           [models, rows, stride4]       vec4   read
//   statistics  [models, rows]                vec2f  read        mean, reciprocal deviation
//   parameters  [models, 2, stride4]          vec4   read        gains first; offset and stride count vec4s
//   d_x         [models, rows, stride4]       vec4   write       accumulate 1: adds into d_x; padding columns become zero
//   partial     [models, blocks, 2, stride4]  vec4   write       sums of d_y * (x - mean) * scale, then of d_y, over a block;
//                                                                RMSNorm has the former alone, [models, blocks, stride4]
//
// d_x = scale * (g - mean(g) - z * mean(g * z)),  g = d_y * gain,  z = (x - mean) * scale; RMSNorm (CENTRED 0) has mean 0, and no mean(g)
//
// Laid out as layer_norm_forward_subgroup; the gradients of gains and biases are summed on the way, in private arrays, as
// column_sum_partial does it, and column_sum_finish adds the blocks. Fixed orders: equal bits. The loops that must be unrolled
// are fragments: layer_norm_subgroup.ts writes them. References: layerNormBackwardReference and
// rmsNormBackwardReference in layer_norm.ts.

override CENTRED: u32 = 1u;

// include layer_norm_backward_bindings
@group(0) @binding(6) var<storage, read_write> partial: array<vec4f>;

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
    let own_gain = parameters[gain + min(lane + 8u * j, params.stride4 - 1u)];
    // include fill_parameters
  }
  for (var row = first; row < end; row++) {
    let base = (model * params.rows + row) * params.stride4;
    let known = statistics[model * params.rows + row];
    // include clear_row
    for (var j = 0u; j < (params.stride4 + 7u) / 8u; j++) {
      let column = lane + 8u * j;
      let at = base + min(column, params.stride4 - 1u);
      let d = select(vec4f(), d_y[at], column < params.stride4);
      let z = (load_x(at) - known.x) * known.y;
      // include keep_values
    }
    // include add_to_parameters
    // include sum_row
    let own_g = g.x + g.y + g.z + g.w;
    let own_gz = gz.x + gz.y + gz.z + gz.w;
    // include means_over_lanes
    // include gradient_of_row
    for (var j = 0u; j < (params.stride4 + 7u) / 8u; j++) {
      let column = lane + 8u * j;
      if (column < params.stride4) {
        // include pick_value
        if (params.accumulate == 1u) { value += d_x[base + column]; }
        d_x[base + column] = value;
      }
    }
  }
  let blocks = (params.rows + params.block_rows - 1u) / params.block_rows;
  let out = (model * blocks + block) * (1u + CENTRED) * params.stride4;
  for (var j = 0u; j < (params.stride4 + 7u) / 8u; j++) {
    let column = lane + 8u * j;
    if (column < params.stride4) {
      // include store_partial
    }
  }
}
