import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { wordText } from "../../../kernels/errors.ts";
import { processorWarning, saturationWarning } from "../../../pipeline/doctor/expected.ts";
import { defaultConfiguration } from "../../../pipeline/settings/configuration.ts";
import { PRESETS } from "../../../pipeline/settings/presets.ts";

const LAVAPIPE = { adapter: "llvmpipe (LLVM 19.1.7, 256 bits)", kind: "software" } as const;
const H100 = { adapter: "NVIDIA H100", kind: "gpu" } as const;
const CARDS = ["/dev/nvidia0", "/dev/dri/renderD128"];
const settings = (preset: string) => ({ ...defaultConfiguration(), ...PRESETS[preset] });

Deno.test("processorWarning() says why a GPU was to be expected: a card that is visible, or the paper's shapes", async () => {
  const card = await processorWarning(LAVAPIPE, settings("tiny"), CARDS);
  assertStringIncludes(
    wordText(card!),
    "although the system shows a card (/dev/nvidia0, /dev/dri/renderD128)",
  );
  for (const preset of ["paper-335m", "paper-1.3b"]) {
    const paper = await processorWarning(LAVAPIPE, settings(preset), []);
    assertStringIncludes(wordText(paper!), `the experts have the shape of ${preset}`);
    assert(wordText(paper!).includes('task "doctor"') && wordText(paper!).includes("requireGpu"));
  }
});

Deno.test("processorWarning() is silent on a GPU, and where none was to be expected", async () => {
  assertEquals(await processorWarning(H100, settings("paper-1.3b"), CARDS), undefined);
  assertEquals(await processorWarning(LAVAPIPE, settings("small"), []), undefined);
});

Deno.test("saturationWarning() says how much f16 could not hold and what does not lose it, and is silent where it held all", () => {
  assertEquals(saturationWarning(0), undefined);
  const text = wordText(saturationWarning(12)!);
  assertStringIncludes(text, "took 12 values beyond 65,504 as 65,504");
  assertStringIncludes(text, "variants matmul=workgroup");
});
