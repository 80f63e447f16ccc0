// cross_entropy_backward_workgroup: the same loss, and the gradient of the weighted loss in the place of the logits. For GPUs.
//
//   targets  [models, rows]            u32   read        each < vocab
//   weights  [models, rows]            f32   read        weight of the row in the loss; 0 masks it
//   logits   [models, chunk, stride4]  vec4  read/write  become the gradient; padding columns become zero
//   nll      [models, rows]            f32   write       nats; 0 where masked; rows first..first + chunk
//
// d_logits[r, v] = weights[r] * (softmax_v(logits[r]) - [v = targets[r]])
//
// One workgroup per row as in cross_entropy_forward_workgroup; logits are read twice and written once, by the same lane.
// Equal bits. Reference: crossEntropyReference in cross_entropy.ts.

override WG: u32 = 256u; // a power of two

// include cross_entropy_backward_bindings

// include cross_entropy_join

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let local = group.y * grid.x + group.x;
  if (local >= params.chunk) { return; }
  let row = group.z * params.rows + params.first + local;
  let base = (group.z * params.chunk + local) * params.stride4;
  let weight = weights[row];
  if (weight == 0.0) { // the same for the whole workgroup
    if (lane == 0u) { nll[row] = 0.0; }
    for (var i = lane; i < params.stride4; i += WG) { logits[base + i] = vec4f(); }
    return;
  }
  let joined = join_row(lane, base);
  let scale = weight / joined.y;
  let label = targets[row];
  for (var i = lane; i < params.stride4; i += WG) {
    let places = vec4u(i * 4u) + vec4u(0u, 1u, 2u, 3u);
    let x = logits[base + i] - joined.x;
    let d = exp(x) * scale - select(vec4f(), vec4f(weight), places == vec4u(label));
    logits[base + i] = select(vec4f(), d, places < vec4u(params.vocab));
    if (i == label / 4u) { nll[row] = log(joined.y) - x[label % 4u]; }
  }
}
