// layer_norm_forward: normalises every row, then scales and shifts its columns.
//
//   x           [models, rows, stride4]  vec4   read
//   parameters  [models, 2, stride4]     vec4   read   gains, then biases; padding columns hold zero
//   y           [models, rows, stride4]  vec4   write  padding columns become zero
//   statistics  [models, rows]           vec2f  write  mean, 1 / standard deviation
//
// y = (x - mean) / sqrt(variance + epsilon) * gain + bias, the variance over `columns` (biased)
//
// One invocation per row: rows are short, and a loop of vec4s needs no barrier. Fixed order, equal bits.
// Reference: layerNormForwardReference in layer_norm.ts.

override WG: u32 = 16u;

// include layer_norm_forward_bindings

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let row = (group.y * grid.x + group.x) * WG + lane;
  if (row >= params.rows) { return; }
  let model = group.z;
  let base = (model * params.rows + row) * params.stride4;
  let size = f32(params.columns);

  var sum = vec4f();
  for (var i = 0u; i < params.stride4; i++) { sum += load_x(base + i); } // padding is zero
  let mean = (sum.x + sum.y + sum.z + sum.w) / size;

  var squares = vec4f();
  for (var i = 0u; i < params.stride4; i++) {
    let real = vec4u(i * 4u) + vec4u(0u, 1u, 2u, 3u) < vec4u(params.columns);
    let d = select(vec4f(), load_x(base + i) - mean, real);
    squares += d * d;
  }
  let scale = inverseSqrt((squares.x + squares.y + squares.z + squares.w) / size + params.epsilon);

  let gain = params.parameter_offset + model * params.parameter_model;
  for (var i = 0u; i < params.stride4; i++) {
    let z = (load_x(base + i) - mean) * scale;
    store_y(base + i, z * parameters[gain + i] + parameters[gain + params.stride4 + i]);
  }
  statistics[model * params.rows + row] = vec2f(mean, scale);
}
