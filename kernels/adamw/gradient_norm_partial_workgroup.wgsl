// gradient_norm_partial_workgroup: sums of squares over blocks of a segment of every model's gradients. For GPUs.
//
//   gradients  [models, size4]   vec4  read
//   partial    [models, places]  f32   write  places first..first + ceil(size4 / BLOCK)
//
// One workgroup per block, neighbours on neighbouring vec4s. The tree that adds the lanes has a fixed order: equal bits.
// Reference: adamwReference in adamw.ts.

override WG: u32 = 256u; // a power of two
override BLOCK: u32 = 4096u; // vec4s per workgroup

// include gradient_norm_partial_bindings

// include sum_lanes

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let block = group.y * grid.x + group.x;
  let first = block * BLOCK;
  if (first >= params.size4) { return; }
  let end = min(first + BLOCK, params.size4);
  let base = group.z * params.size4;
  var sum = vec4f();
  for (var i = first + lane; i < end; i += WG) {
    let g = gradients[base + i];
    sum += g * g;
  }
  let total = sum_lanes(lane, sum.x + sum.y + sum.z + sum.w);
  if (lane == 0u) { partial[group.z * params.places + params.first + block] = total; }
}
