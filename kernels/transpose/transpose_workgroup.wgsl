// transpose_workgroup: copies a matrix of every model with rows and columns exchanged. For GPUs.
//
//   a  [models, rows, a_stride]     vec4  read   strides and offsets count vec4s
//   b  [models, columns, b_stride]  vec4  write  columns rows..4·b_stride become zero
//
// One workgroup per 32 × 32 tile, which lies in workgroup memory between: neighbours read and write neighbouring vec4s. Rows of the
// tile are 33 floats apart, so that a column lies in different banks.

// include transpose_bindings

var<workgroup> tile: array<array<f32, 33>, 32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let index = group.y * grid.x + group.x;
  let across = (params.columns + 31u) / 32u;
  let first_row = (index / across) * 32u;
  let first_column = (index % across) * 32u;
  if (first_row >= params.rows) { return; }
  let place = (lane % 8u) * 4u;
  for (var i = lane / 8u; i < 32u; i += 8u) {
    var x = vec4f();
    if (first_row + i < params.rows && first_column + place < params.columns) {
      let at = (first_column + place) / 4u;
      x = a[params.a_offset + group.z * params.a_model + (first_row + i) * params.a_stride + at];
    }
    tile[i][place] = x.x;
    tile[i][place + 1u] = x.y;
    tile[i][place + 2u] = x.z;
    tile[i][place + 3u] = x.w;
  }
  workgroupBarrier();
  if (first_row + place >= params.rows) { return; }
  for (var i = lane / 8u; i < min(32u, params.columns - first_column); i += 8u) {
    let x = vec4f(tile[place][i], tile[place + 1u][i], tile[place + 2u][i], tile[place + 3u][i]);
    let at = (first_row + place) / 4u;
    store_b(params.b_offset + group.z * params.b_model + (first_column + i) * params.b_stride + at, x);
  }
}
