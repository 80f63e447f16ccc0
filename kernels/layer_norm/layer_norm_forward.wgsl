// layer_norm_forward: normalises every row, then scales and shifts its columns; as RMSNorm it scales them alone.
//
//   x           [models, rows, stride4]  vec4   read
//   parameters  [models, 2, stride4]     vec4   read   gains, then biases (none in RMSNorm); padding columns hold zero
//   y           [models, rows, stride4]  vec4   write  padding columns become zero
//   statistics  [models, rows]           vec2f  write  mean, 1 / standard deviation
//
// CENTRED 1: LayerNorm, y = (x - mean) / sqrt(variance + epsilon) * gain + bias, the variance over `columns` (biased)
// CENTRED 0: RMSNorm, y = x / sqrt(mean(x²) + epsilon) * gain, with a mean of 0 in `statistics`
//
// One invocation per row, or for GPUs one workgroup, neighbours on neighbouring vec4s (`rows`). Fixed orders: equal bits.
// References: layerNormForwardReference and rmsNormForwardReference in layer_norm.ts.

override WG: u32 = 16u; // of a workgroup per row a power of two
override CENTRED: u32 = 1u;

// include layer_norm_forward_bindings

// include rows

fn sum_of_row(lane: u32, own: vec4f) -> f32 { return sum_lanes(lane, own.x + own.y + own.z + own.w); }

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let row = row_of(group.y * grid.x + group.x, lane);
  if (row >= params.rows) { return; }
  let model = group.z;
  let base = (model * params.rows + row) * params.stride4;
  let size = f32(params.columns);

  var mean = 0.0;
  if (CENTRED == 1u) {
    var sum = vec4f();
    for (var i = first_of(lane); i < params.stride4; i += apart()) { sum += load_x(base + i); } // padding is zero
    mean = sum_of_row(lane, sum) / size;
  }

  var squares = vec4f();
  for (var i = first_of(lane); i < params.stride4; i += apart()) {
    let real = vec4u(i * 4u) + vec4u(0u, 1u, 2u, 3u) < vec4u(params.columns);
    let d = select(vec4f(), load_x(base + i) - mean, real);
    squares = fma(d, d, squares);
  }
  let scale = inverseSqrt(sum_of_row(lane, squares) / size + params.epsilon);

  let gain = params.parameter_offset + model * params.parameter_model;
  for (var i = first_of(lane); i < params.stride4; i += apart()) {
    let z = (load_x(base + i) - mean) * scale;
    let factor = parameters[gain + i];
    var value = z * factor;
    if (CENTRED == 1u) { value = fma(z, factor, parameters[gain + params.stride4 + i]); }
    store_y(base + i, value);
  }
  if (leads(lane)) { statistics[model * params.rows + row] = vec2f(mean, scale); }
}
