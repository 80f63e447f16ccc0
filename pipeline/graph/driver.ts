/**
 * Which version of its driver an adapter runs on, as far as files tell: results have the same bits
 * only where the driver compiles the same.
 */

import type { Gpu } from "../../kernels/device/gpu.ts";

/** Folders of libraries, in the order in which they are looked through. */
export const LIBRARY_FOLDERS: readonly string[] = [
  ...["/usr/lib/x86_64-linux-gnu", "/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu"],
  ...["/usr/lib64", "/lib64", "/usr/lib", "/lib"],
  ...["/usr/local/lib", "/usr/local/nvidia/lib64"],
];

/** Reads the version of Mesa's packages, on a Debian-like system. */
export async function mesaVersion(root = ""): Promise<string | undefined> {
  const packages = await Deno.readTextFile(`${root}/var/lib/dpkg/status`).catch(() => "");
  const [, version] = /^(?:Package: mesa-vulkan-drivers|Source: mesa)\n(?:.+\n)*?Version: (.+)$/m
    .exec(packages) ?? [];
  return version;
}

/** Reads the version of NVIDIA's driver from the name of its Vulkan library. */
async function nvidiaVersion(root: string): Promise<string | undefined> {
  for (const folder of LIBRARY_FOLDERS) {
    const entries = await Array.fromAsync(Deno.readDir(root + folder)).catch(() => []);
    for (const { name } of entries) {
      const [, version] = /^lib(?:GLX|EGL)_nvidia\.so\.(\d+\.[\d.]+)$/.exec(name) ?? [];
      if (version) return version;
    }
  }
}

/** Whether an adapter is one of NVIDIA's. */
export const isNvidia = ({ adapter, kind }: Pick<Gpu, "adapter" | "kind">): boolean =>
  kind === "gpu" && /nvidia|geforce|tesla|quadro|rtx|[ahlv]\d{2,3}/i.test(adapter);

/**
 * Names the driver of an adapter and its version, as in `Mesa 25.0.7-2`; undefined where the system
 * does not tell.
 */
export async function readDriver(
  gpu: Pick<Gpu, "adapter" | "kind">,
  root = "",
): Promise<string | undefined> {
  const [name, version] = isNvidia(gpu)
    ? ["NVIDIA", await nvidiaVersion(root)]
    : ["Mesa", await mesaVersion(root)];
  return version && `${name} ${version}`;
}
