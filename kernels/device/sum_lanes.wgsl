// sum_lanes: the sum of a value over the lanes of a workgroup, for texts with a workgroup of WG lanes, a power of two.

var<workgroup> lane_sums: array<f32, WG>;

// The same for all lanes, which must all call it; adds pairs of halves, so the order is fixed.
fn sum_lanes(lane: u32, own: f32) -> f32 {
  lane_sums[lane] = own;
  workgroupBarrier();
  for (var half = WG / 2u; half > 0u; half /= 2u) {
    if (lane < half) { lane_sums[lane] += lane_sums[lane + half]; }
    workgroupBarrier();
  }
  let sum = lane_sums[0];
  workgroupBarrier(); // before it is used again
  return sum;
}
