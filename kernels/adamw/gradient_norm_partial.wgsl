// gradient_norm_partial: sums of squares over blocks of a segment of every model's gradients.
//
//   gradients  [models, size4]   vec4  read
//   partial    [models, places]  f32   write  places first..first + ceil(size4 / BLOCK)
//
// One invocation per block, in ascending order: equal bits. Reference: adamwReference in adamw.ts.

override WG: u32 = 16u;
override BLOCK: u32 = 64u; // vec4s per invocation

// include gradient_norm_partial_bindings

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let block = (group.y * grid.x + group.x) * WG + lane;
  let first = block * BLOCK;
  if (first >= params.size4) { return; }
  let end = min(first + BLOCK, params.size4);
  var sum = vec4f();
  for (var i = first; i < end; i++) {
    let g = gradients[group.z * params.size4 + i];
    sum += g * g;
  }
  partial[group.z * params.places + params.first + block] = sum.x + sum.y + sum.z + sum.w;
}
