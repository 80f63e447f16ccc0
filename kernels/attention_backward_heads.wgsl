// attention_backward_heads: splits attention's output gradient by head and takes its product with the output.
//
//   d_out    [models, batch, length, stride]         f32   read
//   out      [models, batch, length, stride]         f32   read
//   d_heads  [models, batch, heads, length, HEAD4]   vec4  write  padding becomes zero
//   product  [models, batch, heads, length]          f32   write  sum over the head of d_out · out
//
// One invocation per query. Reference: attentionBackwardReference in attention.ts.

override WG: u32 = 16u;
const HEAD4: u32 = 4u;

struct Params { queries: u32, length: u32, heads: u32, head_size: u32, stride: u32, capacity: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> d_out: array<f32>;
@group(0) @binding(2) var<storage, read> out: array<f32>;
@group(0) @binding(3) var<storage, read_write> d_heads: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> product: array<f32>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let local = (group.y * grid.x + group.x) * WG + lane;
  if (local >= params.queries) { return; }
  let query = group.z * params.queries + local;
  let position = query % params.length;
  let head = (query / params.length) % params.heads;
  let sequence = query / (params.length * params.heads);
  let source = (sequence * params.length + position) * params.stride + head * params.head_size;
  var sum = 0.0;
  for (var i = 0u; i < HEAD4; i++) {
    var value = vec4f();
    for (var c = 0u; c < 4u; c++) {
      let column = i * 4u + c;
      if (column < params.head_size) {
        value[c] = d_out[source + column];
        sum += value[c] * out[source + column];
      }
    }
    d_heads[query * HEAD4 + i] = value;
  }
  product[query] = sum;
}
