import { assertEquals } from "@std/assert";
import { parameterSpecs } from "../../../pipeline/model/shape.ts";
import { modelShapes } from "../../../pipeline/model/shapes.ts";
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
