// sequence_sum: sums the rows of every sequence.
//
//   values  [models, batch, length]  f32  read
//   slot    [1]                      u32  read   the first sequence's place in sums, written by the host per step
//   sums    [places, models]         f32  write  places slot..slot + batch
//
// One invocation per sequence, rows in ascending order: equal bits. Reference: sequenceSumReference in cross_entropy.ts.

override WG: u32 = 16u;

// include sequence_sum_bindings

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let sequence = (group.y * grid.x + group.x) * WG + lane;
  if (sequence >= params.batch) { return; }
  let base = (group.z * params.batch + sequence) * params.length;
  var sum = 0.0;
  for (var i = 0u; i < params.length; i++) { sum += values[base + i]; }
  sums[(slot[0] + sequence) * params.models + group.z] = sum;
}
