// embedding_backward: adds the gradient of every looked-up row into the embedding's gradient.
//
//   d_x        [models, rows, stride4]   vec4  read
//   tokens     [models, rows]            u32   read
//   order      [models, rows]            u32   read   rows sorted by token, earlier rows first
//   d_weights  [models, vocab, stride4]  vec4  +=     offsets and strides count vec4s
//
// d_weights[m, v] += sum over rows r with tokens[r] = v of d_x[m, r]
//
// One invocation per place in `order` and vec4; only the first place of each token works, and it adds the token's
// rows in ascending order, so no atomics are needed and equal inputs give equal bits.

override WG: u32 = 64u;

struct Params { rows: u32, stride4: u32, weight_offset: u32, weight_model: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> d_x: array<vec4f>;
@group(0) @binding(2) var<storage, read> tokens: array<u32>;
@group(0) @binding(3) var<storage, read> order: array<u32>;
@group(0) @binding(4) var<storage, read_write> d_weights: array<vec4f>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let index = (group.y * grid.x + group.x) * WG + lane;
  if (index >= params.rows * params.stride4) { return; }
  let model = group.z;
  let first = model * params.rows;
  let place = index / params.stride4;
  let column = index % params.stride4;
  let token = tokens[first + order[first + place]];
  if (place > 0u) {
    if (tokens[first + order[first + place - 1u]] == token) { return; }
  }
  var sum = vec4f();
  for (var p = place; p < params.rows; p++) {
    let row = order[first + p];
    if (tokens[first + row] != token) { break; }
    sum += d_x[(first + row) * params.stride4 + column];
  }
  d_weights[params.weight_offset + model * params.weight_model + token * params.stride4 + column] += sum;
}
