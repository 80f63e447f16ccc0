// linear_nll: loss of a linear layer's outputs that are never stored. For any adapter.
//
//   a          [models, rows, a_stride]  vec4  read   strides and offsets count vec4s; padding columns may hold anything finite
//   b          [models, k, b_stride]     vec4  read   columns from vocab on are padding
//   targets    [models | 1, rows]        u32   read   each < vocab; target_model is 0 where all models share them
//   weights    [models | 1, rows]        f32   read   0 masks the row
//   nll        [models, rows]            f32   write  nats; 0 where masked
//   likeliest  [models, rows]            f32   write  with details: id of the largest logit, the lowest of equals; 0 where masked
//   least      [models, rows]            f32   write  with details: its negative log-likelihood, nats; 0 where masked
//
// nll[r] = log(sum_v exp(x[r, v])) - x[r, targets[r]] with x = a · b; least[r] is the same of the largest logit, so that both have
// the same bits where the target is the likeliest. An id is exact as f32: vocab <= 2^24.
//
// One invocation per four rows, vec4s of the vocabulary in ascending order; it keeps the peak so far and the sum below it: equal
// bits. Reference: linearNllReference in linear_nll.ts.

override WG: u32 = 16u;

// include linear_nll_bindings

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let first = ((group.y * grid.x + group.x) * WG + lane) * 4u;
  if (first >= params.rows) { return; }
  let model = group.z;
  let source = model * params.target_model;
  var a_rows: array<u32, 4>;
  var labels: array<u32, 4>;
  for (var r = 0u; r < 4u; r++) { // a row beyond the last reads that one and stores nothing
    let row = min(first + r, params.rows - 1u);
    a_rows[r] = params.a_offset + model * params.a_model + row * params.a_stride;
    labels[r] = targets[source + row];
  }
  var peaks = vec4f(LOWEST);
  var totals = vec4f();
  var scores = vec4f();
  var best = vec4u(NONE);
  for (var column = 0u; column * 4u < params.vocab; column++) {
    let b_base = params.b_offset + model * params.b_model + column;
    let own = ids(column);
    let real = own < vec4u(params.vocab);
    var sums: array<vec4f, 4>;
    for (var r = 0u; r < 4u; r++) { sums[r] = vec4f(); }
    for (var k = 0u; k < params.k; k += 4u) {
      for (var t = 0u; t < min(4u, params.k - k); t++) {
        let term = load_b(b_base + (k + t) * params.b_stride);
        for (var r = 0u; r < 4u; r++) { sums[r] += load_a(a_rows[r] + k / 4u)[t] * term; }
      }
    }
    for (var r = 0u; r < 4u; r++) {
      let x = select(vec4f(LOWEST), sums[r], real);
      let peak = max(peaks[r], max(max(x.x, x.y), max(x.z, x.w)));
      if (peak > peaks[r]) { best[r] = first_of(x, peak, own); }
      totals[r] = totals[r] * exp(peaks[r] - peak) + dot(select(vec4f(), exp(x - peak), real), vec4f(1.0));
      peaks[r] = peak;
      if (labels[r] / 4u == column) { scores[r] = x[labels[r] % 4u]; }
    }
  }
  for (var r = 0u; r < 4u && first + r < params.rows; r++) {
    let row = first + r;
    finish(model * params.rows + row, weights[source + row], peaks[r], totals[r], scores[r], best[r]);
  }
}
