// gradient_norm_finish_workgroup: the global gradient norm of every model, and the scale that clips it. For GPUs.
//
//   partial  [models, places]  f32  read
//   slot     [2]               u32  read   second value: the step's place in norms, written by the host per step
//   clip     [models]          f32  write  min(1, limit / (norm + 1e-6))
//   norms    [steps, models]   f32  write  before clipping
//
// One workgroup per model, neighbours on neighbouring places. The tree that adds the lanes has a fixed order: equal bits.
// Reference: adamwReference in adamw.ts.

override WG: u32 = 256u; // a power of two

// include gradient_norm_finish_bindings

// include sum_lanes

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  if (group.x + group.y > 0u) { return; } // a grid that is folded has more than one workgroup per model
  var sum = 0.0;
  for (var i = lane; i < params.places; i += WG) { sum += partial[group.z * params.places + i]; }
  let norm = sqrt(sum_lanes(lane, sum));
  if (lane > 0u) { return; }
  clip[group.z] = min(1.0, params.limit / (norm + 1e-6));
  norms[slot[1] * params.models + group.z] = norm;
}
