// matmul_segments: stores sums of A · B segment by segment, for matmul_workgroup where sums are long.
//
// Segments are added in ascending order. SPLIT 1: a workgroup takes one segment of its tile, and c is
// [models, segments, m · n4 + m4], of which matmul_join adds the segments; the last m4 vec4s stay as they are.
// SEGMENT, params, the buffers and `finish`, with TAIL 0, are those of the text that includes this.

override SPLIT: u32 = 0u;

fn finish_segment(model: u32, segment: u32, row: u32, column: u32, sum: vec4f) {
  if (row >= params.m || column >= params.n4) { return; }
  if (SPLIT == 1u) {
    let part = params.m * params.n4 + (params.m + 3u) / 4u;
    store_c((model * ((params.k + SEGMENT - 1u) / SEGMENT) + segment) * part + row * params.n4 + column, sum);
    return;
  }
  if (segment == 0u) {
    finish(model, row, column, sum);
    return;
  }
  let index = params.c_offset + model * params.c_model + row * params.c_stride + column;
  store_c(index, load_c(index) + sum);
}
