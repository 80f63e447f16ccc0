/** What goes wrong on a device. */

import { type Explanation, RunError, say, setting, task, type Text } from "../errors.ts";

/** What can go wrong: the device is gone, its memory does not suffice, or it refused a command. */
export type DeviceFailure = "lost" | "memory" | "validation";

/**
 * Reports that a device failed while it worked. The training that was under way adds which
 * checkpoint is left.
 */
export class DeviceError extends RunError {
  /** What went wrong. */
  readonly failure: DeviceFailure;
  /** What may be the cause, and what helps against it. */
  readonly advice: Text;
  /** Describes what went wrong. */
  constructor(failure: DeviceFailure, problem: Text, explanation: Explanation = {}) {
    const advice = ADVICE[failure];
    const remedy = failure === "lost" ? say`run the same again; ${advice}` : advice;
    super(problem, { remedy, ...explanation });
    this.failure = failure;
    this.advice = advice;
  }
}

/** What may be the cause of each failure, and what helps against it. */
const ADVICE: Record<DeviceFailure, Text> = {
  lost: say`another program may have taken the card or its memory, or its driver failed: \
look at the system's log, and at ${task("doctor")}`,
  memory: say`give a smaller ${setting("microBatch")}, ${setting("recompute")} or ${
    setting("dtype", "bf16")
  }, or end what else uses the card; ${
    task("doctor")
  } tells how much memory can be had, and the largest single buffer`,
  validation: say`it is a mistake of this program or of the driver: report it with this text; ${
    task("doctor")
  } tells whether all variants of kernels work here`,
};

/** The first failure of a device. */
export interface Failures {
  /** Notes that this kernel is submitted. */
  submitted(label: string): void;
  /** Whether anything has failed so far. */
  readonly any: boolean;
  /** Throws a `DeviceError` if anything has failed so far. */
  check(): void;
  /**
   * Makes a `DeviceError` of an error that a read met. The device often tells only a moment later
   * what went wrong, so this waits for it.
   */
  failed(error: unknown): Promise<DeviceError>;
  /** Notes that the device is being freed on purpose. */
  closed(): void;
}

/** How long a device that was lost may take to say so, in milliseconds. */
const TELLING_MS = 100;

/**
 * Watches a device. WebGPU drops a command buffer with invalid work as a whole and throws nothing.
 * So the first message is kept, and the next read throws it.
 */
export function watchFailures(device: GPUDevice): Failures {
  let first: { failure: DeviceFailure; reason: string } | undefined;
  let lastLabel = "none";
  let isClosed = false;
  device.addEventListener("uncapturederror", (event) => {
    event.preventDefault();
    const { error } = event as GPUUncapturedErrorEvent;
    first ??= {
      failure: error instanceof GPUOutOfMemoryError ? "memory" : "validation",
      reason: error.message.trim(),
    };
  });
  const lost = device.lost.then(({ message }) => {
    // It replaces an earlier failure: other errors follow from the loss of the device.
    if (!isClosed) first = { failure: "lost", reason: message.trim() || "it does not say why" };
  }, () => {});
  const makeError = (cause?: unknown) => {
    const { failure, reason } = first!;
    const event = {
      lost: "lost its device",
      memory: "has too little memory",
      validation: "refused its work",
    }[failure];
    const text = `Cannot go on as the GPU ${event}, at or before kernel "${lastLabel}": ${
      reason.replace(/\s+/g, " ")
    }`;
    return new DeviceError(failure, text, { cause });
  };
  return {
    get any() {
      return first !== undefined;
    },
    submitted(label) {
      lastLabel = label;
    },
    check() {
      if (first) throw makeError();
    },
    async failed(error) {
      let timer: ReturnType<typeof setTimeout> | undefined;
      await Promise.race([lost, new Promise((done) => timer = setTimeout(done, TELLING_MS))]);
      clearTimeout(timer);
      first ??= { failure: "validation", reason: (error as Error).message };
      return makeError(error);
    },
    closed() {
      isClosed = true;
    },
  };
}
