// attention_keep_query: scores of a block whose q stays in workgroup memory, for attention_forward_workgroup.
//
// What it uses is that of the text that includes this.

var<workgroup> kept: array<array<array<vec4f, 9>, ROWS>, PARTS>; // q of the block, part by part, as `left` is laid out

// Reads q once; the first barrier of `scores_of` comes before it is used.
fn keep_query(lane: u32, base: u32, first: u32) {
  for (var part = 0u; part < PARTS; part++) {
    for (var i = lane; i < 8u * ROWS; i += 64u) {
      kept[part][i / 8u][i % 8u] = load(Q, base, first + i / 8u, part * 8u + i % 8u);
    }
  }
}

// As `multiply`, of what is kept.
fn multiply_kept(lane: u32, sums: Rows, part: u32, terms4: u32) -> Rows {
  var rows = sums;
  let row = lane / 8u;
  let column = lane % 8u;
  // include multiply_kept
  return rows;
}

fn scores_of(lane: u32, base: u32, first: u32, keys: u32) -> Rows {
  var rows = Rows();
  for (var part = 0u; part < PARTS; part++) {
    fill_right_transposed(lane, K, base, keys, part);
    workgroupBarrier();
    rows = multiply_kept(lane, rows, part, min(8u, HEAD4 - part * 8u));
    workgroupBarrier();
  }
  return rows;
}
