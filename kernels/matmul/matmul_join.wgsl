// matmul_join: adds the segments of A · B or Aᵀ · B that matmul_workgroup or matmul_transposed_workgroup leaves apart.
//
//   parts  [models, segments, m · n4 + m4]  vec4  read   elements of C, then sums of a's columns, if any
//   c      [models, m, c_stride]            vec4  write  ACCUMULATE 1: adds into c; offset and strides count vec4s
//   sums   [models, m4]                     vec4  write  where with_sums is 1; where it is 2 sums go to sum_offset of c instead
//
// One invocation per vec4 of a part, neighbours on neighbouring ones; segments in ascending order: equal bits.
// Reference: matmulReference in matmul.ts.

override WG: u32 = 64u;
override ACCUMULATE: u32 = 0u;

struct Params { m: u32, n4: u32, segments: u32, c_offset: u32, c_stride: u32, c_model: u32, with_sums: u32, sum_offset: u32, sum_model: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> parts: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> c: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> sums: array<vec4f>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let place = (group.y * grid.x + group.x) * WG + lane;
  let m4 = (params.m + 3u) / 4u;
  let elements = params.m * params.n4;
  let part = elements + m4;
  if (place >= elements + m4 * min(1u, params.with_sums)) { return; }
  let first = group.z * params.segments * part + place;
  let is_element = place < elements;
  var index = params.c_offset + group.z * params.c_model + (place / params.n4) * params.c_stride + place % params.n4;
  if (!is_element) { index = params.sum_offset + group.z * params.sum_model + place - elements; }
  let in_c = is_element || params.with_sums == 2u;
  var sum = parts[first];
  if (ACCUMULATE == 1u && in_c) { sum += c[index]; }
  for (var segment = 1u; segment < params.segments; segment++) { sum += parts[first + segment * part]; }
  if (in_c) { c[index] = sum; } else { sums[group.z * m4 + place - elements] = sum; }
}
