// matmul_transposed_tail: stores sums of Aᵀ · B and of A's columns, for the texts of all variants.
//
// ACCUMULATE, params and the buffers are those of the text that includes this.

// Of vec4 `row4` of a's columns.
fn store_sum(model: u32, row4: u32, sum: vec4f) {
  let real = row4 * 4u + vec4u(0u, 1u, 2u, 3u) < vec4u(params.m);
  sums[model * ((params.m + 3u) / 4u) + row4] = select(vec4f(), sum, real);
}

fn finish(model: u32, row: u32, column: u32, sum: vec4f) {
  if (row >= params.m || column >= params.n4) { return; }
  let index = params.c_offset + model * params.c_model + row * params.c_stride + column;
  var value = sum;
  if (ACCUMULATE == 1u) { value += load_c(index); }
  store_c(index, value);
}
