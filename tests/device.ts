/**
 * One device for everything that a test file opens: to open one, and to load its pipelines, takes
 * longer than small models do.
 */

/**
 * Has every later opening of a device in this thread give the same one, which stays open and makes
 * each pipeline once.
 */
export function shareDevice(): void {
  if (GPUAdapter.prototype.requestDevice === requestShared) return;
  requestOwn = GPUAdapter.prototype.requestDevice;
  GPUAdapter.prototype.requestDevice = requestShared;
}

let requestOwn: GPUAdapter["requestDevice"];
const devices = new Map<string, Promise<GPUDevice>>();

function requestShared(this: GPUAdapter, descriptor?: GPUDeviceDescriptor): Promise<GPUDevice> {
  const wanted = JSON.stringify(descriptor);
  const device = devices.get(wanted) ?? requestOwn.call(this, descriptor).then(shared);
  devices.set(wanted, device);
  return device;
}

function shared(device: GPUDevice): GPUDevice {
  const pipelines = new Map<string, GPUComputePipeline>();
  const codes = new Map<GPUShaderModule, string>();
  const { createShaderModule, createComputePipeline } = GPUDevice.prototype;
  return Object.assign(device, {
    destroy() {},
    createShaderModule(descriptor: GPUShaderModuleDescriptor) {
      const module = createShaderModule.call(device, descriptor);
      codes.set(module, descriptor.code);
      return module;
    },
    createComputePipeline(descriptor: GPUComputePipelineDescriptor) {
      const { module, constants } = descriptor.compute;
      const key = JSON.stringify([codes.get(module), constants]);
      const pipeline = pipelines.get(key) ?? createComputePipeline.call(device, descriptor);
      pipelines.set(key, pipeline);
      return pipeline;
    },
  });
}
