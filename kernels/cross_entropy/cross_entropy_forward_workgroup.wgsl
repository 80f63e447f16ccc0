// cross_entropy_forward_workgroup: negative log-likelihood of one target per row of logits. For GPUs.
//
//   logits   [models, chunk, stride4]  vec4  read   columns vocab..4·stride4 are padding
//   targets  [models | 1, rows]        u32   read   each < vocab; target_model is 0 where all models share them
//   weights  [models | 1, rows]        f32   read   0 masks the row
//   nll      [models, rows]            f32   write  nats; 0 where masked; rows first..first + chunk
//
// nll[r] = log(sum_v exp(logits[r, v])) - logits[r, targets[r]]
//
// One workgroup per row, neighbours on neighbouring vec4s, which are read once: each lane keeps the peak so far and the
// sum below it. The tree that joins them has a fixed order: equal bits. Reference: crossEntropyReference in cross_entropy.ts.

override WG: u32 = 256u; // a power of two

// include cross_entropy_forward_bindings

// include cross_entropy_join

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let local = group.y * grid.x + group.x;
  if (local >= params.chunk) { return; }
  let row = params.first + local;
  let source = group.z * params.target_model + row;
  let out = group.z * params.rows + row;
  if (weights[source] == 0.0) { // the same for the whole workgroup
    if (lane == 0u) { nll[out] = 0.0; }
    return;
  }
  let base = (group.z * params.chunk + local) * params.stride4;
  let joined = join_row(lane, base);
  if (lane == 0u) {
    let label = targets[source];
    nll[out] = log(joined.y) - (logits[base + label / 4u][label % 4u] - joined.x);
  }
}
