/**
 * Lists the texts that a training step runs in given forms, without a device, and what Deno's compiler makes of each: Mesa writes the
 * SPIR-V that it is given into the folder that an environment variable names.
 *
 * @module
 */

import { fileURLToPath } from "node:url";
import type { DispatchPlan } from "../../../kernels/device/gpu.ts";
import type { Variants } from "../../../kernels/device/variants.ts";
import { KERNELS, planKernel } from "../kernels.ts";
import { MODELLED, paperGpu } from "../model.ts";

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
export function textsOf(variants: Variants): KernelText[] {
  const texts = new Map<string, KernelText>();
  for (const [size, { shape, models }] of Object.entries(MODELLED)) {
    const record = ({ label, code, constants = {} }: DispatchPlan) => {
      const key = JSON.stringify([label, code, constants]);
      const text = texts.get(key) ?? { label, sizes: [], code, constants };
      texts.set(key, text);
      if (!text.sizes.includes(size)) text.sizes.push(size);
    };
    const { gpu, tensors } = paperGpu({ variants, record });
    for (const kernel of KERNELS) planKernel(gpu, tensors, kernel, { ...shape, models });
  }
  return [...texts.values()];
}

/** A text, and the file that holds its SPIR-V. */
export interface CompiledText extends KernelText {
  /** Path of the file. */
  file: string;
}

/** What compiling needs of `dump.ts` beside it, which runs in a process of its own as Mesa reads its environment once. */
const DUMP = fileURLToPath(new URL("dump.ts", import.meta.url));

/** Compiles texts and keeps their SPIR-V in `folder`. Throws where the adapter at hand is none of Mesa's. */
export async function compileTexts(texts: readonly KernelText[], folder: string): Promise<CompiledText[]> {
  const [list, dumps] = [`${folder}/texts.json`, `${folder}/spirv`];
  await Deno.mkdir(dumps);
  await Deno.writeTextFile(list, JSON.stringify(texts));
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-prompt", "--allow-read", DUMP, list, dumps],
    env: {
      DENO_WEBGPU_BACKEND: "vulkan",
      MESA_SPIRV_DUMP_PATH: dumps,
      MESA_SHADER_CACHE_DISABLE: "true",
    },
  }).output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  if (code !== 0) throw new Error(`Cannot compile the kernels: ${text(stderr)}`);
  return (JSON.parse(text(stdout)) as string[]).map((file, i) => ({ ...texts[i], file }));
}
