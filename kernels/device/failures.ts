/** What goes wrong on a device. */

import { RunError } from "../errors.ts";

/** The first failure of a device. */
export interface Failures {
  /** Notes that this kernel is submitted. */
  submitted(label: string): void;
  /** Throws a `RunError` if anything has failed so far. */
  check(): void;
  /** Makes a `RunError` of a reason. */
  failed(reason: string, cause?: unknown): RunError;
}

/**
 * Watches a device. Invalid work drops its whole command buffer and throws nothing, so the first message is kept for the
 * next read.
 */
export function watchFailures(device: GPUDevice): Failures {
  let failure: string | undefined;
  let lastLabel = "none";
  device.addEventListener("uncapturederror", (event) => {
    event.preventDefault();
    failure ??= (event as GPUUncapturedErrorEvent).error.message.trim();
  });
  device.lost.then((info) => {
    if (info.reason !== "destroyed") failure ??= `device lost: ${info.message}`;
  }, () => {});
  const failed = (reason: string, cause?: unknown) =>
    new RunError(
      `Cannot go on as the GPU failed at or before kernel "${lastLabel}": ${reason.replace(/\s+/g, " ")}`,
      { cause },
    );
  return {
    submitted(label) {
      lastLabel = label;
    },
    check() {
      if (failure !== undefined) throw failed(failure);
    },
    failed,
  };
}
