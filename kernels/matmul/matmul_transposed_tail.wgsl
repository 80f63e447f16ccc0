// matmul_transposed_tail: what texts of Aᵀ · B bind, and how they store its sums and those of A's columns.
//
// ACCUMULATE and Params are those of the text that includes this; the table in its header describes the buffers.

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4f>;
@group(0) @binding(2) var<storage, read> b: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> c: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> sums: array<vec4f>;

fn load_a(i: u32) -> vec4f { return a[i]; }
fn load_b(i: u32) -> vec4f { return b[i]; }
fn load_c(i: u32) -> vec4f { return c[i]; }
fn store_c(i: u32, value: vec4f) { c[i] = value; }

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
