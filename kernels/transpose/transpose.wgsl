// transpose: copies a matrix of every model with rows and columns exchanged.
//
//   a  [models, rows, a_stride]     vec4  read   strides and offsets count vec4s
//   b  [models, columns, b_stride]  vec4  write  columns rows..4·b_stride become zero
//
// One workgroup per 16 × 16 tile and one invocation per 4 × 4 of it, so that reads and writes are whole cache lines.

// include transpose_bindings

@compute @workgroup_size(16)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let tile = group.y * grid.x + group.x;
  let across = (params.columns + 15u) / 16u;
  let row = (tile / across) * 16u + (lane / 4u) * 4u;
  let column = (tile % across) * 4u + lane % 4u;
  if (row >= params.rows || column * 4u >= params.columns) { return; }
  let base = params.a_offset + group.z * params.a_model + column;
  // Loops, with bounds that the driver cannot see: every access in the text takes long to compile.
  var block = mat4x4f();
  for (var i = row; i < min(row + 4u, params.rows); i++) {
    let x = a[base + i * params.a_stride];
    let here = vec4u(i - row) == vec4u(0u, 1u, 2u, 3u);
    block = mat4x4f(
      select(block[0], vec4f(x.x), here), select(block[1], vec4f(x.y), here),
      select(block[2], vec4f(x.z), here), select(block[3], vec4f(x.w), here),
    );
  }
  for (var i = column * 4u; i < min(column * 4u + 4u, params.columns); i++) {
    let x = select(select(block[0], block[1], i % 4u == 1u), select(block[2], block[3], i % 4u == 3u), i % 4u >= 2u);
    store_b(params.b_offset + group.z * params.b_model + i * params.b_stride + row / 4u, x);
  }
}
