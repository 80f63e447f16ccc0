/**
 * Asks a Vulkan driver what it makes of SPIR-V: registers, spills, size of the code. Needs no card
 * where the driver compiles for one that is not there, as Mesa's RADV does. Prints JSON, as
 * `statisticsOf` in compiled.ts reads it.
 *
 *   deno run --allow-ffi --allow-read tests/bench/compiled/vulkan.ts FILE…
 *
 * @module
 */

/** What a driver says of some texts. */
export interface DriverStatistics {
  /** Name of the device. */
  device: string;
  /** By text, in order: whole numbers by the driver's own names. */
  texts: Record<string, number>[];
}

/** The numbers of Vulkan's header that are used here. */
const TYPE = {
  application: 0,
  instance: 1,
  queue: 2,
  device: 3,
  module: 16,
  stage: 18,
  compute: 29,
  pipelineLayout: 30,
  setLayout: 32,
  statisticsFeature: 1000269000,
  executable: 1000269003,
  statistic: 1000269004,
};
const VULKAN_1_3 = (1 << 22) | (3 << 12);
const EXTENSION = "VK_KHR_pipeline_executable_properties";
const CAPTURE_STATISTICS = 0x40;
const COMPUTE_STAGE = 0x20;
const [UNIFORM_BUFFER, STORAGE_BUFFER] = [6, 7];
/** More bindings than any kernel has. */
const BINDINGS = 12;
const BINDING_BYTES = 24;
/** A statistic: two names of 256 bytes after 16, a format, a value. */
const STATISTIC = { bytes: 544, name: 16, format: 528, value: 536, most: 64 };
const FORMAT_FLOAT = 3;

/** Everything that a pointer names must live until the end. */
const alive: unknown[] = [];
type Bytes = Uint8Array<ArrayBuffer>;
type Field = readonly [offset: number, value: number | bigint];

/** Lays a struct out: numbers take 4 bytes, bigints 8. */
function struct(bytes: number, fields: readonly Field[]): Bytes {
  const own = new Uint8Array(bytes);
  const view = new DataView(own.buffer);
  for (const [offset, value] of fields) {
    if (typeof value === "bigint") view.setBigUint64(offset, value, true);
    else view.setUint32(offset, value, true);
  }
  alive.push(own);
  return own;
}

const addressOf = (own: Bytes) => BigInt(Deno.UnsafePointer.value(Deno.UnsafePointer.of(own)));
const textBytes = (text: string): Bytes => {
  const own = new TextEncoder().encode(`${text}\0`);
  alive.push(own);
  return own;
};

const MADE = { parameters: ["pointer", "buffer", "pointer", "buffer"], result: "i32" } as const;
const vulkan = Deno.dlopen("libvulkan.so.1", {
  vkCreateInstance: { parameters: ["buffer", "pointer", "buffer"], result: "i32" },
  vkEnumeratePhysicalDevices: { parameters: ["pointer", "buffer", "buffer"], result: "i32" },
  vkGetPhysicalDeviceProperties: { parameters: ["pointer", "buffer"], result: "void" },
  vkGetDeviceProcAddr: { parameters: ["pointer", "buffer"], result: "pointer" },
  vkCreateDevice: MADE,
  vkCreateShaderModule: MADE,
  vkCreateDescriptorSetLayout: MADE,
  vkCreatePipelineLayout: MADE,
  vkCreateComputePipelines: {
    parameters: ["pointer", "pointer", "u32", "buffer", "pointer", "buffer"],
    result: "i32",
  },
}).symbols;

/** Throws unless a call succeeded. */
function check(result: number, what: string): void {
  if (result !== 0) {
    throw new Error(`Cannot ask the driver as ${what} must succeed: it gives ${result}`);
  }
}

/** Calls what makes an object, and returns its handle. */
function made(what: string, make: (out: Bytes) => number): bigint {
  const out = new Uint8Array(8);
  check(make(out), what);
  return new DataView(out.buffer).getBigUint64(0, true);
}

const [application, count] = [
  struct(48, [[0, TYPE.application], [44, VULKAN_1_3]]),
  struct(4, [[0, 1]]),
];
const instanceInfo = struct(64, [[0, TYPE.instance], [24, addressOf(application)]]);
const instance = made(
  "vkCreateInstance",
  (out) => vulkan.vkCreateInstance(instanceInfo, null, out),
);
const physical = Deno.UnsafePointer.create(made("vkEnumeratePhysicalDevices", (out) => {
  const result = vulkan.vkEnumeratePhysicalDevices(Deno.UnsafePointer.create(instance), count, out);
  return result === 5 ? 0 : result; // there are more: the first one is asked
}));
const properties = new Uint8Array(1024);
vulkan.vkGetPhysicalDeviceProperties(physical, properties);
const nameAt = (bytes: Uint8Array, offset: number) =>
  new TextDecoder().decode(bytes.subarray(offset, bytes.indexOf(0, offset)));

const queue = struct(40, [[0, TYPE.queue], [24, 1], [32, addressOf(struct(4, []))]]);
const feature = struct(24, [[0, TYPE.statisticsFeature], [16, 1]]);
const extensions = struct(8, [[0, addressOf(textBytes(EXTENSION))]]);
const deviceInfo = struct(72, [
  ...[[0, TYPE.device], [8, addressOf(feature)], [20, 1], [24, addressOf(queue)]] as const,
  ...[[48, 1], [56, addressOf(extensions)]] as const,
]);
const device = Deno.UnsafePointer.create(
  made(
    `vkCreateDevice with ${EXTENSION}`,
    (out) => vulkan.vkCreateDevice(physical, deviceInfo, null, out),
  ),
);
/** Makes an object of the device. */
const create = (
  name: "vkCreateShaderModule" | "vkCreateDescriptorSetLayout" | "vkCreatePipelineLayout",
  info: Bytes,
) => made(name, (out) => vulkan[name](device, info, null, out));

const STATISTICS = {
  parameters: ["pointer", "buffer", "buffer", "pointer"],
  result: "i32",
} as const;
const statistics = new Deno.UnsafeFnPointer(
  vulkan.vkGetDeviceProcAddr(
    device,
    textBytes("vkGetPipelineExecutableStatisticsKHR"),
  ) as Deno.PointerObject<
    typeof STATISTICS
  >,
  STATISTICS,
);
const bindings = struct(
  BINDINGS * BINDING_BYTES,
  Array.from({ length: BINDINGS }, (_, i): Field[] => {
    const [at, kind] = [i * BINDING_BYTES, i === 0 ? UNIFORM_BUFFER : STORAGE_BUFFER];
    return [[at, i], [at + 4, kind], [at + 8, 1], [at + 12, COMPUTE_STAGE]];
  }).flat(),
);
const setInfo = struct(32, [[0, TYPE.setLayout], [20, BINDINGS], [24, addressOf(bindings)]]);
const setLayout = struct(8, [[0, create("vkCreateDescriptorSetLayout", setInfo)]]);
const layoutInfo = struct(48, [[0, TYPE.pipelineLayout], [20, 1], [24, addressOf(setLayout)]]);
const layout = create("vkCreatePipelineLayout", layoutInfo);

/** Compiles a module and reads what the driver says of it. */
function compile(code: Bytes): Record<string, number> {
  alive.push(code);
  const codeInfo = struct(40, [[0, TYPE.module], [24, BigInt(code.length)], [32, addressOf(code)]]);
  const pipelineInfo = struct(96, [
    ...[[0, TYPE.compute], [16, CAPTURE_STATISTICS], [24, TYPE.stage], [
      44,
      COMPUTE_STAGE,
    ]] as const,
    ...[[48, create("vkCreateShaderModule", codeInfo)], [
      56,
      addressOf(textBytes("main")),
    ]] as const,
    [72, layout],
  ]);
  const pipeline = made(
    "vkCreateComputePipelines",
    (out) => vulkan.vkCreateComputePipelines(device, null, 1, pipelineInfo, null, out),
  );
  const { bytes, most, name, format, value } = STATISTIC;
  const values = struct(
    bytes * most,
    Array.from({ length: most }, (_, i) => [bytes * i, TYPE.statistic] as const),
  );
  const count = struct(4, [[0, most]]);
  const executable = struct(32, [[0, TYPE.executable], [16, pipeline]]);
  check(
    statistics.call(device, executable, count, Deno.UnsafePointer.of(values)),
    "reading statistics",
  );
  const view = new DataView(values.buffer);
  const all = Array.from(
    { length: new DataView(count.buffer).getUint32(0, true) },
    (_, i) => i * bytes,
  );
  return Object.fromEntries(
    all.filter((at) => view.getUint32(at + format, true) !== FORMAT_FLOAT)
      .map((at) => [nameAt(values, at + name), Number(view.getBigUint64(at + value, true))]),
  );
}

const result: DriverStatistics = {
  device: nameAt(properties, 20),
  texts: Deno.args.map((file) => compile(Deno.readFileSync(file))),
};
console.log(JSON.stringify(result));
Deno.exit(0); // what a driver frees at its end may need the card that is not there
