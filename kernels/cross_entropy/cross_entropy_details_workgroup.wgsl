// cross_entropy_details_workgroup: the loss as in cross_entropy_forward_workgroup, and the likeliest token beside the target. For GPUs.
//
//   logits     [models, chunk, stride4]  vec4  read   columns vocab..4·stride4 are padding
//   targets    [models | 1, rows]        u32   read   each < vocab; target_model is 0 where all models share them
//   weights    [models | 1, rows]        f32   read   0 masks the row
//   nll        [models, rows]            f32   write  nats; 0 where masked; rows first..first + chunk
//   likeliest  [models, rows]            f32   write  id of the largest logit, the lowest of equals; 0 where masked
//   least      [models, rows]            f32   write  its negative log-likelihood, nats; 0 where masked
//
// nll[r] = log(sum_v exp(logits[r, v])) - logits[r, targets[r]]; least[r] is the same of the largest logit, so that both
// have the same bits where the target is the likeliest. An id is exact as f32: vocab <= 2^24.
//
// One workgroup per row, sums as in cross_entropy_forward_workgroup; a second look finds the peak's first place, and the
// least of the lanes' does not depend on their order: equal bits. Reference: crossEntropyReference in cross_entropy.ts.

override WG: u32 = 256u; // a power of two

// include cross_entropy_forward_bindings
// include cross_entropy_details_bindings

const NONE: u32 = 0xffffffffu;

var<workgroup> found: atomic<u32>;

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
    if (lane == 0u) {
      nll[out] = 0.0;
      likeliest[out] = 0.0;
      least[out] = 0.0;
    }
    return;
  }
  let base = (group.z * params.chunk + local) * params.stride4;
  if (lane == 0u) { atomicStore(&found, NONE); } // before the barriers below
  let joined = join_row(lane, base);
  for (var i = lane; i < params.stride4; i += WG) {
    let ids = vec4u(i * 4u) + vec4u(0u, 1u, 2u, 3u);
    let hit = select(vec4u(NONE), ids, (ids < vec4u(params.vocab)) & (logits[base + i] == vec4f(joined.x)));
    atomicMin(&found, min(min(hit.x, hit.y), min(hit.z, hit.w)));
  }
  workgroupBarrier();
  if (lane == 0u) {
    let label = targets[source];
    let level = log(joined.y);
    nll[out] = level - (logits[base + label / 4u][label % 4u] - joined.x);
    likeliest[out] = f32(atomicLoad(&found));
    least[out] = level;
  }
}
