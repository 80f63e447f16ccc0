import { assertEquals, assertStringIncludes } from "@std/assert";
import { wordText } from "../../../kernels/errors.ts";
import { processorWarning, saturationWarning } from "../../../pipeline/doctor/expected.ts";
import { defaultConfiguration } from "../../../pipeline/settings/configuration.ts";
import { PRESETS } from "../../../pipeline/settings/resolution.ts";

const LAVAPIPE = { adapter: "llvmpipe (LLVM 19.1.7, 256 bits)", kind: "software" } as const;
const H100 = { adapter: "NVIDIA H100", kind: "gpu" } as const;
const CARDS = ["/dev/nvidia0", "/dev/dri/renderD128"];
const settings = (preset: string) => ({ ...defaultConfiguration(), ...PRESETS[preset] });

Deno.test("processorWarning() reports why a GPU was to be expected: a card that is visible, or the paper's shapes", async () => {
  const reported = async (
    preset: string,
    cards: string[],
    gpu: Parameters<typeof processorWarning>[0] = LAVAPIPE,
  ) => {
    const text = await processorWarning(gpu, settings(preset), cards);
    return text && wordText(text);
  };
  assertStringIncludes((await reported("tiny", CARDS))!, `shows a card (${CARDS.join(", ")})`);
  assertStringIncludes((await reported("paper-1.3b", []))!, "the experts have the shape of paper-1.3b");
  assertEquals([await reported("paper-1.3b", CARDS, H100), await reported("small", [])], [
    undefined,
    undefined,
  ]);
});

Deno.test("saturationWarning() reports how much f16 could not hold, and is silent where it held all", () => {
  assertEquals(saturationWarning(0), undefined);
  assertStringIncludes(wordText(saturationWarning(12)!), "took 12 values beyond 65,504 as 65,504");
});
