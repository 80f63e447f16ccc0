import { assertEquals } from "@std/assert";
import { openGpu } from "../../../kernels/device/gpu.ts";
import { listCards, otherAdapters, readSystem } from "../../../pipeline/doctor/system.ts";
import { execute, inFolder } from "../../tasks/support.ts";

/** Makes files of a system, by their paths. */
async function systemOf(root: string, files: Record<string, string>): Promise<void> {
  for (const [path, text] of Object.entries(files)) {
    await Deno.mkdir(`${root}${path.slice(0, path.lastIndexOf("/"))}`, { recursive: true });
    await Deno.writeTextFile(`${root}${path}`, text);
  }
}

const ICD = (library: string) =>
  JSON.stringify({ ICD: { library_path: library, api_version: "1.3.280" } });

Deno.test("readSystem() finds cards, NVIDIA's driver, Mesa's version, the loader and what names drivers", () =>
  inFolder(async (root) => {
    await systemOf(root, {
      "/dev/nvidia0": "",
      "/dev/nvidiactl": "",
      "/dev/dri/renderD128": "",
      "/dev/dri/card0": "",
      "/proc/driver/nvidia/version":
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.124.06  Wed Feb 26\nGCC: 12\n",
      "/proc/meminfo": "MemTotal:       1000 kB\nMemAvailable:    600 kB\n",
      "/var/lib/dpkg/status":
        "Package: zlib1g\nVersion: 1\n\nPackage: mesa-vulkan-drivers\nStatus: ok\nVersion: 25.0.7-2\n\n",
      "/usr/lib64/libvulkan.so.1": "",
      "/usr/lib64/libvulkan_lvp.so": "",
      "/usr/share/vulkan/icd.d/lvp_icd.json": ICD("libvulkan_lvp.so"),
      "/usr/share/vulkan/icd.d/nvidia_icd.json": ICD("libGLX_nvidia.so.0"),
      "/usr/share/vulkan/icd.d/notes.txt": "no driver",
      "/etc/vulkan/icd.d/own.json": ICD("./own.so"),
      "/etc/vulkan/icd.d/own.so": "",
      "/etc/vulkan/icd.d/torn.json": '{"ICD": {',
      "/etc/vulkan/icd.d/empty.json": '{"ICD": {}}',
      "/.dockerenv": "",
    });
    assertEquals(await readSystem({ root, variable: () => undefined }), {
      cards: ["/dev/nvidia0", "/dev/dri/renderD128"],
      nvidia: "570.124.06",
      mesa: "25.0.7-2",
      loader: "/usr/lib64/libvulkan.so.1",
      drivers: [
        { path: "/etc/vulkan/icd.d/empty.json", problem: "it names no library_path" },
        {
          path: "/etc/vulkan/icd.d/own.json",
          library: "/etc/vulkan/icd.d/own.so",
          api: "1.3.280",
          problem: undefined,
        },
        { path: "/etc/vulkan/icd.d/torn.json", problem: "it is no JSON object with an ICD in it" },
        {
          path: "/usr/share/vulkan/icd.d/lvp_icd.json",
          library: "/usr/lib64/libvulkan_lvp.so",
          api: "1.3.280",
          problem: undefined,
        },
        {
          path: "/usr/share/vulkan/icd.d/nvidia_icd.json",
          library: "libGLX_nvidia.so.0",
          api: "1.3.280",
          problem: "its library libGLX_nvidia.so.0 is not there",
        },
      ],
      container: "Docker",
      environment: {},
      availableBytes: 600 * 1024,
    });
  }));

Deno.test("readSystem() takes the driver files that the environment names, and finds nothing in an empty system", () =>
  inFolder(async (root) => {
    const set: Record<string, string> = {
      VK_DRIVER_FILES: "/none.json:/mine.json",
      LD_LIBRARY_PATH: "/mine",
    };
    await systemOf(root, { "/mine.json": ICD("mine.so"), "/mine/mine.so": "" });
    const { drivers, environment, ...rest } = await readSystem({
      root,
      variable: (name) => set[name],
    });
    assertEquals(environment, set);
    assertEquals(drivers, [
      { path: "/none.json", problem: "there is no such file" },
      { path: "/mine.json", library: "/mine/mine.so", api: "1.3.280", problem: undefined },
    ]);
    assertEquals(rest, {
      cards: [],
      nvidia: undefined,
      mesa: undefined,
      loader: undefined,
      container: undefined,
      availableBytes: undefined,
    });
    assertEquals(await listCards({ root }), []);
    await systemOf(root, { "/.singularity.d/runscript": "", "/.dockerenv": "" }); // an image that was Docker's
    assertEquals((await readSystem({ root, variable: () => undefined })).container, "Apptainer");
  }));

Deno.test("otherAdapters() finds by one of the drivers the adapter that is handed out, and none by a file that is not there", async () => {
  const gpu = await openGpu();
  const { drivers } = await readSystem();
  const found = await otherAdapters([...drivers.map(({ path }) => path), "/none.json"]);
  assertEquals(
    found!.slice(0, drivers.length).some(({ adapter }) => adapter === gpu.adapter),
    true,
  );
  assertEquals(found!.at(-2)!.adapter, null);
  assertEquals(found!.at(-1)!.by, "OpenGL");
  gpu.close();
});

Deno.test("otherAdapters() gives the loader's words where a driver's library does not load", () =>
  inFolder(async (folder) => {
    const by = `${folder}/nvidia_icd.json`;
    const library = `${folder}/libGLX_nvidia.so.0`;
    await Deno.writeTextFile(library, "no library");
    await Deno.writeTextFile(
      by,
      JSON.stringify({
        file_format_version: "1.0.0",
        ICD: { library_path: library, api_version: "1.3.280" },
      }),
    );
    const [{ adapter, words }] = (await otherAdapters([by]))!;
    assertEquals(adapter, null);
    assertEquals(words, `${library}: file too short`);
  }));

Deno.test("otherAdapters() asks also where the environment names libraries, with which Deno starts no program", async () => {
  const code = `import { otherAdapters } from "${new URL(
    "../../../pipeline/doctor/system.ts",
    import.meta.url,
  )}";` +
    " console.log(JSON.stringify(await otherAdapters([])));";
  await inFolder(async (folder) => {
    await Deno.writeTextFile(`${folder}/ask.ts`, code);
    const args = [
      "run",
      "--no-prompt",
      "--no-config",
      "--allow-read",
      "--allow-run=deno",
      `${folder}/ask.ts`,
    ];
    const { out, err } = await execute(Deno.execPath(), args, { env: { LD_LIBRARY_PATH: folder } });
    assertEquals(JSON.parse(out || "null")?.map(({ by }: { by: string }) => by), ["OpenGL"], err);
  });
});
