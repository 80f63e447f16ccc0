/**
 * The variant of attention for software adapters with subgroups of 8 lanes. This file writes the
 * unrolled loops of its WGSL, one text per head size. Each lane holds a vec4 of the columns of a
 * head's row; a row of more than 32 columns is cut into parts, of each of which a lane holds a
 * vec4. The names in the text end in what they stand for. `score3` is the score of the lane's key
 * 3, and `q1` is part 1 of the query. `key_2` is an array with component 2 of all the lane's keys.
 * `value_row1y` is an array with component y of part 1 of the block's values, one per key.
 */

import {
  laneArrays,
  LANES,
  numbers,
  overLanes,
  remembered,
  sumOverLanes,
  unroll,
  XYZW,
} from "../device/subgroup.ts";
import { compose } from "../device/wgsl.ts";
import backwardCode from "./attention_backward_subgroup.wgsl" with { type: "text" };
import forwardCode from "./attention_forward_subgroup.wgsl" with { type: "text" };

/** Sizes that the texts depend on. */
export interface HeadShape {
  /** Columns of a head, padded to a multiple of 4. */
  columns: number;
  /** Keys per block, a multiple of 8. */
  block: number;
  /** Heads of queries that share a head of keys and values. */
  share: number;
}

/** Reads one column of a row that the lanes share, as the same scalar in all lanes. */
const broadcast = (row: string, column: number) =>
  `subgroupBroadcast(${row}${column >> 5}.${XYZW[column & 3]}, ${(column >> 2) & 7}u)`;

/**
 * Declares arrays `name_0` to `name_3`: array i holds component i of all vec4s of a lane's keys.
 */
const keyArrays = (name: string, length: number) =>
  unroll(4, (r) => `var ${name}_${r}: array<f32, ${length}>;`, " ");

/** What the texts of both passes have in common. */
function sharedLines({ columns, block, share }: HeadShape) {
  const keys = block / LANES; // per lane
  const vec4s = columns / 4;
  const parts = Math.ceil(columns / (4 * LANES));
  /** The condition that the lane holds a vec4 of a part. */
  const holdsPart = (part: number) => `lane + ${LANES * part}u < ${vec4s}u`;
  /** The lane's vec4 of a part of a row, or the last one where it has none. */
  const vec4At = (row: string, part: number) =>
    `${row} + min(lane + ${LANES * part}u, ${vec4s - 1}u)`;
  return {
    keys,
    parts,
    constants: { HEAD4: vec4s, BLOCK: block, KEYS: keys, SHARE: share },
    /** Values of an array of {@link keyArrays}. */
    values: vec4s * keys,
    /**
     * Columns between two stores into a spare element of every array: see FENCE in
     * matmul_subgroup.ts.
     */
    fence: Math.max(1, Math.floor(64 / keys)),
    /** Where a column of a lane's key stands in the array of its component. */
    elementIndex: (column: number, key: number) => (column >> 2) * keys + key,
    holdsPart,
    vec4At,
    /** The lane's vec4 of a part of the query's row. */
    queryPart: (part: number) => vec4At(`(base + query) * ${vec4s}u`, part),
    /** Stores the parts of a value as the query's row of a tensor. */
    storeRow: (tensor: string, value: string) =>
      unroll(
        parts,
        (part) =>
          `if (${holdsPart(part)}) { ${tensor}[(base + query) * ${vec4s}u + lane + ${
            LANES * part
          }u] = ${value}${part}; }`,
      ),
    /** Copies a row of keys or values into the arrays of its parts. */
    fillRows: (array: string, load: string) =>
      unroll(parts, (part) => {
        const x = `let x${part} = ${load}(${vec4At(`(key_base + key) * ${vec4s}u`, part)}); `;
        return x + XYZW.map((r) => `${array}${part}${r}[c] = x${part}.${r};`).join(" ");
      }),
    /** Adds the block's rows, each times the scalar of its key, to the parts of a sum. */
    addRows: (factor: string, array: string, sum: string) => {
      const rows = laneArrays(array, parts, block + 1);
      return unroll(block, (key) => {
        const products = unroll(
          parts,
          (part) => `${sum}${part} += factor * ${rows.vector(part, key)};`,
          " ",
        );
        const fence = key % 16 === 15
          ? unroll(parts, (part) => ` ${rows.store(part, block, `${sum}${part}`)}`, "")
          : "";
        return `{ let factor = subgroupBroadcast(${factor}${key >> 3}, ${
          key & 7
        }u); ${products} }${fence}`;
      });
    },
    rowArrays: (array: string) => laneArrays(array, parts, block + 1).declarations,
    /** The condition that the lane's key stands at or before the query. */
    seen: (key: number) => `first + ${LANES * key}u + lane <= query`,
  };
}

/** Returns the WGSL of the forward pass. */
export const attentionForwardSubgroup: (shape: HeadShape) => string = remembered(
  (shape: HeadShape) => {
    const { columns } = shape;
    const { keys, parts, constants, values, fence, elementIndex, holdsPart, queryPart, ...lines } =
      sharedLines(shape);
    return compose(forwardCode, {
      panel_arrays: `${keyArrays("key", values + 1)}\n${lines.rowArrays("value_row")}`,
      fill_keys: unroll(4, (r) => `key_${r}[i * ${keys}u + c] = x[${r}];`, " "),
      fill_values: lines.fillRows("value_row", "load_v"),
      load_query: unroll(
        parts,
        (part) =>
          `let q${part} = select(vec4f(), load_q(${queryPart(part)}), ${
            holdsPart(part)
          }); var output${part} = vec4f();`,
      ),
      score_keys: unroll(keys, (key) => `var score${key} = 0.0;`, " ") + "\n" +
        unroll(columns, (column) => {
          const products = unroll(
            keys,
            (key) => `score${key} += x * key_${column & 3}[${elementIndex(column, key)}];`,
            " ",
          );
          const stores = () => unroll(4, (r) => ` key_${r}[${values}] = score${r % keys};`, "");
          return `{ let x = ${broadcast("q", column)}; ${products} }${
            column % fence === fence - 1 ? stores() : ""
          }`;
        }),
      mask_scores: unroll(
        keys,
        (key) => `score${key} = select(-3.0e38, score${key}, ${lines.seen(key)});`,
      ),
      peak_over_lanes: `let own_peak = ${
        numbers(keys).map((key) => `score${key}`).reduce((a, b) => `max(${a}, ${b})`)
      };
      var peak = ${overLanes("own_peak", (a, b) => `max(${a}, ${b})`)};`,
      resume_output: unroll(parts, (part) => `output${part} = sums[${queryPart(part)}] * shrink;`),
      weigh_keys: unroll(keys, (key) => `let weight${key} = exp(score${key} - peak);`),
      total_over_lanes: `let own_total = ${unroll(keys, (key) => `weight${key}`, " + ")};
      total += ${sumOverLanes("own_total")};`,
      add_values: lines.addRows("weight", "value_row", "output"),
      store_output: unroll(parts, (part) => {
        const [from, to] = [LANES * part, LANES * part + 1].map((vec4) => `4u * (lane + ${vec4}u)`);
        const pair = `vec2f(output${part}[c & 3u], output${part}[(c & 3u) + 1u])`;
        return `for (var c = ${from}; c < min(${to}, params.head_size); c += 2u) { ` +
          `store_out((row + c) / 2u, ${pair} * scale); }`;
      }),
      suspend_output: lines.storeRow("sums", "output"),
    }, constants);
  },
);

/** Writes the arrays that hold a panel of keys, values and their gradients, and what fills them. */
const writePanels = (keys: number, values: number, keyRows: string) => ({
  panel_arrays: [
    ...numbers(4).map((r) =>
      `var key_${r}: array<f32, ${values + 1}>; var value_${r}: array<f32, ${values + 1}>;`
    ),
    ...numbers(4).map((r) =>
      `var key_sum_${r}: array<f32, ${values}>; var value_sum_${r}: array<f32, ${values}>;`
    ),
    keyRows,
  ].join("\n"),
  fill_keys_and_values: unroll(
    4,
    (r) => `key_${r}[i * ${keys}u + c] = x[${r}]; value_${r}[i * ${keys}u + c] = y[${r}];`,
  ),
});

/** Reads one column of a query, and of the gradient of its output, in all lanes. */
const factors = (column: number) =>
  `let x = ${broadcast("q", column)}; let y = ${broadcast("d_out", column)};`;

/** Adds a query's part to the sums of the lane's keys and values. */
const addToKeys = (
  columns: number,
  keys: number,
  elementIndex: (column: number, key: number) => number,
) =>
  unroll(columns, (column) => {
    const products = unroll(keys, (key) => {
      const place = `${column & 3}[${elementIndex(column, key)}]`;
      return `key_sum_${place} += slope${key} * x; value_sum_${place} += weight${key} * y;`;
    }, " ");
    return `{ ${factors(column)} ${products} }`;
  });

/** Writes the bindings of the output's gradient, and where a head begins in them. */
const gradientInputs = (columns: number, merged: boolean) => ({
  inputs: `@group(0) @binding(4) var<storage, read> ${merged ? "d_out" : "d_heads"}: array<vec4f>;
@group(0) @binding(5) var<storage, read> lse: array<f32>;
@group(0) @binding(6) var<storage, read> ${merged ? "out: array<vec4f>" : "product: array<f32>"};
${merged ? "fn load_out(i: u32) -> vec4f { return out[i]; }" : ""}`,
  place_of_head: merged
    ? `let stride4 = params.stride / 4u;
  let out_base = (index / params.heads) * params.length * stride4 + (index % params.heads) * ${
      columns / 4
    }u;`
    : "",
});

/**
 * Returns the WGSL of the backward pass. Where heads are whole vec4s (`merged`), it reads d_out and
 * out instead of d_heads and product, so that attention_backward_heads.wgsl has nothing to do.
 */
export const attentionBackwardSubgroup: (shape: HeadShape & { merged: boolean }) => string =
  remembered(
    (shape: HeadShape & { merged: boolean }) => {
      const { columns, merged } = shape;
      const {
        keys,
        parts,
        constants,
        values,
        fence,
        elementIndex,
        holdsPart,
        queryPart,
        vec4At,
        ...lines
      } = sharedLines(
        shape,
      );
      const gradient = (part: number) =>
        merged ? `d_out[${vec4At("out_row", part)}]` : `d_heads[${queryPart(part)}]`;
      const ownProduct = unroll(
        parts,
        (part) => `dot(d_out${part}, load_out(${vec4At("out_row", part)}))`,
        " + ",
      );
      const stored = (sum: string) =>
        `vec4f(${unroll(4, (r) => `${sum}_${r}[i * ${keys}u + c]`, ", ")})`;
      return compose(backwardCode, {
        ...gradientInputs(columns, merged),
        ...writePanels(keys, values, lines.rowArrays("key_row")),
        fill_key_rows: lines.fillRows("key_row", "load_k"),
        clear_sums: unroll(4, (r) => `key_sum_${r}[i] = 0.0; value_sum_${r}[i] = 0.0;`),
        load_rows: (merged ? "let out_row = out_base + query * stride4;\n" : "") +
          unroll(
            parts,
            (part) =>
              `let q${part} = select(vec4f(), load_q(${queryPart(part)}), ${holdsPart(part)}); ` +
              `let d_out${part} = select(vec4f(), ${gradient(part)}, ${holdsPart(part)});`,
          ),
        mean_of_row: merged
          ? `let own_product = ${ownProduct};\nlet mean = ${sumOverLanes("own_product")};`
          : "let mean = product[base + query];",
        score_keys: unroll(keys, (key) => `var score${key} = 0.0; var gain${key} = 0.0;`, " ") +
          "\n" +
          unroll(columns, (column) => {
            const products = unroll(keys, (key) => {
              const place = `${column & 3}[${elementIndex(column, key)}]`;
              return `score${key} += x * key_${place}; gain${key} += y * value_${place};`;
            }, " ");
            const stores = () =>
              unroll(
                4,
                (r) =>
                  ` key_${r}[${values}] = score${r % keys}; value_${r}[${values}] = gain${
                    r % keys
                  };`,
                "",
              );
            return `{ ${factors(column)} ${products} }${
              column % fence === fence - 1 ? stores() : ""
            }`;
          }),
        weigh_keys: unroll(
          keys,
          (key) =>
            `let weight${key} = select(0.0, exp(score${key} - shift), ${lines.seen(key)}); ` +
            `let slope${key} = weight${key} * (gain${key} - mean);`,
        ),
        add_to_keys_and_values: addToKeys(columns, keys, elementIndex),
        resume_query: unroll(
          parts,
          (part) =>
            `var d_q${part} = vec4f(); if (first > 0u) { d_q${part} = d_q[${queryPart(part)}]; }`,
        ),
        add_to_query: lines.addRows("slope", "key_row", "d_q"),
        store_query: lines.storeRow("d_q", "d_q"),
        store_keys_and_values: ["key", "value"].map((kind) =>
          `if (key < params.length) { for (var i = 0u; i < vec4s; i++) { ` +
          `d_${kind[0]}[(base + key) * ${columns / 4}u + i] = ${stored(`${kind}_sum`)}; } }`
        ).join("\n"),
      }, constants);
    },
  );
