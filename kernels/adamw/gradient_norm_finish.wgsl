// gradient_norm_finish: the global gradient norm of every model, and the scale that clips it.
//
//   partial  [models, places]  f32  read
//   slot     [2]               u32  read   second value: the step's place in norms, written by the host per step
//   clip     [models]          f32  write  min(1, limit / (norm + 1e-6))
//   norms    [steps, models]   f32  write  before clipping
//
// One invocation per model, or for GPUs one workgroup, neighbours on neighbouring places (`rows`). Fixed orders: equal bits.
// Reference: adamwReference in adamw.ts.

override WG: u32 = 1u; // a power of two

struct Params { places: u32, models: u32, limit: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> partial: array<f32>;
@group(0) @binding(2) var<storage, read> slot: array<u32>;
@group(0) @binding(3) var<storage, read_write> clip: array<f32>;
@group(0) @binding(4) var<storage, read_write> norms: array<f32>;

// include rows

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  if (group.x + group.y > 0u) { return; } // a grid that is folded has more than one workgroup per model
  var sum = 0.0;
  for (var i = first_of(lane); i < params.places; i += apart()) { sum += partial[group.z * params.places + i]; }
  let norm = sqrt(sum_lanes(lane, sum));
  if (!leads(lane)) { return; }
  clip[group.z] = min(1.0, params.limit / (norm + 1e-6));
  norms[slot[1] * params.models + group.z] = norm;
}
