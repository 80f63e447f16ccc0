// attention_products_taken: takes the products of a block's output with its gradient, for the passes backward, and leaves them for
// the pass of keys.
//
// What it uses is that of the text that includes this.

@group(0) @binding(6) var<storage, read> out: array<vec4f>; // [models, batch, length, stride / 4]
@group(0) @binding(7) var<storage, read_write> product: array<f32>;
@group(0) @binding(8) var<storage, read_write> d_q: array<vec4f>;

fn load_out(i: u32) -> vec4f { return out[i]; }

var<workgroup> products: array<f32, ROWS>;

// A lane per query.
fn take_products(lane: u32, base: u32, first: u32) {
  let query = first + lane;
  if (lane < ROWS && query < params.length) {
    var sum = 0.0;
    for (var i = 0u; i < HEAD4; i++) {
      let at = place_in_rows(base, query, i);
      let x = d_out[at];
      let y = load_out(at);
      sum = fma(x.w, y.w, fma(x.z, y.z, fma(x.y, y.y, fma(x.x, y.x, sum))));
    }
    products[lane] = sum;
    product[base + query] = sum;
  }
  workgroupBarrier();
}

fn product_of(base: u32, first: u32, row: u32) -> f32 { return products[row]; }
