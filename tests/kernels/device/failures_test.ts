import { assertMatch, assertRejects, assertThrows } from "@std/assert";
import { RunError } from "../../../kernels/errors.ts";
import { watchFailures } from "../../../kernels/device/failures.ts";
import { openGpu } from "../../../kernels/device/gpu.ts";
import { double } from "./support.ts";

type Plan = ReturnType<typeof double>;

const BROKEN: Record<string, (own: Plan) => Partial<Plan["plan"]>> = {
  "a shader that does not compile": () => ({ code: "this is no shader" }),
  "one buffer bound for reading and for writing": ({ y }) => ({ buffers: [y, y] }),
  "a missing buffer": ({ x }) => ({ buffers: [x] }),
};

Deno.test("Gpu.read() reports what the device refused, with the kernel's label, in one line, and goes on saying so", async () => {
  for (const change of Object.values(BROKEN)) {
    const on = await openGpu(); // its failure stays
    const own = double(on, 4, { label: "broken_kernel" });
    const failure = async () => {
      on.submit([on.dispatch({ ...own.plan, ...change(own) })]);
      await on.read([{ buffer: own.x }]);
    };
    const error = await assertRejects(failure, Error, "broken_kernel");
    assertMatch(error.message, /^Cannot [^\n\r]+$/);
    await assertRejects(() => on.read([{ buffer: own.x }]), Error, "broken_kernel");
    on.close();
  }
});

Deno.test("Gpu.read() reports the use of freed buffers", async () => {
  const own = await openGpu();
  const { arena, x, plan } = double(own, 4);
  const dispatch = own.dispatch(plan);
  arena.destroy();
  own.submit([dispatch]);
  const message = 'Cannot go on as the GPU refused its work, at or before kernel "double"';
  await assertRejects(() => own.read([{ buffer: x }]), RunError, message);
  own.close();
});

/** A device that is lost when it is asked to be. */
function fakeDevice() {
  const { promise: lost, resolve: lose } = Promise.withResolvers<GPUDeviceLostInfo>();
  return {
    device: { lost, addEventListener() {} } as unknown as GPUDevice,
    lose: (reason: string, message: string) => lose({ reason, message } as GPUDeviceLostInfo),
  };
}

Deno.test("watchFailures() reports a device that is lost, but not one that was destroyed on purpose", async () => {
  const [broken, closed] = [fakeDevice(), fakeDevice()];
  const [ofBroken, ofClosed] = [broken, closed].map(({ device }) => watchFailures(device));
  broken.lose("unknown", "driver reset");
  ofClosed.closed();
  closed.lose("destroyed", "closed");
  await Promise.all([broken.device.lost, closed.device.lost]);
  await Promise.resolve();
  assertThrows(
    () => ofBroken.check(),
    RunError,
    'lost its device, at or before kernel "none": driver reset',
  );
  ofClosed.check();
});
