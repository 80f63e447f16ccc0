// attention_forward_workgroup: causal attention block by block, never holding a [length, length] matrix. For GPUs.
//
//   q      [models, batch, heads, length, HEAD4]  vec4  read   scaled and rotated
//   k v    [models, batch, heads / SHARE, length, HEAD4]  vec4  read   k rotated; SHARE heads of q share a head
//   out    [models, batch, length, stride / 2]    vec2  write  head by head; padding columns become zero
//   lse    [models, batch, heads, length]         f32   write  log of the softmax's denominator
//
// out[i] = sum_{j <= i} softmax_j(q[i] · k[j]) v[j]
//
// One workgroup of 64 per block of ROWS queries of a head; it walks the blocks of 32 keys up to its own in ascending order
// with an online softmax. An invocation holds every eighth row, of 4 columns: of the scores, then of each 32 columns of the
// output. Both products run over tiles in workgroup memory, 32 terms at a time; what an invocation does row by row, and part
// by part of a head, is unrolled (attention_workgroup.ts). Peaks and totals are joined in a fixed order, which depends on the
// number of keys alone: equal bits, whatever ROWS. Reference: attentionForwardReference in attention.ts.

const HEAD4: u32 = 4u;
const ROWS: u32 = 64u; // 32 or 64
const SHARE: u32 = 1u;

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

var<workgroup> shared_rows: array<array<vec4f, 64>, OWN_ROWS / 4u>; // what lanes tell one another of four rows each

fn load(tensor: u32, base: u32, row: u32, column4: u32) -> vec4f {
  if (row >= params.length || column4 >= HEAD4) { return vec4f(); }
  if (tensor == Q) { return load_q((base + row) * HEAD4 + column4); }
  let i = (base_of_keys(base) + row) * HEAD4 + column4;
  if (tensor == K) { return load_k(i); }
  return load_v(i);
}

// include attention_tiles
// include scores

// Four values per lane, joined over the eight lanes that share their rows.
fn highest_of(four: u32, lane: u32, own: vec4f) -> vec4f {
  var all = own;
  for (var i = 0u; i < 8u; i++) { all = max(all, shared_rows[four][lane / 8u * 8u + i]); }
  return all;
}

fn total_of(four: u32, lane: u32) -> vec4f {
  var all = vec4f();
  for (var i = 0u; i < 8u; i++) { all += shared_rows[four][lane / 8u * 8u + i]; }
  return all;
}

fn peak_of(s: vec4f) -> f32 { return max(max(s.x, s.y), max(s.z, s.w)); }
fn sum_of(s: vec4f) -> f32 { return s.x + s.y + s.z + s.w; }

// Stores the lane's output of a query, of all parts of the head; the last head also the padding behind it.
fn store_row(lane: u32, base: u32, place: u32, query: u32, values: array<vec4f, PARTS>, level: f32) {
  if (query >= params.length) { return; }
  let head = place % params.heads;
  let row = (place / params.heads * params.length + query) * params.stride;
  // include store_parts
  if (lane % 8u > 0u) { return; }
  lse[base + query] = level;
  if (head == params.heads - 1u) {
    for (var c = params.heads * params.head_size; c < params.stride; c += 2u) { store_out((row + c) / 2u, vec2f()); }
  }
}

fn store_part(row: u32, head: u32, column: u32, value: vec4f) {
  let at = (row + head * params.head_size + column) / 2u;
  if (column < params.head_size) { store_out(at, value.xy); }
  if (column + 2u < params.head_size) { store_out(at + 1u, value.zw); }
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let index = group.y * grid.x + group.x;
  let blocks = (params.length + ROWS - 1u) / ROWS;
  if (index >= params.sequence_heads * blocks) { return; }
  let place = group.z * params.sequence_heads + index / blocks; // of this head among all
  let base = place * params.length;
  let first = (blocks - 1u - index % blocks) * ROWS; // the longest walks start first
  let row = lane / 8u;
  let column = lane % 8u * 4u;

  keep_query(lane, base, first);
  // include sums
  for (var keys = 0u; keys < min(first + ROWS, params.length); keys += 32u) {
    var scores = scores_of(lane, base, first, keys);
    let key = vec4u(keys + column) + vec4u(0u, 1u, 2u, 3u);
    // include mask_scores
    workgroupBarrier();
    // include weigh_keys
    // include add_values
  }
  // include share_totals
  workgroupBarrier();
  // include store_rows
}
