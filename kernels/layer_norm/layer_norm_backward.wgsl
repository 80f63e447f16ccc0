// layer_norm_backward: adds the gradient of a normalised row into the gradient of its input.
//
//   d_y         [models, rows, stride4]  vec4   read   padding columns hold zero
//   x           [models, rows, stride4]  vec4   read
//   statistics  [models, rows]           vec2f  read   from layer_norm_forward
//   parameters  [models, 2, stride4]     vec4   read   gains; the biases, which RMSNorm lacks, are not used
//   d_x         [models, rows, stride4]  vec4   write  accumulate 1: += (the gradient of the residual stream)
//
// with z = (x - mean) * scale and g = d_y * gain:  d_x = scale * (g - mean(g) - z * mean(g * z))
// RMSNorm (CENTRED 0) has mean 0, and no mean(g)
//
// Laid out as layer_norm_forward. The gradients of gains and biases are column sums: column_sum_partial.wgsl.
// References: layerNormBackwardReference and rmsNormBackwardReference in layer_norm.ts.

override WG: u32 = 16u;
override CENTRED: u32 = 1u;

// include layer_norm_backward_bindings

// include rows

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let row = row_of(group.y * grid.x + group.x, lane);
  if (row >= params.rows) { return; }
  let model = group.z;
  let base = (model * params.rows + row) * params.stride4;
  let gain = params.parameter_offset + model * params.parameter_model;
  let known = statistics[model * params.rows + row];
  let mean = known.x;
  let scale = known.y;

  var sum = vec4f();
  var product = vec4f();
  for (var i = first_of(lane); i < params.stride4; i += apart()) { // padding columns add zero: their gain is zero
    let d = d_y[base + i];
    let factor = parameters[gain + i];
    sum = fma(d, factor, sum);
    product = fma(d * factor, (load_x(base + i) - mean) * scale, product);
  }
  let size = f32(params.columns);
  var mean_g = 0.0;
  if (CENTRED == 1u) { mean_g = sum_lanes(lane, sum.x + sum.y + sum.z + sum.w) / size; }
  let mean_gz = sum_lanes(lane, product.x + product.y + product.z + product.w) / size;

  for (var i = first_of(lane); i < params.stride4; i += apart()) {
    let z = (load_x(base + i) - mean) * scale;
    let d = scale * fma(-z, vec4f(mean_gz), fma(d_y[base + i], parameters[gain + i], vec4f(-mean_g)));
    let real = vec4u(i * 4u) + vec4u(0u, 1u, 2u, 3u) < vec4u(params.columns);
    var value = select(vec4f(), d, real);
    if (params.accumulate == 1u) { value += d_x[base + i]; }
    d_x[base + i] = value;
  }
}
