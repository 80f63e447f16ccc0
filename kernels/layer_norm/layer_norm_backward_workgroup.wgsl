// layer_norm_backward_workgroup: adds the gradient of a normalised row into the gradient of its input. For GPUs.
//
//   d_y         [models, rows, stride4]  vec4   read   padding columns hold zero
//   x           [models, rows, stride4]  vec4   read
//   statistics  [models, rows]           vec2f  read   from layer_norm_forward
//   parameters  [models, 2, stride4]     vec4   read   gains (the biases are not used)
//   d_x         [models, rows, stride4]  vec4   write  accumulate 1: += (the gradient of the residual stream)
//
// with z = (x - mean) * scale and g = d_y * gain:  d_x = scale * (g - mean(g) - z * mean(g * z))
//
// One workgroup per row, neighbours on neighbouring vec4s. The tree adds in a fixed order: equal bits. The gradients of
// gains and biases are column sums: column_sum_partial.wgsl. Reference: layerNormBackwardReference in layer_norm.ts.

override WG: u32 = 64u; // a power of two

// include layer_norm_backward_bindings

// include sum_lanes

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let row = group.y * grid.x + group.x;
  if (row >= params.rows) { return; }
  let model = group.z;
  let base = (model * params.rows + row) * params.stride4;
  let gain = params.parameter_offset + model * params.parameter_model;
  let known = statistics[model * params.rows + row];
  let mean = known.x;
  let scale = known.y;

  var sum = vec4f();
  var product = vec4f();
  for (var i = lane; i < params.stride4; i += WG) { // padding columns add zero: their gain is zero
    let g = d_y[base + i] * parameters[gain + i];
    sum += g;
    product += g * ((load_x(base + i) - mean) * scale);
  }
  let total = sum_lanes(lane, sum.x + sum.y + sum.z + sum.w);
  let means = vec2f(total, sum_lanes(lane, product.x + product.y + product.z + product.w)) / f32(params.columns);

  for (var i = lane; i < params.stride4; i += WG) {
    let z = (load_x(base + i) - mean) * scale;
    let d = scale * (d_y[base + i] * parameters[gain + i] - means.x - z * means.y);
    let real = vec4u(i * 4u) + vec4u(0u, 1u, 2u, 3u) < vec4u(params.columns);
    let masked = select(vec4f(), d, real);
    if (params.accumulate == 1u) { d_x[base + i] += masked; } else { d_x[base + i] = masked; }
  }
}
