// sum_lanes_subgroup: as sum_lanes, to the same bits, where subgroups have SUBGROUP lanes side by side: the last pairs of halves are
// added without a barrier.

const SUBGROUP: u32 = 32u; // at most WG

var<workgroup> lane_sums: array<f32, WG>;

fn sum_lanes(lane: u32, own: f32) -> f32 {
  lane_sums[lane] = own;
  workgroupBarrier();
  for (var half = WG / 2u; half >= SUBGROUP; half /= 2u) {
    if (lane < half) { lane_sums[lane] += lane_sums[lane + half]; }
    workgroupBarrier();
  }
  var sum = lane_sums[lane % SUBGROUP]; // every subgroup adds the same ones
  for (var half = SUBGROUP / 2u; half > 0u; half /= 2u) { sum += subgroupShuffleXor(sum, half); }
  workgroupBarrier(); // before it is used again
  return sum;
}
