/**
 * Lists the texts that a training step runs in given variants, without a device, and what Deno's
 * compiler makes of each: Mesa writes the SPIR-V that it is given into the folder that an
 * environment variable names.
 *
 * @module
 */

import type { DispatchPlan } from "../../../kernels/device/gpu.ts";
import type { Variants } from "../../../kernels/device/variants.ts";
import { kernelsOf, planKernel } from "../kernels.ts";
import { MODELLED, paperGpu } from "../model.ts";
import { inProcess } from "../stage_process.ts";

/** A text with the constants that are set when it is compiled. */
export interface KernelText {
  /** Label of its dispatches. */
  label: string;
  /** The models of which a step runs it, as `bench --model` names them. */
  sizes: string[];
  /** WGSL. */
  code: string;
  /** Values of its overrides. */
  constants: Record<string, number>;
}

/** Lists the texts of a step of every model, each once. */
export function listTexts(variants: Variants): KernelText[] {
  const texts = new Map<string, KernelText>();
  for (const [size, { shape, models }] of Object.entries(MODELLED)) {
    const record = ({ label, code, constants = {} }: DispatchPlan) => {
      const key = JSON.stringify([label, code, constants]);
      const text = texts.get(key) ?? { label, sizes: [], code, constants };
      texts.set(key, text);
      if (!text.sizes.includes(size)) text.sizes.push(size);
    };
    const { gpu, tensors } = paperGpu({ variants, record });
    for (const kernel of kernelsOf({ ...shape, models })) planKernel(gpu, tensors, kernel);
  }
  return [...texts.values()];
}

/** A text, and the file that holds its SPIR-V. */
export interface CompiledText extends KernelText {
  /** Path of the file. */
  file: string;
}

/**
 * Compiles texts and keeps their SPIR-V in `folder`. Throws where the adapter at hand is none of
 * Mesa's.
 */
export async function compileTexts(
  texts: readonly KernelText[],
  folder: string,
): Promise<CompiledText[]> {
  const [list, dumps] = [`${folder}/texts.json`, `${folder}/spirv`];
  await Deno.mkdir(dumps);
  await Deno.writeTextFile(list, JSON.stringify(texts));
  const env = {
    DENO_WEBGPU_BACKEND: "vulkan",
    MESA_SPIRV_DUMP_PATH: dumps,
    MESA_SHADER_CACHE_DISABLE: "true",
  };
  const how = { env, flags: ["--allow-read"] };
  const files: string[] = JSON.parse(await inProcess(import.meta.url, how, [list, dumps]));
  return files.map((file, i) => ({ ...texts[i], file }));
}

/**
 * Compiles every text of a list and prints which file of the folder holds its SPIR-V, in a process
 * that has the variables by which Mesa writes into the folder.
 */
async function dump(list: string, folder: string): Promise<void> {
  const texts: KernelText[] = JSON.parse(await Deno.readTextFile(list));
  const adapter = await navigator.gpu.requestAdapter();
  if (!adapter) throw new Error("this machine has no Vulkan driver");
  const limits = adapter.limits;
  const requiredFeatures = (["shader-f16"] as const).filter((feature) =>
    adapter.features.has(feature)
  );
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
}

if (import.meta.main) await dump(Deno.args[0], Deno.args[1]);
