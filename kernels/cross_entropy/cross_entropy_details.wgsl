// cross_entropy_details: the loss as in cross_entropy_forward, and the likeliest token of the vocabulary beside the target.
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
// One invocation per row, vec4s in ascending order: equal bits. Reference: crossEntropyReference in cross_entropy.ts.

override WG: u32 = 16u;

// include cross_entropy_forward_bindings
// include cross_entropy_details_bindings

const NONE = vec4u(0xffffffffu);

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
  var level = 0.0;
  var id = 0u;
  if (weights[source] != 0.0) {
    let base = (group.z * params.chunk + local) * params.stride4;
    let peak = peak_of(base, params.stride4);
    var sums = vec4f();
    var found = NONE;
    for (var i = 0u; i < params.stride4; i++) {
      sums += select(vec4f(), exp(logits[base + i] - peak), real(i));
      found = min(found, select(NONE, ids(i), real(i) & (logits[base + i] == vec4f(peak))));
    }
    let label = targets[source];
    level = log(sums.x + sums.y + sums.z + sums.w);
    value = level - (logits[base + label / 4u][label % 4u] - peak);
    id = min(min(found.x, found.y), min(found.z, found.w));
  }
  nll[out] = value;
  likeliest[out] = f32(id);
  least[out] = level;
}
