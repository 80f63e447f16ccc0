// attention_backward_split: reads attention's output gradient as attention_backward_heads splits it by head.
//
// HEAD4 is that of the text that includes this.

@group(0) @binding(4) var<storage, read> d_heads: array<vec4f>;

fn load_gradient(base: u32, row: u32, column4: u32) -> vec4f { return d_heads[(base + row) * HEAD4 + column4]; }
