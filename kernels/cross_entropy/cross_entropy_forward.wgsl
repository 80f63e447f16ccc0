// cross_entropy_forward: negative log-likelihood of one target per row of logits.
//
//   logits   [models, chunk, stride4]  vec4  read   columns vocab..4·stride4 are padding
//   targets  [models | 1, rows]        u32   read   each < vocab; target_model is 0 where all models share them
//   weights  [models | 1, rows]        f32   read   0 masks the row
//   nll      [models, rows]            f32   write  nats; 0 where masked; rows first..first + chunk
//
// nll[r] = log(sum_v exp(logits[r, v])) - logits[r, targets[r]]
//
// One invocation per row, vec4s in ascending order: equal bits. Reference: crossEntropyReference in cross_entropy.ts.

override WG: u32 = 16u;

// include cross_entropy_forward_bindings

// include cross_entropy_peak

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let local = (group.y * grid.x + group.x) * WG + lane;
  if (local >= params.chunk) { return; }
  let row = params.first + local;
  let source = group.z * params.target_model + row;
  let out = group.z * params.rows + row;
  var value = 0.0;
  if (weights[source] != 0.0) {
    let base = (group.z * params.chunk + local) * params.stride4;
    let peak = peak_of(base, params.stride4);
    var sums = vec4f();
    for (var i = 0u; i < params.stride4; i++) { sums += select(vec4f(), exp(logits[base + i] - peak), real(i)); }
    let label = targets[source];
    value = log(sums.x + sums.y + sums.z + sums.w) - (logits[base + label / 4u][label % 4u] - peak);
  }
  nll[out] = value;
}
