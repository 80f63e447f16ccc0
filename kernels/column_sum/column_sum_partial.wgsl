// column_sum_partial: LayerNorm's gain and bias gradients, or RMSNorm's of gains, over blocks of rows; column_sum_finish adds the blocks.
//
//   d_y         [models, rows, stride4]       vec4   read
//   x           [models, rows, stride4]       vec4   read
//   statistics  [models, rows]                vec2f  read   mean, reciprocal deviation
//   partial     [models, blocks, 2, stride4]  vec4   write  sums of d_y * (x - mean) * scale, then of d_y;
//                                                         CENTRED 0: the former alone, [models, blocks, stride4]
//
// One workgroup per COLUMNS vec4s of columns and block of `block_rows` rows, neighbours on neighbouring columns; ROWS lanes share a
// column: one, or for GPUs some, whose sums `sum_rows` adds. Fixed orders: equal bits.
// References: layerNormBackwardReference and rmsNormBackwardReference in layer_norm.ts.

override COLUMNS: u32 = 16u;
override ROWS: u32 = 1u;
override CENTRED: u32 = 1u;

struct Params { rows: u32, stride4: u32, block_rows: u32, blocks: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> d_y: array<vec4f>;
@group(0) @binding(2) var<storage, read> x: array<vec4f>;
@group(0) @binding(3) var<storage, read> statistics: array<vec2f>;
@group(0) @binding(4) var<storage, read_write> partial: array<vec4f>;

fn load_x(i: u32) -> vec4f { return x[i]; }

// include sum_rows

@compute @workgroup_size(COLUMNS * ROWS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let index = group.y * grid.x + group.x;
  let across = (params.stride4 + COLUMNS - 1u) / COLUMNS;
  let block = index / across;
  if (block >= params.blocks) { return; }
  let column = (index % across) * COLUMNS + lane % COLUMNS;
  let model = group.z;
  let first = block * params.block_rows;
  let end = select(first, min(first + params.block_rows, params.rows), column < params.stride4);
  var sum = vec4f();
  var product = vec4f();
  for (var row = first + lane / COLUMNS; row < end; row += ROWS) {
    let i = (model * params.rows + row) * params.stride4 + column;
    let d = d_y[i];
    let s = statistics[model * params.rows + row];
    sum += d;
    product = fma(d, (load_x(i) - s.x) * s.y, product);
  }
  let products = sum_rows(lane, product);
  var sums = vec4f();
  if (CENTRED == 1u) { sums = sum_rows(lane, sum); }
  if (lane >= COLUMNS || column >= params.stride4) { return; }
  let out = (model * params.blocks + block) * params.stride4 * (1u + CENTRED) + column;
  partial[out] = products;
  if (CENTRED == 1u) { partial[out + params.stride4] = sums; }
}
