// attention_forward_workgroup: causal attention block by block, never holding a [length, length] matrix. For GPUs.
//
//   q k v  [models, batch, heads, length, HEAD4]  vec4  read   q scaled and rotated, k rotated
//   out    [models, batch, length, stride / 2]    vec2  write  head by head; padding columns become zero
//   lse    [models, batch, heads, length]         f32   write  log of the softmax's denominator
//
// out[i] = sum_{j <= i} softmax_j(q[i] · k[j]) v[j]
//
// One workgroup of 64 per block of 32 queries of a head; it walks the blocks of 32 keys up to its own in ascending order
// with an online softmax. An invocation holds 4 rows, 8 apart, of 4 columns: of the scores, then of each 32 columns of the
// output. Both products run over tiles in workgroup memory, 32 terms at a time. Peaks and totals are joined in a fixed
// order: equal bits. The host sets HEAD4. Reference: attentionForwardReference in attention.ts.

const HEAD4: u32 = 4u;
const KEPT: u32 = 1u; // of a head's parts of 32 columns, how many of q stay in workgroup memory: all, or q is read for every block

struct Params { sequence_heads: u32, length: u32, heads: u32, head_size: u32, stride: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<vec4f>;
@group(0) @binding(2) var<storage, read> k: array<vec4f>;
@group(0) @binding(3) var<storage, read> v: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> out: array<vec2f>;
@group(0) @binding(5) var<storage, read_write> lse: array<f32>;

fn load_q(i: u32) -> vec4f { return q[i]; }
fn load_k(i: u32) -> vec4f { return k[i]; }
fn load_v(i: u32) -> vec4f { return v[i]; }
fn store_out(i: u32, value: vec2f) { out[i] = value; }

const LOWEST: f32 = -3.0e38; // finite: compilers may assume that there are no infinities
const Q: u32 = 0u;
const K: u32 = 1u;
const V: u32 = 2u;

var<workgroup> kept: array<array<array<vec4f, 9>, 32>, KEPT>; // q of the block, as `left` is laid out
var<workgroup> shared_rows: array<vec4f, 64>; // what lanes tell one another of their 4 rows

fn load(tensor: u32, base: u32, row: u32, column4: u32) -> vec4f {
  if (row >= params.length || column4 >= HEAD4) { return vec4f(); }
  let i = (base + row) * HEAD4 + column4;
  if (tensor == Q) { return load_q(i); }
  if (tensor == K) { return load_k(i); }
  return load_v(i);
}

// include attention_tiles

// As `multiply`, of what is kept.
fn multiply_kept(lane: u32, sums: Rows, part: u32, terms4: u32) -> Rows {
  var rows = sums;
  let row = lane / 8u;
  let column = lane % 8u;
  // include multiply_kept
  return rows;
}

fn scores_of(lane: u32, base: u32, first: u32, keys: u32) -> Rows {
  if (KEPT < PARTS) { return multiply_rows(lane, Q, K, base, first, keys); }
  var rows = Rows();
  for (var part = 0u; part < PARTS; part++) {
    fill_right_transposed(lane, K, base, keys, part);
    workgroupBarrier();
    rows = multiply_kept(lane, rows, part, min(8u, HEAD4 - part * 8u));
    workgroupBarrier();
  }
  return rows;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let index = group.y * grid.x + group.x;
  let blocks = (params.length + 31u) / 32u;
  if (index >= params.sequence_heads * blocks) { return; }
  let place = group.z * params.sequence_heads + index / blocks; // of this head among all
  let base = place * params.length;
  let first = (blocks - 1u - index % blocks) * 32u; // the longest walks start first

  if (KEPT >= PARTS) { // read once; the first barrier below comes before they are used
    for (var part = 0u; part < PARTS; part++) {
      for (var i = lane; i < 256u; i += 64u) {
        kept[part][i / 8u][i % 8u] = load(Q, base, first + i / 8u, part * 8u + i % 8u);
      }
    }
  }
  var sums: array<Rows, PARTS>;
  var peak = vec4f(LOWEST); // of the 4 rows
  var total = vec4f(); // of the 4 rows, this lane's columns alone
  for (var keys = 0u; keys <= first; keys += 32u) {
    var scores = scores_of(lane, base, first, keys);
    var higher: vec4f;
    for (var i = 0u; i < 4u; i++) {
      let key = vec4u(keys + lane % 8u * 4u) + vec4u(0u, 1u, 2u, 3u);
      let s = select(vec4f(LOWEST), scores[i], key <= vec4u(first + lane / 8u + 8u * i));
      scores[i] = s;
      higher[i] = max(max(s.x, s.y), max(s.z, s.w));
    }
    shared_rows[lane] = higher;
    workgroupBarrier();
    higher = peak;
    for (var i = 0u; i < 8u; i++) { higher = max(higher, shared_rows[lane / 8u * 8u + i]); }
    let shrink = exp(peak - higher);
    peak = higher;
    total *= shrink;
    for (var i = 0u; i < 4u; i++) {
      let weight = exp(scores[i] - peak[i]);
      total[i] += weight.x + weight.y + weight.z + weight.w;
      left[lane / 8u + 8u * i][lane % 8u] = weight;
    }
    for (var part = 0u; part < PARTS; part++) {
      fill_right(lane, V, base, keys, part);
      workgroupBarrier();
      var rows = sums[part];
      for (var i = 0u; i < 4u; i++) { rows[i] *= shrink[i]; }
      sums[part] = multiply(lane, rows, 8u);
      workgroupBarrier();
    }
  }

  shared_rows[lane] = total;
  workgroupBarrier();
  total = vec4f();
  for (var i = 0u; i < 8u; i++) { total += shared_rows[lane / 8u * 8u + i]; }
  let head = place % params.heads;
  for (var i = 0u; i < 4u; i++) {
    let query = first + lane / 8u + 8u * i;
    if (query >= params.length) { continue; }
    let row = (place / params.heads * params.length + query) * params.stride;
    for (var part = 0u; part < PARTS; part++) {
      let column = part * 32u + lane % 8u * 4u;
      let value = sums[part][i] / total[i];
      let at = (row + head * params.head_size + column) / 2u;
      if (column < params.head_size) { store_out(at, value.xy); }
      if (column + 2u < params.head_size) { store_out(at + 1u, value.zw); }
    }
    if (lane % 8u > 0u) { continue; }
    lse[base + query] = peak[i] + log(total[i]);
    if (head == params.heads - 1u) {
      for (var c = params.heads * params.head_size; c < params.stride; c += 2u) { store_out((row + c) / 2u, vec2f()); }
    }
  }
}
