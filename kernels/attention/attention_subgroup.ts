/**
 * WGSL of causal attention for software adapters with subgroups of 8 lanes, one text per head size.
 *
 * A workgroup is one subgroup and one head of one sequence. It walks the keys in blocks whose panels lie in private
 * arrays (see matmul_subgroup.ts for why), and streams the block's queries by: a lane is a key while scores are taken,
 * and a vec4 of the head's columns while values are summed. Scores never leave the registers. Sums over lanes go by
 * broadcasts in a fixed order and each lane reads back what it wrote itself, so there are no barriers and equal inputs
 * give equal bits. References: attentionForwardReference and attentionBackwardReference in attention.ts.
 */

import { LANES, overLanes, sumOverLanes, XYZW } from "../device/subgroup.ts";

const range = (count: number) => Array.from({ length: count }, (_, i) => i);
const join = (count: number, text: (i: number) => string, separator = " ") =>
  range(count).map(text).join(separator);

/** Component `column` of a row that lies over the lanes, 4 columns in each, as a scalar for all lanes. */
const broadcast = (name: string, column: number) =>
  `subgroupBroadcast(${name}${column >> 5}.${"xyzw"[column & 3]}, ${(column >> 2) & 7}u)`;

/** Sizes that the text depends on. */
interface Sizes {
  /** Columns of a head, padded to a multiple of 4. */
  columns: number;
  /** Keys per block, a multiple of 8. */
  block: number;
}

function sizes({ columns, block }: Sizes) {
  const keys = block / LANES; // keys per lane
  return {
    keys,
    vec4s: columns / 4,
    parts: Math.ceil(columns / 32), // vec4s of columns per lane
    fence: Math.max(1, Math.floor(64 / keys)), // see FENCE in matmul_subgroup.ts
  };
}

/** How many keys and vec4s of columns a lane has: as literals, the driver would unroll the loops that they bound. */
const bounds = (block: number) =>
  `let keys = (min(${block}u, params.length) + ${
    LANES - 1
  }u) / ${LANES}u; let vec4s = (params.head_size + 3u) / 4u;`;

/** One-line accessors, as in the WGSL files: storage.ts rewrites them. */
const load = (x: string) => `fn load_${x}(i: u32) -> vec4f { return ${x}[i]; }`;

const HEADER = `
struct Params { queries: u32, length: u32, heads: u32, head_size: u32, stride: u32, capacity: u32 }
@group(0) @binding(0) var<uniform> params: Params;
`;

/**
 * Returns the WGSL of the forward pass. Bindings as in attention_forward.wgsl, without `start`, and then
 * `running` vec2f `[heads, length, 8]`: peak and sum of each query between blocks, one copy per lane; and
 * `sums` vec4 in the layout of q: the output between blocks.
 */
export function attentionForwardSubgroup(shape: Sizes): string {
  const { columns, block } = shape;
  const { keys, vec4s, parts, fence } = sizes(shape);
  const at = (column: number, c: number) => (column >> 2) * keys + c;
  const own = (i: number) => `lane + ${8 * i}u < ${vec4s}u`;
  const place = (i: number) => `(base + t) * ${vec4s}u + min(lane + ${8 * i}u, ${vec4s - 1}u)`;
  return `${HEADER}
@group(0) @binding(1) var<storage, read> q: array<vec4f>;
@group(0) @binding(2) var<storage, read> k: array<vec4f>;
@group(0) @binding(3) var<storage, read> v: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> out: array<vec2f>;
@group(0) @binding(5) var<storage, read_write> lse: array<f32>;
@group(0) @binding(6) var<storage, read_write> running: array<vec2f>;
@group(0) @binding(7) var<storage, read_write> sums: array<vec4f>;

${["q", "k", "v"].map(load).join("\n")}
fn store_out(i: u32, value: vec2f) { out[i] = value; }

@compute @workgroup_size(${LANES})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let local = group.y * grid.x + group.x;
  if (local * params.length >= params.queries) { return; }
  let index = group.z * (params.queries / params.length) + local; // of this head among all
  let head = index % params.heads;
  let base = index * params.length;
  ${bounds(block)}
  let out_base = (index / params.heads) * params.length * params.stride + head * params.head_size;
  ${join(4, (r) => `var keys${r}: array<f32, ${vec4s * keys + 1}>;`)}
  ${join(parts, (i) => XYZW.map((r) => `var values${i}${r}: array<f32, ${block + 1}>;`).join(" "))}
  for (var first = 0u; first < params.length; first += ${block}u) {
    for (var c = 0u; c < keys; c++) {
      let j = min(first + 8u * c + lane, params.length - 1u);
      for (var i = 0u; i < vec4s; i++) {
        let x = load_k((base + j) * ${vec4s}u + i);
        ${join(4, (r) => `keys${r}[i * ${keys}u + c] = x[${r}];`)}
      }
    }
    for (var c = 0u; c < min(${block}u, params.length + 7u); c++) {
      let j = min(first + c, params.length - 1u);
      ${
    join(parts, (i) =>
      `let x${i} = load_v((base + j) * ${vec4s}u + min(lane + ${8 * i}u, ${vec4s - 1}u)); ` +
      XYZW.map((r) => `values${i}${r}[c] = x${i}.${r};`).join(" "))
  }
    }
    for (var t = first; t < params.length; t++) {
      ${
    join(parts, (i) => `let q${i} = select(vec4f(), load_q(${place(i)}), ${own(i)}); var o${i} = vec4f();`)
  }
      ${join(keys, (c) => `var s${c} = 0.0;`)}
      ${
    join(
      columns,
      (d) =>
        `{ let x = ${broadcast("q", d)}; ${join(keys, (c) => `s${c} += x * keys${d & 3}[${at(d, c)}];`)} }` +
        (d % fence === fence - 1 ? join(4, (r) => ` keys${r}[${vec4s * keys}] = s${r % keys};`) : ""),
      "\n      ",
    )
  }
      ${join(keys, (c) => `s${c} = select(-3.0e38, s${c}, first + ${8 * c}u + lane <= t);`)}
      let own_peak = ${range(keys).map((c) => `s${c}`).reduce((a, b) => `max(${a}, ${b})`)};
      var peak = ${overLanes("own_peak", (a, b) => `max(${a}, ${b})`)};
      var total = 0.0;
      if (first > 0u) {
        let before = running[(base + t) * 8u + lane];
        peak = max(peak, before.x);
        let shrink = exp(before.x - peak);
        total = before.y * shrink;
        ${join(parts, (i) => `o${i} = sums[${place(i)}] * shrink;`)}
      }
      ${join(keys, (c) => `let p${c} = exp(s${c} - peak);`)}
      let own_sum = ${join(keys, (c) => `p${c}`, " + ")};
      total += ${sumOverLanes("own_sum")};
      ${
    join(block, (j) =>
      `{ let x = subgroupBroadcast(p${j >> 3}, ${j & 7}u); ${
        join(parts, (i) =>
          `o${i} += x * vec4f(${
            XYZW.map((r) => `values${i}${r}[${j}]`).join(", ")
          });`)
      } }` +
      (j % 16 === 15
        ? join(parts, (i) => XYZW.map((r) => ` values${i}${r}[${block}] = o${i}.${r};`).join(""))
        : ""), "\n      ")
  }
      if (first + ${block}u > t) {
        let scale = 1.0 / total;
        if (lane == 0u) { lse[base + t] = peak + log(total); }
        let row = out_base + t * params.stride;
        ${
    join(parts, (i) =>
      `for (var c = 4u * (lane + ${8 * i}u); c < min(4u * (lane + ${
        8 * i + 1
      }u), params.head_size); c += 2u) { store_out((row + c) / 2u, vec2f(o${i}[c & 3u], o${i}[(c & 3u) + 1u]) * scale); }`)
  }
        if (head == params.heads - 1u) {
          for (var c = params.head_size + 2u * lane; head * params.head_size + c < params.stride; c += 16u) { store_out((row + c) / 2u, vec2f()); }
        }
      } else {
        running[(base + t) * 8u + lane] = vec2f(peak, total);
        ${join(parts, (i) => `if (${own(i)}) { sums[(base + t) * ${vec4s}u + lane + ${8 * i}u] = o${i}; }`)}
      }
    }
  }
}
`;
}

/**
 * Returns the WGSL of the backward pass: q, k, v, d_heads, lse and product as in attention_backward_query.wgsl, then d_q,
 * d_k and d_v, all three in one pass over the blocks of keys. Where heads are whole vec4s (`merged`), d_out and out stand
 * for d_heads and product, in attention's own layout, so that attention_backward_heads.wgsl has nothing to do.
 */
export function attentionBackwardSubgroup(shape: Sizes & { merged: boolean }): string {
  const { columns, block, merged } = shape;
  const { keys, vec4s, parts, fence } = sizes(shape);
  const size = vec4s * keys;
  const at = (column: number, c: number) => (column >> 2) * keys + c;
  const own = (i: number) => `lane + ${8 * i}u < ${vec4s}u`;
  const row = (i: number) => `(base + t) * ${vec4s}u + min(lane + ${8 * i}u, ${vec4s - 1}u)`;
  const mergedRow = (i: number) => `out_row + min(lane + ${8 * i}u, ${vec4s - 1}u)`;
  const gradient = (i: number) => merged ? `d_out[${mergedRow(i)}]` : `d_heads[${row(i)}]`;
  const store = (target: string, sums: string) =>
    `if (j < params.length) { for (var i = 0u; i < vec4s; i++) { ${target}[(base + j) * ${vec4s}u + i] = vec4f(${
      join(4, (r) => `${sums}${r}[i * ${keys}u + c]`, ", ")
    }); } }`;
  return `${HEADER}
${
    ["q", "k", "v", merged ? "d_out" : "d_heads"].map((name, i) =>
      `@group(0) @binding(${i + 1}) var<storage, read> ${name}: array<vec4f>;`
    ).join("\n")
  }
@group(0) @binding(5) var<storage, read> lse: array<f32>;
@group(0) @binding(6) var<storage, read> ${merged ? "out: array<vec4f>" : "product: array<f32>"};
${
    ["d_q", "d_k", "d_v"].map((name, i) =>
      `@group(0) @binding(${i + 7}) var<storage, read_write> ${name}: array<vec4f>;`
    ).join("\n")
  }

${["q", "k", "v", ...merged ? ["out"] : []].map(load).join("\n")}

@compute @workgroup_size(${LANES})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u,
        @builtin(local_invocation_index) lane: u32) {
  let local = group.y * grid.x + group.x;
  if (local * params.length >= params.queries) { return; }
  let index = group.z * (params.queries / params.length) + local; // of this head among all
  let base = index * params.length;
  ${bounds(block)}
  ${
    merged
      ? `let stride4 = params.stride / 4u;
  let out_base = (index / params.heads) * params.length * stride4 + (index % params.heads) * ${vec4s}u;`
      : ""
  }
  ${join(4, (r) => `var keys${r}: array<f32, ${size + 1}>; var values${r}: array<f32, ${size + 1}>;`)}
  ${join(4, (r) => `var key_sum${r}: array<f32, ${size}>; var value_sum${r}: array<f32, ${size}>;`)}
  ${join(parts, (i) => XYZW.map((r) => `var rows${i}${r}: array<f32, ${block + 1}>;`).join(" "))}
  for (var first = 0u; first < params.length; first += ${block}u) {
    for (var c = 0u; c < keys; c++) {
      let j = min(first + 8u * c + lane, params.length - 1u);
      for (var i = 0u; i < vec4s; i++) {
        let x = load_k((base + j) * ${vec4s}u + i);
        let y = load_v((base + j) * ${vec4s}u + i);
        ${join(4, (r) => `keys${r}[i * ${keys}u + c] = x[${r}]; values${r}[i * ${keys}u + c] = y[${r}];`)}
      }
    }
    for (var c = 0u; c < min(${block}u, params.length + 7u); c++) {
      let j = min(first + c, params.length - 1u);
      ${
    join(parts, (i) =>
      `let x${i} = load_k((base + j) * ${vec4s}u + min(lane + ${8 * i}u, ${vec4s - 1}u)); ` +
      XYZW.map((r) => `rows${i}${r}[c] = x${i}.${r};`).join(" "))
  }
    }
    for (var i = 0u; i < keys * vec4s; i++) {
      ${join(4, (r) => `key_sum${r}[i] = 0.0; value_sum${r}[i] = 0.0;`)}
    }
    for (var t = first; t < params.length; t++) {
      ${merged ? "let out_row = out_base + t * stride4;" : ""}
      ${
    join(parts, (i) =>
      `let q${i} = select(vec4f(), load_q(${row(i)}), ${own(i)}); let g${i} = select(vec4f(), ${
        gradient(i)
      }, ${own(i)});`)
  }
      let shift = lse[base + t];
      ${
    merged
      ? `let own_product = ${join(parts, (i) => `dot(g${i}, load_out(${mergedRow(i)}))`, " + ")};
      let mean = ${sumOverLanes("own_product")};`
      : "let mean = product[base + t];"
  }
      ${join(keys, (c) => `var s${c} = 0.0; var e${c} = 0.0;`)}
      ${
    join(
      columns,
      (d) =>
        `{ let x = ${broadcast("q", d)}; let y = ${broadcast("g", d)}; ${
          join(
            keys,
            (c) => `s${c} += x * keys${d & 3}[${at(d, c)}]; e${c} += y * values${d & 3}[${at(d, c)}];`,
          )
        } }` + (d % fence === fence - 1
          ? join(4, (r) => ` keys${r}[${size}] = s${r % keys}; values${r}[${size}] = e${r % keys};`)
          : ""),
      "\n      ",
    )
  }
      ${
    join(keys, (c) =>
      `let p${c} = select(0.0, exp(s${c} - shift), first + ${
        8 * c
      }u + lane <= t); let f${c} = p${c} * (e${c} - mean);`)
  }
      ${
    join(columns, (d) =>
      `{ let x = ${broadcast("q", d)}; let y = ${broadcast("g", d)}; ${
        join(keys, (c) =>
          `key_sum${d & 3}[${at(d, c)}] += f${c} * x; value_sum${d & 3}[${at(d, c)}] += p${c} * y;`)
      } }`, "\n      ")
  }
      ${
    join(parts, (i) =>
      `var h${i} = vec4f(); if (first > 0u) { h${i} = d_q[(base + t) * ${vec4s}u + min(lane + ${8 * i}u, ${
        vec4s - 1
      }u)]; }`)
  }
      ${
    join(block, (j) =>
      `{ let x = subgroupBroadcast(f${j >> 3}, ${j & 7}u); ${
        join(parts, (i) =>
          `h${i} += x * vec4f(${
            XYZW.map((r) => `rows${i}${r}[${j}]`).join(", ")
          });`)
      } }` +
      (j % 16 === 15
        ? join(parts, (i) => XYZW.map((r) => ` rows${i}${r}[${block}] = h${i}.${r};`).join(""))
        : ""), "\n      ")
  }
      ${join(parts, (i) => `if (${own(i)}) { d_q[(base + t) * ${vec4s}u + lane + ${8 * i}u] = h${i}; }`)}
    }
    for (var c = 0u; c < keys; c++) {
      let j = first + 8u * c + lane;
      ${store("d_k", "key_sum")}
      ${store("d_v", "value_sum")}
    }
  }
}
`;
}
