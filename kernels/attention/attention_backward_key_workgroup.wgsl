// attention_backward_key_workgroup: the gradients of attention's keys and values, block by block. For GPUs.
//
//   q k v    [models, batch, heads, length, HEAD4]  vec4  read
//   d_heads  [models, batch, heads, length, HEAD4]  vec4  read   from attention_backward_heads
//   lse      [models, batch, heads, length]         f32   read   from attention_forward
//   product  [models, batch, heads, length]         f32   read   from attention_backward_heads
//   d_k d_v  [models, batch, heads, length, HEAD4]  vec4  write
//
// d_v[j] = sum_{i >= j} p_ij d_heads[i]
// d_k[j] = sum_{i >= j} p_ij (d_heads[i] · v[j] - product[i]) q[i],  p_ij = exp(q[i] · k[j] - lse[i])
//
// One workgroup of 64 per block of 32 keys of a head, blocks of 32 queries from its own on in ascending order, tiles as in
// attention_forward_workgroup with keys as rows: equal bits. The host sets HEAD4. Reference:
// attentionBackwardReference in attention.ts.

const HEAD4: u32 = 4u;

struct Params { sequence_heads: u32, length: u32, heads: u32, head_size: u32, stride: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<vec4f>;
@group(0) @binding(2) var<storage, read> k: array<vec4f>;
@group(0) @binding(3) var<storage, read> v: array<vec4f>;
@group(0) @binding(4) var<storage, read> d_heads: array<vec4f>;
@group(0) @binding(5) var<storage, read> lse: array<f32>;
@group(0) @binding(6) var<storage, read> product: array<f32>;
@group(0) @binding(7) var<storage, read_write> d_k: array<vec4f>;
@group(0) @binding(8) var<storage, read_write> d_v: array<vec4f>;

// include attention_backward_load
// include attention_tiles

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let index = group.y * grid.x + group.x;
  let blocks = (params.length + 31u) / 32u;
  if (index >= params.sequence_heads * blocks) { return; }
  let base = (group.z * params.sequence_heads + index / blocks) * params.length;
  let first = (index % blocks) * 32u; // the longest walks start first

  var key_sums: array<Rows, PARTS>;
  var value_sums: array<Rows, PARTS>;
  for (var queries = first; queries < params.length; queries += 32u) {
    var scores = multiply_rows(lane, K, Q, base, first, queries);
    var gains = multiply_rows(lane, V, D_HEADS, base, first, queries);
    var shift: vec4f; // of the 4 columns
    var mean: vec4f;
    for (var c = 0u; c < 4u; c++) {
      let query = base + min(queries + lane % 8u * 4u + c, params.length - 1u);
      shift[c] = lse[query];
      mean[c] = product[query];
    }
    for (var i = 0u; i < 4u; i++) {
      let query = vec4u(queries + lane % 8u * 4u) + vec4u(0u, 1u, 2u, 3u);
      let ahead = (query >= vec4u(first + lane / 8u + 8u * i)) & (query < vec4u(params.length));
      let weight = select(vec4f(), exp(scores[i] - shift), ahead);
      gains[i] = weight * (gains[i] - mean);
      left[lane / 8u + 8u * i][lane % 8u] = weight;
    }
    for (var part = 0u; part < PARTS; part++) {
      fill_right(lane, D_HEADS, base, queries, part);
      workgroupBarrier();
      value_sums[part] = multiply(lane, value_sums[part], 8u);
      workgroupBarrier();
    }
    for (var i = 0u; i < 4u; i++) { left[lane / 8u + 8u * i][lane % 8u] = gains[i]; }
    for (var part = 0u; part < PARTS; part++) {
      fill_right(lane, Q, base, queries, part);
      workgroupBarrier();
      key_sums[part] = multiply(lane, key_sums[part], 8u);
      workgroupBarrier();
    }
  }

  for (var part = 0u; part < PARTS; part++) {
    let column4 = part * 8u + lane % 8u;
    for (var i = 0u; i < 4u; i++) {
      let key = first + lane / 8u + 8u * i;
      if (key < params.length && column4 < HEAD4) {
        d_k[(base + key) * HEAD4 + column4] = key_sums[part][i];
        d_v[(base + key) * HEAD4 + column4] = value_sums[part][i];
      }
    }
  }
}
