// switch_scan: adds up what blocks of rows hold, and reports where each block's tokens begin among those of an expert.
//
//   block_sums  [models, blocks, experts + 1]  f32  read        from switch_count
//   counts      [models, blocks, experts + 1]  u32  read/write  tokens of the block; afterwards those of all blocks before it
//   totals      [models, experts + 1]          u32  write       tokens of all blocks
//   sums        [models, experts + 1]          f32  write       sums of all blocks
//
// One invocation per column, blocks in ascending order: equal bits. Reference: switchPlanReference in switch.ts.

override WG: u32 = 16u;

struct Params { columns: u32, blocks: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> block_sums: array<f32>;
@group(0) @binding(2) var<storage, read_write> counts: array<u32>;
@group(0) @binding(3) var<storage, read_write> totals: array<u32>;
@group(0) @binding(4) var<storage, read_write> sums: array<f32>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let column = (group.y * grid.x + group.x) * WG + lane;
  if (column >= params.columns) { return; }
  var total = 0u;
  var sum = 0.0;
  var i = group.z * params.blocks * params.columns + column;
  for (var block = 0u; block < params.blocks; block++) {
    let count = counts[i];
    counts[i] = total;
    total += count;
    sum += block_sums[i];
    i += params.columns;
  }
  totals[group.z * params.columns + column] = total;
  sums[group.z * params.columns + column] = sum;
}
