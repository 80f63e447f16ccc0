// switch_place: the place of every token among those of its expert, and the token of every place.
//
//   choice  [models, rows]                 u32  read   `experts` for tokens that go nowhere
//   starts  [models, blocks, experts + 1]  u32  read   tokens of an expert in all blocks before, from switch_scan
//   groups  [models, experts, 2]           u32  read   first place and number of the tokens that each expert takes
//   places  [models, rows]                 u32  write  2^32 − 1 for tokens that no expert takes
//   tokens  [models, rows]                 u32  write  rows by place, as many as experts take
//
// An expert takes its first tokens in the order of the rows. One invocation per block of `block_rows` rows and column, rows
// in ascending order: no atomics, equal bits. Reference: switchPlanReference in switch.ts.

override WG: u32 = 64u;

struct Params { rows: u32, experts: u32, block_rows: u32, blocks: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> choice: array<u32>;
@group(0) @binding(2) var<storage, read> starts: array<u32>;
@group(0) @binding(3) var<storage, read> groups: array<u32>;
@group(0) @binding(4) var<storage, read_write> places: array<u32>;
@group(0) @binding(5) var<storage, read_write> tokens: array<u32>;

const NOWHERE: u32 = 0xffffffffu;

// include switch_block

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let part = part_of((group.y * grid.x + group.x) * WG + lane);
  let expert = part.column;
  if (part.block >= params.blocks) { return; }
  let start = group.z * params.rows;
  let own = 2u * (group.z * params.experts + min(expert, params.experts - 1u));
  let takes = select(groups[own + 1u], 0u, expert == params.experts);
  var rank = starts[(group.z * params.blocks + part.block) * (params.experts + 1u) + expert];
  for (var row = part.first; row < part.end; row++) {
    if (choice[start + row] != expert) { continue; }
    if (rank < takes) {
      places[start + row] = groups[own] + rank;
      tokens[start + groups[own] + rank] = row;
    } else {
      places[start + row] = NOWHERE;
    }
    rank++;
  }
}
