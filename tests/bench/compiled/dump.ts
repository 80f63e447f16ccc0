/**
 * Compiles every text of a list and prints which file of the folder holds its SPIR-V: `compileTexts` of texts.ts runs it, with the
 * variables by which Mesa writes into the folder.
 *
 * @module
 */

import type { KernelText } from "./texts.ts";

const [list, folder] = Deno.args;
const texts: KernelText[] = JSON.parse(await Deno.readTextFile(list));
const adapter = await navigator.gpu.requestAdapter();
if (!adapter) throw new Error("this machine has no Vulkan driver");
const limits = adapter.limits;
const requiredFeatures = (["shader-f16"] as const).filter((feature) => adapter.features.has(feature));
const requiredLimits = {
  maxStorageBuffersPerShaderStage: limits.maxStorageBuffersPerShaderStage,
  maxComputeWorkgroupStorageSize: limits.maxComputeWorkgroupStorageSize,
  maxComputeInvocationsPerWorkgroup: limits.maxComputeInvocationsPerWorkgroup,
};
const device = await adapter.requestDevice({
  requiredFeatures: [...requiredFeatures, "subgroups"],
  requiredLimits,
})
  .catch(() => adapter.requestDevice({ requiredFeatures, requiredLimits }));
const dumped = () => new Set(Array.from(Deno.readDirSync(folder), ({ name }) => name));

const files: string[] = [];
for (const { label, code, constants } of texts) {
  const before = dumped();
  device.pushErrorScope("validation");
  const module = device.createShaderModule({ label, code });
  device.createComputePipeline({ label, layout: "auto", compute: { module, constants } });
  const error = await device.popErrorScope();
  if (error) throw new Error(`${label}: ${error.message}`);
  const [file, ...others] = [...dumped()].filter((name) => !before.has(name));
  if (file === undefined || others.length > 0) {
    throw new Error(
      `${adapter.info.description} wrote ${
        others.length + Number(file !== undefined)
      } files for a text: one of Mesa's drivers writes one`,
    );
  }
  files.push(`${folder}/${file}`);
}
console.log(JSON.stringify(files));
