// sum_rows: the sum of a vec4 over the rows of a workgroup of COLUMNS × ROWS lanes, columns side by side; ROWS is a power of two.

var<workgroup> row_sums: array<vec4f, COLUMNS * ROWS>;

// For the first row of lanes the sum of their columns; all lanes must call it. Adds pairs of halves, so the order is fixed. No
// barrier at the end: a sum is read by the lane that wrote it.
fn sum_rows(lane: u32, own: vec4f) -> vec4f {
  row_sums[lane] = own;
  workgroupBarrier();
  for (var half = ROWS / 2u; half > 0u; half /= 2u) {
    if (lane < half * COLUMNS) { row_sums[lane] += row_sums[lane + half * COLUMNS]; }
    workgroupBarrier();
  }
  return row_sums[lane];
}
