// switch_count: what every block of rows holds of each expert; switch_scan adds the blocks.
//
//   gates    [models, rows, stride]           f32  read
//   choice   [models, rows]                   u32  read   `experts` for tokens that go nowhere
//   weights  [models | 1, rows]               f32  read   parts in the loss; weight_model is 0 where all models share them
//   counts   [models, blocks, experts + 1]    u32  write  tokens of each expert, then all that go anywhere
//   sums     [models, blocks, experts + 1]    f32  write  sums of gates of each expert, then of the weights
//
// One invocation per block of `block_rows` rows and column, rows in ascending order: no atomics, equal bits.
// Reference: switchPlanReference in switch.ts.

override WG: u32 = 64u;

struct Params { rows: u32, experts: u32, stride: u32, block_rows: u32, blocks: u32, weight_model: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> gates: array<f32>;
@group(0) @binding(2) var<storage, read> choice: array<u32>;
@group(0) @binding(3) var<storage, read> weights: array<f32>;
@group(0) @binding(4) var<storage, read_write> counts: array<u32>;
@group(0) @binding(5) var<storage, read_write> sums: array<f32>;

// include switch_block

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let part = part_of((group.y * grid.x + group.x) * WG + lane);
  let column = part.column;
  if (part.block >= params.blocks) { return; }
  let start = group.z * params.rows;
  var count = 0u;
  var sum = 0.0;
  for (var row = part.first; row < part.end; row++) {
    let expert = choice[start + row];
    if (column < params.experts) {
      count += select(0u, 1u, expert == column);
      sum += gates[(start + row) * params.stride + column]; // zero for tokens that go nowhere
    } else {
      count += select(0u, 1u, expert < params.experts);
      sum += weights[group.z * params.weight_model + row];
    }
  }
  let out = (group.z * params.blocks + part.block) * (params.experts + 1u) + column;
  counts[out] = count;
  sums[out] = sum;
}
