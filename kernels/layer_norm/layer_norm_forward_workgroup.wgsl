// layer_norm_forward_workgroup: normalises every row, then scales and shifts its columns. For GPUs.
//
//   x           [models, rows, stride4]  vec4   read
//   parameters  [models, 2, stride4]     vec4   read   gains, then biases; padding columns hold zero
//   y           [models, rows, stride4]  vec4   write  padding columns become zero
//   statistics  [models, rows]           vec2f  write  mean, 1 / standard deviation
//
// y = (x - mean) / sqrt(variance + epsilon) * gain + bias, the variance over `columns` (biased)
//
// One workgroup per row, neighbours on neighbouring vec4s. Trees add in a fixed order: equal bits.
// Reference: layerNormForwardReference in layer_norm.ts.

override WG: u32 = 64u; // a power of two

// include layer_norm_forward_bindings

// include sum_lanes

fn sum_over_lanes(lane: u32, own: vec4f) -> f32 { return sum_lanes(lane, own.x + own.y + own.z + own.w); }

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let row = group.y * grid.x + group.x;
  if (row >= params.rows) { return; }
  let model = group.z;
  let base = (model * params.rows + row) * params.stride4;
  let size = f32(params.columns);

  var sum = vec4f();
  for (var i = lane; i < params.stride4; i += WG) { sum += load_x(base + i); } // padding is zero
  let mean = sum_over_lanes(lane, sum) / size;

  var squares = vec4f();
  for (var i = lane; i < params.stride4; i += WG) {
    let real = vec4u(i * 4u) + vec4u(0u, 1u, 2u, 3u) < vec4u(params.columns);
    let d = select(vec4f(), load_x(base + i) - mean, real);
    squares += d * d;
  }
  let scale = inverseSqrt(sum_over_lanes(lane, squares) / size + params.epsilon);

  let gain = params.parameter_offset + model * params.parameter_model;
  for (var i = lane; i < params.stride4; i += WG) {
    let normalized = (load_x(base + i) - mean) * scale;
    store_y(base + i, normalized * parameters[gain + i] + parameters[gain + params.stride4 + i]);
  }
  if (lane == 0u) { statistics[model * params.rows + row] = vec2f(mean, scale); }
}
