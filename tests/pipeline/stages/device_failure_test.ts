import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { RunError, wordText } from "../../../kernels/errors.ts";
import { DeviceError } from "../../../kernels/device/failures.ts";
import { type Gpu, openGpu } from "../../../kernels/device/gpu.ts";
import { trainExpert } from "../../../pipeline/stages/train.ts";
import { hashes } from "../../tasks/support.ts";
import { withPartition } from "./support.ts";

const FLAGS = {
  ...{ expertHidden: 8, expertLayers: 1, expertHeads: 2, expertBatch: 4, expertSteps: 24, expertWarmup: 2 },
  logEvery: 1,
};
const EVERY = 4;
const FAILS_AFTER = 10; // steps: the checkpoint of step 8 is the last

/** Opens a device and gives the WebGPU object as well, which nothing else hands out. */
async function openRaw(): Promise<{ gpu: Gpu; device: GPUDevice }> {
  const { requestDevice } = GPUAdapter.prototype;
  let device: GPUDevice | undefined;
  GPUAdapter.prototype.requestDevice = async function (...options) {
    return device = await requestDevice.apply(this, options);
  };
  try {
    return { gpu: await openGpu(), device: device! };
  } finally {
    GPUAdapter.prototype.requestDevice = requestDevice;
  }
}

const CASES: {
  what: string;
  fail: (device: GPUDevice) => void;
  failure: DeviceError["failure"];
  says: string[];
}[] = [
  {
    what: "a device that is lost",
    fail: (device) => device.destroy(),
    failure: "lost",
    says: ["the GPU lost its device", "look at the system's log"],
  },
  {
    what: "an allocation beyond the limit",
    fail: (device) => {
      device.createBuffer({ label: "beyond", size: 2 ** 45, usage: GPUBufferUsage.STORAGE });
    },
    failure: "validation",
    says: ["the GPU refused its work", "report it"],
  },
  {
    what: "too little memory", // a driver that has less than it is asked for tells it so
    fail: (device) => {
      const error = new GPUOutOfMemoryError("Not enough memory left.");
      device.dispatchEvent(new GPUUncapturedErrorEvent("uncapturederror", { error }));
    },
    failure: "memory",
    says: ["the GPU has too little memory", "Not enough memory left.", "microBatch"],
  },
];

for (const { what, fail, failure, says } of CASES) {
  Deno.test(`${what} in the middle of a training leaves the last checkpoint, and says how to go on`, () =>
    withPartition(async (run) => {
      const { gpu, device } = await openRaw();
      const options = { run, gpu, sources: { flags: FLAGS }, checkpointEvery: EVERY };
      let failed = false;
      const error = await assertRejects(
        () =>
          trainExpert(0, options, {
            onEvent: (event) => {
              if (failed || event.type !== "progress" || event.done < FAILS_AFTER) return;
              failed = true;
              fail(device);
            },
          }),
        RunError,
      );
      assert(error.cause instanceof DeviceError);
      assertEquals(error.cause.failure, failure);
      const text = `${wordText(error.what)}; ${wordText(error.remedy!)}`;
      const state = `${run}/experts/expert-00/checkpoints/step-00000008.safetensors`;
      for (
        const part of [
          ...says,
          `${state} is the last good checkpoint`,
          'task "train-expert"',
          "goes on from there",
        ]
      ) assertStringIncludes(text, part);
      assert((await Deno.stat(state)).size > 0);
      const left = Array.from(Deno.readDirSync(`${run}/experts/expert-00`)).map(({ name }) => name);
      assertEquals(left, ["checkpoints"]);

      const own = await openGpu();
      const more = { run, gpu: own, sources: { flags: FLAGS }, checkpointEvery: EVERY };
      await trainExpert(0, more);
      const resumed = await hashes(`${run}/experts/expert-00`);
      const metrics = await Deno.readTextFile(`${run}/metrics/expert-00.jsonl`);
      await trainExpert(0, { ...more, force: true });
      assertEquals(await hashes(`${run}/experts/expert-00`), resumed);
      assertEquals(await Deno.readTextFile(`${run}/metrics/expert-00.jsonl`), metrics);
      own.close();
      gpu.close();
    }));
}
