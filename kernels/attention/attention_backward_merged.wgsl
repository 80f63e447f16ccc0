// attention_backward_merged: reads attention's output gradient where it lies, head by head in its rows, of heads of whole vec4s.
//
// HEAD4 and params are those of the text that includes this.

@group(0) @binding(4) var<storage, read> d_out: array<vec4f>; // [models, batch, length, stride / 4]

// Of vec4 `column4` of a query of the head at `base`, in d_out and in out.
fn place_in_rows(base: u32, row: u32, column4: u32) -> u32 {
  let head = base / params.length; // among those of all sequences
  let at = (head / params.heads * params.length + row) * (params.stride / 4u);
  return at + head % params.heads * HEAD4 + column4;
}

fn load_gradient(base: u32, row: u32, column4: u32) -> vec4f { return d_out[place_in_rows(base, row, column4)]; }
