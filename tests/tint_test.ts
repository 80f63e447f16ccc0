import { assertEquals } from "@std/assert";
import { enableSubgroups } from "../kernels/device/wgsl.ts";
import { GPU_ARGUMENTS, IGNORED, withBrowser } from "./browser.ts";
import { listTexts } from "./texts.ts";

/** What a browser's compiler says of a text. */
interface Message {
  index: number;
  type: string;
  line: number;
  message: string;
}

/** SwiftShader has no f16: f32 takes its place, which changes neither control flow nor barriers. */
const inF32 = (code: string) =>
  code.replace(/^enable f16;\n/, "").replace(/\bvec([234])h\b/g, "vec$1f").replace(
    /\bf16\b/g,
    "f32",
  );

/** Runs in the page: compiles texts, and gives what the compiler says of each. */
async function compileAll(codes: string[]): Promise<Message[]> {
  const adapter = await navigator.gpu.requestAdapter();
  if (!adapter) throw new Error("the browser hands out no adapter");
  const requiredFeatures = (["subgroups", "shader-f16"] as const).filter((feature) =>
    adapter.features.has(feature)
  );
  const { maxComputeWorkgroupStorageSize, maxStorageBuffersPerShaderStage } = adapter.limits;
  const device = await adapter.requestDevice({
    requiredFeatures,
    requiredLimits: { maxComputeWorkgroupStorageSize, maxStorageBuffersPerShaderStage },
  });
  const messages: Message[] = [];
  for (const [index, code] of codes.entries()) {
    device.pushErrorScope("validation");
    const module = device.createShaderModule({ code });
    const information = await module.getCompilationInfo();
    for (const { type, lineNum, message } of information.messages) {
      messages.push({ index, type, line: lineNum, message });
    }
    const error = await device.popErrorScope();
    const isSaid = information.messages.some(({ type }) => type === "error");
    if (error && !isSaid) messages.push({ index, type: "error", line: 0, message: error.message });
  }
  return messages;
}

Deno.test("Chromium's compiler Tint takes every text of every variant, without a warning", {
  ignore: IGNORED,
}, async () => {
  const texts = await listTexts();
  const codes = [...new Set(texts.map(({ code }) => code))];
  const broken =
    "@compute @workgroup_size(4) fn main(@builtin(local_invocation_index) i: u32) {\n" +
    "  if (i < 2u) { workgroupBarrier(); }\n}";
  await withBrowser(async (browser) => {
    const page = await browser.newPage();
    await page.goto(import.meta.resolve("../LICENSE")); // a file is a secure context
    const compile = (codes: string[]) => page.evaluate(compileAll, codes);
    const [{ type, line }] = await compile([broken]);
    assertEquals([type, line], ["error", 2], "a barrier that not all reach must be found");
    const messages = await compile(codes.map((code) => enableSubgroups(inF32(code))));
    const said = messages.map(({ index, type, line, message }) => {
      const { label, by } = texts.find(({ code }) => code === codes[index])!;
      const where = enableSubgroups(inF32(codes[index])).split("\n")[line - 1]?.trim();
      return `${type} in ${label} (${by}), line ${line} (${where}): ${message}`;
    });
    assertEquals(said, []);
  }, GPU_ARGUMENTS);
});
