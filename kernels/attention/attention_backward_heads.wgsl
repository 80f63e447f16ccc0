// attention_backward_heads: splits attention's output gradient by head and takes its product with the output.
//
//   d_out    [models, batch, length, stride / 2]     vec2  read
//   out      [models, batch, length, stride / 2]     vec2  read
//   d_heads  [models, batch, heads, length, head4]   vec4  write  padding becomes zero
//   product  [models, batch, heads, length]          f32   write  sum over the head of d_out · out
//
// One invocation per query. Reference: attentionBackwardReference in attention.ts.

override WG: u32 = 16u;

struct Params { queries: u32, length: u32, heads: u32, head_size: u32, stride: u32, capacity: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> d_out: array<vec2f>;
@group(0) @binding(2) var<storage, read> out: array<vec2f>;
@group(0) @binding(3) var<storage, read_write> d_heads: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> product: array<f32>;

fn load_out(i: u32) -> vec2f { return out[i]; }

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
  let head4 = (params.head_size + 3u) / 4u;
  var sum = 0.0;
  for (var i = 0u; i < head4; i++) {
    var value = vec4f();
    for (var c = 0u; c < min(4u, params.head_size - i * 4u); c += 2u) {
      let x = d_out[(source + i * 4u + c) / 2u];
      let y = load_out((source + i * 4u + c) / 2u);
      value[c] = x.x;
      value[c + 1u] = x.y;
      sum = fma(x.y, y.y, fma(x.x, y.x, sum));
    }
    d_heads[query * head4 + i] = value;
  }
  product[query] = sum;
}
