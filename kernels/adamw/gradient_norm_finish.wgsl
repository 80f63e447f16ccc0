// gradient_norm_finish: the global gradient norm of every model, and the scale that clips it.
//
//   partial  [models, places]  f32  read
//   slot     [2]               u32  read   second value: the step's place in norms, written by the host per step
//   clip     [models]          f32  write  min(1, limit / (norm + 1e-6))
//   norms    [steps, models]   f32  write  before clipping
//
// One invocation per model, in ascending order: equal bits. Reference: adamwReference in adamw.ts.

override WG: u32 = 1u;

// include gradient_norm_finish_bindings

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u) {
  var sum = 0.0;
  for (var i = 0u; i < params.places; i++) { sum += partial[group.z * params.places + i]; }
  let norm = sqrt(sum);
  clip[group.z] = min(1.0, params.limit / (norm + 1e-6));
  norms[slot[1] * params.models + group.z] = norm;
}
