/** The device that estimates of time are of. */

import { measuredDevices } from "../run/measured.ts";
import { type CostDevice, PLAIN_DEVICE } from "./cost.ts";

/**
 * Gives the device that estimates are of where none is named: the one called `adapter`, or else the last, of those that were measured
 * here; two cores without a GPU where none was.
 */
export async function usualDevice(adapter?: string): Promise<CostDevice> {
  const devices = Object.entries(await measuredDevices()).sort(([, a], [, b]) => a.at < b.at ? 1 : -1);
  const [name, figures] = devices.find(([name]) => name === adapter) ?? devices[0] ?? [];
  if (name === undefined || figures === undefined) return PLAIN_DEVICE;
  return { name, flops: figures.gflops * 1e9, utilisation: figures.utilisation };
}
