/** The device for which time is estimated. */

import { measuredDevices } from "../run/timing.ts";
import { adapterKind, ASSUMED_GPU, type CostDevice, PLAIN_DEVICE } from "./cost.ts";

/**
 * Gives the device of estimates where none is named: of those that were measured on this machine the one
 * called `adapter`, otherwise the last; if none was measured, two cores without a GPU.
 */
export async function usualDevice(adapter?: string): Promise<CostDevice> {
  const devices = Object.entries(await measuredDevices()).sort(([, a], [, b]) => a.at < b.at ? 1 : -1);
  const [name, figures] = devices.find(([name]) => name === adapter) ?? devices[0] ?? [];
  if (name === undefined || figures === undefined) return PLAIN_DEVICE;
  return { name, flops: figures.gflops * 1e9, utilisation: figures.utilisation };
}

/**
 * Gives the device of estimates for models that no processor trains, where none is named: {@linkcode usualDevice} if it is a
 * GPU, else {@linkcode ASSUMED_GPU}.
 */
export async function usualGpu(): Promise<CostDevice> {
  const device = await usualDevice();
  return adapterKind(device) === "gpu" ? device : ASSUMED_GPU;
}
