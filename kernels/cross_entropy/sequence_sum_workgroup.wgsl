// sequence_sum_workgroup: sums the rows of every sequence. For GPUs.
//
//   values  [models, batch, length]  f32  read
//   slot    [1]                      u32  read   the first sequence's place in sums, written by the host per step
//   sums    [places, models]         f32  write  places slot..slot + batch
//
// One workgroup per sequence, neighbours on neighbouring rows. The tree that adds the lanes has a fixed order: equal bits.
// Reference: sequenceSumReference in cross_entropy.ts.

override WG: u32 = 64u; // a power of two

// include sequence_sum_bindings

// include sum_lanes

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let sequence = group.y * grid.x + group.x;
  if (sequence >= params.batch) { return; }
  let base = (group.z * params.batch + sequence) * params.length;
  var sum = 0.0;
  for (var i = lane; i < params.length; i += WG) { sum += values[base + i]; }
  let total = sum_lanes(lane, sum);
  if (lane == 0u) { sums[(slot[0] + sequence) * params.models + group.z] = total; }
}
