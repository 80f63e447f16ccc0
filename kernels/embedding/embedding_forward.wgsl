// embedding_forward: one row of the embedding per token.
//
//   weights  [models, vocab, stride4]  vec4  read   offsets and strides count vec4s
//   tokens   [models | 1, rows]        u32   read   token_model is 0 where all models share the batch
//   x        [models, rows, stride4]   vec4  write
//
// x[m, r] = weights[m, tokens[r]]
//
// One invocation per vec4.

override WG: u32 = 64u;

struct Params { rows: u32, stride4: u32, weight_offset: u32, weight_model: u32, token_model: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> weights: array<vec4f>;
@group(0) @binding(2) var<storage, read> tokens: array<u32>;
@group(0) @binding(3) var<storage, read_write> x: array<vec4f>;

fn store_x(i: u32, value: vec4f) { x[i] = value; }

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let index = (group.y * grid.x + group.x) * WG + lane;
  if (index >= params.rows * params.stride4) { return; }
  let model = group.z;
  let row = index / params.stride4;
  let column = index % params.stride4;
  let token = tokens[model * params.token_model + row];
  let value = weights[params.weight_offset + model * params.weight_model + token * params.stride4 + column];
  store_x(model * params.rows * params.stride4 + index, value);
}
