// embedding_clear: zeros for the embedding's gradient, to which embedding_backward adds.
//
//   d_weights  [models, vocab, stride4]  vec4  write  offsets and strides count vec4s
//
// One invocation per vec4.

override WG: u32 = 64u;

struct Params { vec4s: u32, weight_offset: u32, weight_model: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> d_weights: array<vec4f>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let index = (group.y * grid.x + group.x) * WG + lane;
  if (index >= params.vec4s) { return; }
  d_weights[params.weight_offset + group.z * params.weight_model + index] = vec4f();
}
