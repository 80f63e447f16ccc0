// gradient_norm_partial: sums of squares over blocks of a segment of every model's gradients.
//
//   gradients  [models, size4]   vec4  read
//   partial    [models, places]  f32   write  places first..first + ceil(size4 / BLOCK)
//
// One invocation per block, or for GPUs one workgroup, neighbours on neighbouring vec4s (`rows`). Fixed orders: equal bits.
// Reference: adamwReference in adamw.ts.

override WG: u32 = 16u; // of a workgroup per block a power of two
override BLOCK: u32 = 64u; // vec4s

struct Params { size4: u32, places: u32, first: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> gradients: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> partial: array<f32>;

// include rows

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let block = row_of(group.y * grid.x + group.x, lane);
  let first = block * BLOCK;
  if (first >= params.size4) { return; }
  let end = min(first + BLOCK, params.size4);
  let base = group.z * params.size4;
  var sum = vec4f();
  for (var i = first + first_of(lane); i < end; i += apart()) {
    let g = gradients[base + i];
    sum = fma(g, g, sum);
  }
  let total = sum_lanes(lane, sum.x + sum.y + sum.z + sum.w);
  if (leads(lane)) { partial[group.z * params.places + params.first + block] = total; }
}
