import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { InputError, RunError } from "../../../kernels/errors.ts";
import { openGpu } from "../../../kernels/device/gpu.ts";
import { gpu } from "../support.ts";

Deno.test("openGpu() reports which adapter it opened and what kind it is", () => {
  assert(gpu.adapter.length > 0);
  assertEquals(gpu.kind, /llvmpipe/.test(gpu.adapter) ? "software" : gpu.kind);
  assert(gpu.maxBindingBytes >= 128 * 1024 * 1024, "WebGPU's own minimum");
});

Deno.test("openGpu() takes a part of the adapter's name or a preference, and refuses another name", async () => {
  for (const adapter of [gpu.adapter.slice(0, 4).toUpperCase(), "high-performance", "low-power"]) {
    const own = await openGpu({ adapter });
    assertEquals(own.adapter, gpu.adapter);
    own.close();
  }
  const message =
    `as its name must hold "no such card": the adapter obtained is "${gpu.adapter}"; leave adapter out`;
  await assertRejects(() => openGpu({ adapter: "no such card" }), InputError, message);
});

Deno.test("openGpu() names the package to install where there is no driver", async () => {
  const module = new URL("../../../kernels/device/gpu.ts", import.meta.url).href;
  const code = `const { openGpu } = await import("${module}");
    await openGpu().then(() => console.log("opened"), (error) => console.log(error.message));`;
  const { stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["eval", "--no-lock", code],
    env: {
      DENO_WEBGPU_BACKEND: "vulkan",
      VK_DRIVER_FILES: "/nonexistent",
      VK_ICD_FILENAMES: "/nonexistent",
    },
    stderr: "null",
  }).output();
  const lines = new TextDecoder().decode(stdout).trim().split("\n");
  assertEquals(lines.length, 1);
  assertMatch(lines[0], /^Cannot open a GPU as .*mesa-vulkan-drivers/);
});

Deno.test("openGpu() reports in one line that an adapter gives no device, and why", async () => {
  const adapter = (await navigator.gpu.requestAdapter())!;
  adapter.requestDevice = () =>
    Promise.reject(new DOMException("Not enough\n memory left.", "OperationError"));
  Object.defineProperty(navigator.gpu, "requestAdapter", {
    value: () => adapter,
    configurable: true,
  });
  try {
    const error = await assertRejects(() => openGpu(), RunError);
    assertMatch(
      error.message,
      /^Cannot open the GPU as ".+" must give this process a device: Not enough memory left\.; another program /,
    );
  } finally {
    delete (navigator.gpu as Partial<GPU>).requestAdapter; // that of the prototype is there again
  }
  (await openGpu()).close();
});

Deno.test("Gpu.allocatable() finds that memory can be had, at most as much as was asked for, and gives it back", async () => {
  const own = await openGpu();
  const most = 200 * 2 ** 20;
  for (let i = 0; i < 3; i++) assertEquals(await own.allocatable(most), most);
  assertEquals(await own.allocatable(0), 0);
  await own.read([{ buffer: own.empty }]); // nothing of it counts as a failure
  own.close();
});

Deno.test("openGpu() refuses an adapter that runs on the processor where a GPU is required", async () => {
  if (gpu.kind === "gpu") return (await openGpu({ requireGpu: true })).close();
  const message =
    `one is required: the adapter obtained is "${gpu.adapter}", which runs on the processor`;
  await assertRejects(() => openGpu({ requireGpu: true }), InputError, message);
});

Deno.test("openGpu() asks for the fastest adapter unless another is wanted", async () => {
  const { requestAdapter } = GPU.prototype;
  const asked: (string | undefined)[] = [];
  GPU.prototype.requestAdapter = function (options) {
    asked.push(options?.powerPreference);
    return requestAdapter.call(this, options);
  };
  try {
    (await openGpu()).close();
    (await openGpu({ adapter: "low-power" })).close();
  } finally {
    GPU.prototype.requestAdapter = requestAdapter;
  }
  assertEquals(asked, ["high-performance", "low-power"]);
});
