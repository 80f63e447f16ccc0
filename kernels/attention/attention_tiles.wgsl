// attention_tiles: products of blocks of ROWS × 32 over tiles in workgroup memory, for the three passes of the workgroup variant.
//
// A workgroup of 64 fills `left` and `right` with 32 terms of either factor, and each invocation adds the products to its
// OWN_ROWS rows of a vec4 of columns. HEAD4, ROWS, SHARE and `load` are those of the text that includes this: `load` says which tensor
// a number stands for.

const PARTS: u32 = (HEAD4 + 7u) / 8u; // of a head, 32 columns each
const OWN_ROWS: u32 = ROWS / 8u;

alias Rows = array<vec4f, OWN_ROWS>; // an invocation's rows lane / 8 + 8 i, of the vec4 of columns lane % 8

// Where the keys and values lie that the head of queries at `base` shares with others.
fn base_of_keys(base: u32) -> u32 {
  if (SHARE == 1u) { return base; }
  return base / params.length / SHARE * params.length;
}

var<workgroup> left: array<array<vec4f, 9>, ROWS>; // [row][vec4 of terms, and one against bank conflicts]
var<workgroup> right: array<array<vec4f, 8>, 32>; // [term][vec4 of columns]

fn fill_left(lane: u32, tensor: u32, base: u32, first: u32, part: u32) {
  for (var i = lane; i < 8u * ROWS; i += 64u) {
    left[i / 8u][i % 8u] = load(tensor, base, first + i / 8u, part * 8u + i % 8u);
  }
}

fn fill_right(lane: u32, tensor: u32, base: u32, first: u32, part: u32) {
  for (var i = lane; i < 256u; i += 64u) {
    right[i / 8u][i % 8u] = load(tensor, base, first + i / 8u, part * 8u + i % 8u);
  }
}

fn fill_right_transposed(lane: u32, tensor: u32, base: u32, first: u32, part: u32) {
  let row = first + lane % 8u * 4u;
  let column4 = part * 8u + lane / 8u;
  let x = transpose(mat4x4f(
    load(tensor, base, row, column4),
    load(tensor, base, row + 1u, column4),
    load(tensor, base, row + 2u, column4),
    load(tensor, base, row + 3u, column4),
  ));
  let at = lane / 8u * 4u;
  right[at][lane % 8u] = x[0];
  right[at + 1u][lane % 8u] = x[1];
  right[at + 2u][lane % 8u] = x[2];
  right[at + 3u][lane % 8u] = x[3];
}

fn add_terms(sum: vec4f, x: vec4f, y0: vec4f, y1: vec4f, y2: vec4f, y3: vec4f) -> vec4f {
  return fma(vec4f(x.w), y3, fma(vec4f(x.z), y2, fma(vec4f(x.y), y1, fma(vec4f(x.x), y0, sum))));
}

// Adds the products of vec4s 0 to terms4 - 1 of the terms in `left`, a loop that is unrolled: kernels/NOTES.md tells why.
fn multiply(lane: u32, sums: Rows, terms4: u32) -> Rows {
  var rows = sums;
  let row = lane / 8u;
  let column = lane % 8u;
  // include multiply_left
  return rows;
}

// Products of rows `first` on of the left tensor with rows `others` on of the right one, over all columns of a head.
fn multiply_rows(lane: u32, left_tensor: u32, right_tensor: u32, base: u32, first: u32, others: u32) -> Rows {
  var rows = Rows();
  for (var part = 0u; part < PARTS; part++) {
    fill_left(lane, left_tensor, base, first, part);
    fill_right_transposed(lane, right_tensor, base, others, part);
    workgroupBarrier();
    rows = multiply(lane, rows, min(8u, HEAD4 - part * 8u));
    workgroupBarrier();
  }
  return rows;
}
