// attention_tiles: products of 32 × 32 blocks over tiles in workgroup memory, for the three passes of the workgroup form.
//
// A workgroup of 64 fills `left` and `right` with 32 terms of either factor, and each invocation adds the products to its 4
// rows of a vec4 of columns. HEAD4 and `load` are those of the text that includes this: `load` says which tensor a number
// stands for.

const PARTS: u32 = (HEAD4 + 7u) / 8u; // of a head, 32 columns each

alias Rows = array<vec4f, 4>; // an invocation's rows lane / 8 + 8 i, of the vec4 of columns lane % 8

var<workgroup> left: array<vec4f, 288>; // [32 rows][8 vec4s of terms and one against bank conflicts]
var<workgroup> right: array<vec4f, 256>; // [32 terms][8 vec4s of columns]

fn fill_left(lane: u32, tensor: u32, base: u32, first: u32, part: u32) {
  for (var i = lane; i < 256u; i += 64u) {
    left[i / 8u * 9u + i % 8u] = load(tensor, base, first + i / 8u, part * 8u + i % 8u);
  }
}

fn fill_right(lane: u32, tensor: u32, base: u32, first: u32, part: u32) {
  for (var i = lane; i < 256u; i += 64u) {
    right[i] = load(tensor, base, first + i / 8u, part * 8u + i % 8u);
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
  let at = lane / 8u * 32u + lane % 8u;
  right[at] = x[0];
  right[at + 8u] = x[1];
  right[at + 16u] = x[2];
  right[at + 24u] = x[3];
}

fn add_terms(sum: vec4f, x: vec4f, y0: vec4f, y1: vec4f, y2: vec4f, y3: vec4f) -> vec4f {
  return (((sum + x.x * y0) + x.y * y1) + x.z * y2) + x.w * y3;
}

fn multiply(lane: u32, sums: Rows, terms4: u32) -> Rows {
  var rows = sums;
  let row = lane / 8u * 9u;
  for (var term = 0u; term < terms4; term++) {
    let at = term * 32u + lane % 8u;
    let y0 = right[at];
    let y1 = right[at + 8u];
    let y2 = right[at + 16u];
    let y3 = right[at + 24u];
    rows[0] = add_terms(rows[0], left[row + term], y0, y1, y2, y3);
    rows[1] = add_terms(rows[1], left[row + 72u + term], y0, y1, y2, y3);
    rows[2] = add_terms(rows[2], left[row + 144u + term], y0, y1, y2, y3);
    rows[3] = add_terms(rows[3], left[row + 216u + term], y0, y1, y2, y3);
  }
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
