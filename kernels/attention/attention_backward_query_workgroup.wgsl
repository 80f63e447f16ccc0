// attention_backward_query_workgroup: the gradient of attention's queries, block by block. For GPUs.
//
//   q k v    [models, batch, heads, length, HEAD4]  vec4  read
//   d_heads  [models, batch, heads, length, HEAD4]  vec4  read   from attention_backward_heads
//   lse      [models, batch, heads, length]         f32   read   from attention_forward
//   product  [models, batch, heads, length]         f32   read   from attention_backward_heads
//   d_q      [models, batch, heads, length, HEAD4]  vec4  write
//
// d_q[i] = sum_{j <= i} p_ij (d_heads[i] · v[j] - product[i]) k[j],  p_ij = exp(q[i] · k[j] - lse[i])
//
// One workgroup of 64 per block of 32 queries of a head, blocks of 32 keys up to its own in ascending order, tiles as in
// attention_forward_workgroup: equal bits. The host sets HEAD4. Reference: attentionBackwardReference in
// attention.ts.

const HEAD4: u32 = 4u;

struct Params { sequence_heads: u32, length: u32, heads: u32, head_size: u32, stride: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<vec4f>;
@group(0) @binding(2) var<storage, read> k: array<vec4f>;
@group(0) @binding(3) var<storage, read> v: array<vec4f>;
@group(0) @binding(4) var<storage, read> d_heads: array<vec4f>;
@group(0) @binding(5) var<storage, read> lse: array<f32>;
@group(0) @binding(6) var<storage, read> product: array<f32>;
@group(0) @binding(7) var<storage, read_write> d_q: array<vec4f>;

// include attention_backward_load
// include attention_tiles

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let index = group.y * grid.x + group.x;
  let blocks = (params.length + 31u) / 32u;
  if (index >= params.sequence_heads * blocks) { return; }
  let base = (group.z * params.sequence_heads + index / blocks) * params.length;
  let first = (blocks - 1u - index % blocks) * 32u; // the longest walks start first

  var shift: vec4f; // of the 4 rows
  var mean: vec4f;
  for (var i = 0u; i < 4u; i++) {
    let query = base + min(first + lane / 8u + 8u * i, params.length - 1u);
    shift[i] = lse[query];
    mean[i] = product[query];
  }
  var sums: array<Rows, PARTS>;
  for (var keys = 0u; keys <= first; keys += 32u) {
    var scores = multiply_rows(lane, Q, K, base, first, keys);
    var gains = multiply_rows(lane, D_HEADS, V, base, first, keys);
    for (var i = 0u; i < 4u; i++) {
      let key = vec4u(keys + lane % 8u * 4u) + vec4u(0u, 1u, 2u, 3u);
      let weight = exp(scores[i] - shift[i]) * (gains[i] - mean[i]);
      let behind = key <= vec4u(first + lane / 8u + 8u * i);
      left[lane / 8u + 8u * i][lane % 8u] = select(vec4f(), weight, behind);
    }
    for (var part = 0u; part < PARTS; part++) {
      fill_right(lane, K, base, keys, part);
      workgroupBarrier();
      sums[part] = multiply(lane, sums[part], 8u);
      workgroupBarrier();
    }
  }

  for (var part = 0u; part < PARTS; part++) {
    let column4 = part * 8u + lane % 8u;
    for (var i = 0u; i < 4u; i++) {
      let query = first + lane / 8u + 8u * i;
      if (query < params.length && column4 < HEAD4) { d_q[(base + query) * HEAD4 + column4] = sums[part][i]; }
    }
  }
}
