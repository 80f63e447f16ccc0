// attention_backward_load: how both passes of the workgroup variant backward read their tiles.
//
// HEAD4, params and the buffers are those of the text that includes this; `load_gradient` says where d_heads lie.

fn load_q(i: u32) -> vec4f { return q[i]; }
fn load_k(i: u32) -> vec4f { return k[i]; }
fn load_v(i: u32) -> vec4f { return v[i]; }

const Q: u32 = 0u;
const K: u32 = 1u;
const V: u32 = 2u;
const D_HEADS: u32 = 3u;

fn load(tensor: u32, base: u32, row: u32, column4: u32) -> vec4f {
  if (row >= params.length || column4 >= HEAD4) { return vec4f(); }
  if (tensor == Q) { return load_q((base + row) * HEAD4 + column4); }
  let i = (base_of_keys(base) + row) * HEAD4 + column4;
  if (tensor == K) { return load_k(i); }
  if (tensor == V) { return load_v(i); }
  return load_gradient(base, row, column4);
}
