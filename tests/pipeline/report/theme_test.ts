import { assert } from "@std/assert";
import { BASELINES } from "../../../pipeline/evaluation/baselines.ts";
import { DARK, HEAT_OPACITY, LIGHT, type Palette } from "../../../pipeline/report/theme.ts";

/** Makes the values of a colour linear in light, from 0 to 1. */
const linear = (rgb: number[]) =>
  rgb.map((value) => value / 255).map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);

/** Contrast of two colours by WCAG 2.2, 1 to 21. */
function contrast(a: number[], b: number[]): number {
  const luminance = (rgb: number[]) => {
    const [r, g, blue] = linear(rgb);
    return 0.2126 * r + 0.7152 * g + 0.0722 * blue;
  };
  const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y);
  return (high + 0.05) / (low + 0.05);
}

const rgb = (hex: string) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));

const SCHEMES: Record<string, Palette> = { light: LIGHT, dark: DARK };
const TEXT = ["ink", "muted", "yes", "no"];
const EXPERTS = Array.from({ length: 8 }, (_, i) => `e${i}`);
const WAYS = ["mixture", ...BASELINES, "oracle", "random"];
const MARKS = [...WAYS, "line", "heat", ...EXPERTS];

/** What linear red, green and blue become for a colour-blind eye, after Machado, Oliveira and Fernandes (2009). */
const EYES: Record<string, number[][]> = {
  usual: [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
  protan: [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
  deutan: [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
  tritan: [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
};

/** Places a colour, as an eye sees it, in Oklab, of which black and white are 100 apart. */
function seen(hex: string, eye: number[][]): number[] {
  const times = (matrix: number[][], vector: number[]) =>
    matrix.map((row) => row.reduce((sum, value, i) => sum + value * vector[i], 0));
  const cones = times([
    [0.4122214708, 0.5363325363, 0.0514459929],
    [0.2119034982, 0.6806995451, 0.1073969566],
    [0.0883024619, 0.2817188376, 0.6299787005],
  ], times(eye, linear(rgb(hex))).map((c) => Math.min(1, Math.max(0, c))));
  return times([
    [21.04542553, 79.3617785, -0.40720468],
    [197.79984951, -242.8592205, 45.05937099],
    [2.59040371, 78.27717662, -80.86757660],
  ], cones.map(Math.cbrt));
}

for (const [name, palette] of Object.entries(SCHEMES)) {
  Deno.test(`palette of the ${name} scheme keeps text at 4.5 and marks at 3 to the paper`, () => {
    for (const [names, least] of [[TEXT, 4.5], [MARKS, 3]] as const) {
      for (const colour of names) {
        const value = contrast(rgb(palette[colour]), rgb(palette.paper));
        assert(value >= least, `${colour} has ${value.toFixed(2)}`);
      }
    }
    assert(contrast(rgb(palette.muted), rgb(palette.panel)) >= 4.5);
    const cell = rgb(palette.heat).map((c, i) =>
      HEAT_OPACITY * c + (1 - HEAT_OPACITY) * rgb(palette.paper)[i]
    );
    assert(contrast(rgb(palette.ink), cell) >= 4.5, "text on the darkest cell of a heat map");
  });

  Deno.test(`palette of the ${name} scheme keeps models of one plot apart, for colour-blind eyes too`, () => {
    const plots = [["mixture", ...BASELINES], [...EXPERTS.slice(0, 4), "dense"], EXPERTS.slice(4)];
    for (const [kind, eye] of Object.entries(EYES)) {
      for (const names of plots) {
        for (const [a, b] of names.flatMap((a, i) => names.slice(i + 1).map((b) => [a, b]))) {
          const [from, to] = [a, b].map((one) => seen(palette[one], eye));
          const distance = Math.hypot(...from.map((value, i) => value - to[i]));
          assert(distance >= 6, `${a} and ${b} are ${distance.toFixed(1)} apart for ${kind} eyes`);
        }
      }
    }
  });
}
