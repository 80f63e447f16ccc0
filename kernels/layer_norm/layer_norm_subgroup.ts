/**
 * The variant of LayerNorm and RMSNorm for software adapters with subgroups of 8 lanes. This file
 * writes the unrolled loops of its WGSL, one text per width of a row. The number after a name is
 * that of the lane's vec4: a lane holds every eighth vec4 of the row, `x0`, `x1`, …
 */

import {
  LANES,
  numbers,
  pick,
  remembered,
  sumOverLanes,
  unroll,
  XYZW,
} from "../device/subgroup.ts";
import { compose } from "../device/wgsl.ts";
import backwardBindings from "./layer_norm_backward_bindings.wgsl" with { type: "text" };
import forwardBindings from "./layer_norm_forward_bindings.wgsl" with { type: "text" };
import backwardCode from "./layer_norm_backward_subgroup.wgsl" with { type: "text" };
import forwardCode from "./layer_norm_forward_subgroup.wgsl" with { type: "text" };

/**
 * Most vec4s of a row that a lane may hold. Wider rows are left to other variants, as the text for
 * them would take too long to compile.
 */
export const MOST_VEC4S = 8;

/** Declares an array per component, of a value for each vec4 that a lane owns. */
const arrays = (name: string, vec4s: number) =>
  XYZW.map((part) => `var ${name}_${part}: array<f32, ${vec4s}>;`).join(" ");
/** Element `j` of such arrays. */
const element = (name: string, j: number | string) =>
  `vec4f(${XYZW.map((part) => `${name}_${part}[${j}]`).join(", ")})`;
/** Stores into element `j` of such arrays. */
const fill = (name: string, value: string) =>
  XYZW.map((part) => `${name}_${part}[j] = ${value}.${part};`).join(" ");

/** Returns the WGSL of the forward pass, `vec4s` per lane. */
export const layerNormForwardSubgroup: (vec4s: number) => string = remembered((vec4s: number) => {
  const each = (line: (j: number) => string, separator?: string) => unroll(vec4s, line, separator);
  return compose(forwardCode, {
    layer_norm_forward_bindings: forwardBindings,
    lane_arrays: `${arrays("gains", vec4s)} ${arrays("biases", vec4s)}`,
    fill_parameters: `${fill("gains", "own_gain")} ${fill("biases", "own_bias")}`,
    clear_row: each((j) => `var x${j} = vec4f();`),
    keep_value: each((j) => `x${j} = select(x${j}, value, j == ${j}u);`),
    sum_row: `let sum = ${each((j) => `x${j}`, " + ")};`,
    mean_over_lanes: `let mean = select(0.0, ${sumOverLanes("own_sum")} / size, CENTRED == 1u);`,
    centre_row: `${
      each((j) => `let centred${j} = select(vec4f(), x${j} - mean, real(lane + ${LANES * j}u));`)
    }
    let squares = ${each((j) => `centred${j} * centred${j}`, " + ")};`,
    scale_over_lanes: `let scale = inverseSqrt(${
      sumOverLanes("own_squares")
    } / size + params.epsilon);`,
    normalise_row: each((j) =>
      `let y${j} = centred${j} * scale * ${element("gains", j)} + ${element("biases", j)};`
    ),
    store_row: `store_y(base + column, ${pick(numbers(vec4s).map((j) => `y${j}`))});`,
  });
});

/** Returns the WGSL of the backward pass, `vec4s` per lane. */
export const layerNormBackwardSubgroup: (vec4s: number) => string = remembered((vec4s: number) => {
  const each = (line: (j: number) => string, separator?: string) => unroll(vec4s, line, separator);
  return compose(backwardCode, {
    layer_norm_backward_bindings: backwardBindings,
    lane_arrays: ["gains", "products", "sums"].map((name) => arrays(name, vec4s)).join("\n"),
    fill_parameters: `${fill("gains", "own_gain")} ${fill("products", "vec4f()")} ${
      fill("sums", "vec4f()")
    }`,
    clear_row: each((j) => `var d${j} = vec4f(); var z${j} = vec4f();`),
    keep_values: each((j) =>
      `d${j} = select(d${j}, d, j == ${j}u); z${j} = select(z${j}, z, j == ${j}u);`
    ),
    add_to_parameters: each((j) => {
      const add = XYZW.map((part) =>
        `sums_${part}[${j}] += d${j}.${part}; products_${part}[${j}] += ` +
        `d${j}.${part} * z${j}.${part};`
      );
      return `let g${j} = d${j} * ${element("gains", j)}; ${add.join(" ")}`;
    }),
    sum_row: `let g = ${each((j) => `g${j}`, " + ")};\nlet gz = ${
      each((j) => `g${j} * z${j}`, " + ")
    };`,
    means_over_lanes: `let mean_g = select(0.0, ${sumOverLanes("own_g")} / size, CENTRED == 1u);
    let mean_gz = ${sumOverLanes("own_gz")} / size;`,
    gradient_of_row: each((j) => `let d_x${j} = known.y * (g${j} - mean_g - z${j} * mean_gz);`),
    pick_value: `var value = select(vec4f(), ${
      pick(numbers(vec4s).map((j) => `d_x${j}`))
    }, real(column));`,
    store_partial: `partial[out + column] = ${element("products", "j")};
      if (CENTRED == 1u) { partial[out + params.stride4 + column] = ${element("sums", "j")}; }`,
  });
});
