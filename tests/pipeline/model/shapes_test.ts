import { assert, assertEquals } from "@std/assert";
import { parameterCount, parameterSpecs } from "../../../pipeline/model/shape.ts";
import { largerDenseShape, modelShapes } from "../../../pipeline/model/shapes.ts";
import type { Configuration } from "../../../pipeline/settings/configuration.ts";
import { resolveConfiguration } from "../../../pipeline/settings/resolution.ts";

Deno.test("modelShapes() gives routers and experts their own sizes, and both one vocabulary and context", () => {
  const c = resolveConfiguration({ preset: "paper-1.3b" });
  const common = { vocabulary: 32_000, context: 1024 };
  assertEquals(modelShapes(c), {
    router: { ...common, hidden: 96, layers: 12, heads: 12 },
    expert: { ...common, hidden: 2048, layers: 24, heads: 16 },
  });
  const { expert } = modelShapes({ ...c, vocabularySize: 99 });
  assertEquals(parameterSpecs(expert)[0].shape, [99, 2048]);
});

Deno.test("largerDenseShape() makes the paper's 1.3B of its 335M, and of other presets about four times an expert", () => {
  const of = (flags: Partial<Configuration>, preset?: string) => {
    const c = resolveConfiguration({ preset, flags });
    const [larger, { expert }] = [largerDenseShape(c), modelShapes(c)];
    return { larger, times: parameterCount(larger) / parameterCount(expert) };
  };
  const paper = resolveConfiguration({ preset: "paper-1.3b" });
  assertEquals(of({}, "paper-335m").larger, modelShapes(paper).expert);
  for (const preset of ["tiny", "small", "paper-335m", "paper-1.3b"]) {
    const { times } = of({}, preset);
    assert(times >= 3.5 && times <= 4.5, `${preset}: ${times.toFixed(2)} times`);
  }
  const { larger } = of({ denseHidden: 24, denseLayers: 5, denseHeads: 3 });
  assertEquals([larger.hidden, larger.layers, larger.heads], [24, 5, 3]);
});
