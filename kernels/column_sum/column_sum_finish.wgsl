// column_sum_finish: adds sums over blocks, from column_sum_partial, layer_norm_backward or matmul_transposed.
//
//   partial  [models, blocks, width4]  vec4  read
//   sums     [models, width4]          vec4  write  ACCUMULATE 1: +=; offset and stride count vec4s
//
// One workgroup per COLUMNS vec4s of columns, whose ROWS lanes share each as in column_sum_partial. Fixed orders: equal bits.

override COLUMNS: u32 = 16u;
override ROWS: u32 = 1u;
override ACCUMULATE: u32 = 0u;

struct Params { blocks: u32, width4: u32, sum_offset: u32, sum_model: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> partial: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> sums: array<vec4f>;

// include sum_rows

@compute @workgroup_size(COLUMNS * ROWS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let index = group.y * grid.x + group.x;
  if (index * COLUMNS >= params.width4) { return; }
  let column = index * COLUMNS + lane % COLUMNS;
  let model = group.z;
  let end = select(0u, params.blocks, column < params.width4);
  var sum = vec4f();
  for (var block = lane / COLUMNS; block < end; block += ROWS) {
    sum += partial[(model * params.blocks + block) * params.width4 + column];
  }
  let total = sum_rows(lane, sum);
  if (lane >= COLUMNS || column >= params.width4) { return; }
  let out = params.sum_offset + model * params.sum_model + column;
  if (ACCUMULATE == 1u) { sums[out] += total; } else { sums[out] = total; }
}
