import { assert, assertEquals } from "@std/assert";
import { DARK, HEAT_OPACITY, LIGHT, type Palette, withValues } from "../../../pipeline/report/theme.ts";

/** Contrast of two colours by WCAG 2.2, 1 to 21. */
function contrast(a: number[], b: number[]): number {
  const luminance = (rgb: number[]) => {
    const [r, g, blue] = rgb.map((value) => value / 255).map((c) =>
      c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4
    );
    return 0.2126 * r + 0.7152 * g + 0.0722 * blue;
  };
  const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y);
  return (high + 0.05) / (low + 0.05);
}

const rgb = (hex: string) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
const mix = (over: number[], under: number[], opacity: number) =>
  over.map((c, i) => opacity * c + (1 - opacity) * under[i]);

const SCHEMES: Record<string, Palette> = { light: LIGHT, dark: DARK };
const TEXT = ["ink", "muted", "dense", "dense-steps", "oracle"]; // the last three also write
const MARKS = ["mixture", "random", "line", "heat", ...Array.from({ length: 8 }, (_, i) => `e${i}`)];

for (const [name, palette] of Object.entries(SCHEMES)) {
  Deno.test(`palette of the ${name} scheme keeps text at 4.5 and marks at 3 to the paper`, () => {
    for (const [names, least] of [[TEXT, 4.5], [MARKS, 3]] as const) {
      for (const colour of names) {
        const value = contrast(rgb(palette[colour]), rgb(palette.paper));
        assert(value >= least, `${colour} has ${value.toFixed(2)}`);
      }
    }
    assert(contrast(rgb(palette.muted), rgb(palette.panel)) >= 4.5);
  });

  Deno.test(`palette of the ${name} scheme keeps text on every cell of a heat map at 4.5`, () => {
    for (let opacity = 0; opacity <= HEAT_OPACITY; opacity += 0.05) {
      const cell = mix(rgb(palette.heat), rgb(palette.paper), opacity);
      const value = contrast(rgb(palette.ink), cell);
      assert(value >= 4.5, `at ${opacity.toFixed(2)} it is ${value.toFixed(2)}`);
    }
  });
}

Deno.test("palettes of both schemes name the same colours", () => {
  assertEquals(Object.keys(LIGHT), Object.keys(DARK));
});

Deno.test("withValues() puts values into attributes alone", () => {
  const svg = `<path fill="var(--ink)" stroke="var(--none)"/><text>var(--ink)</text>`;
  assertEquals(
    withValues(svg, LIGHT),
    `<path fill="${LIGHT.ink}" stroke="var(--none)"/><text>var(--ink)</text>`,
  );
});
