import { assertEquals, assertFalse, assertMatch, assertStringIncludes } from "@std/assert";
import { execute, inFolder, lastingFolder, type Outcome, ROOT } from "./support.ts";

const SETUP = `${ROOT}tasks/setup.sh`;

/** Runs the script with programs of our own in front of the system's. */
const setup = (
  args: string[],
  { fakes = {}, env = {}, cwd = ROOT }: {
    fakes?: Record<string, string>;
    env?: Record<string, string>;
    cwd?: string;
  } = {},
): Promise<Outcome> =>
  inFolder(async (folder) => {
    await Deno.symlink(Deno.execPath(), `${folder}/deno`);
    for (const [name, text] of Object.entries(fakes)) {
      await Deno.remove(`${folder}/${name}`).catch(() => {});
      await Deno.writeTextFile(`${folder}/${name}`, `#!/bin/sh\n${text}\n`, { mode: 0o755 });
    }
    const path = `${folder}:${Deno.env.get("PATH")}`;
    return await execute("sh", [SETUP, ...args], { cwd, env: { PATH: path, ...env } });
  });

Deno.test("setup.sh runs a task with its flags, from any folder, installing nothing where nothing is missing", () =>
  inFolder(async (folder) => {
    const refusing = "echo installs >&2; exit 9";
    const { code, out, err } = await setup([
      "corpus",
      "--corpus-characters",
      "1000",
      "--output",
      "-",
    ], {
      fakes: { npm: refusing, "apt-get": refusing },
      cwd: folder,
    });
    assertEquals(code, 0, err);
    assertEquals(out.trim().split("\n").map((line) => JSON.parse(line).source).sort()[0], "code");
    assertFalse(err.includes("installs"));
  }));

Deno.test("setup.sh fetches what a task loads, says so where something is missing, and fetches everything for the tests", () =>
  inFolder(async (folder) => {
    const log = `${folder}/calls`;
    /**
     * A Deno that notes what it is to install, and to run; `missing` says that something is not
     * there yet.
     */
    const deno = (missing: boolean) =>
      `case $1 in install|task) echo "$*" >>"${log}" ;; *) exec "${Deno.execPath()}" "$@" ;; esac\n` +
      (missing ? `case $* in *--cached-only*) echo no >&2; exit 1 ;; esac` : "");
    const calls = async (task: string, missing: boolean) => {
      await Deno.writeTextFile(log, "");
      const { code, out, err } = await setup([task, "--help"], { fakes: { deno: deno(missing) } });
      assertEquals([code, out], [0, ""], err);
      const lines = (await Deno.readTextFile(log)).replaceAll(ROOT, "").trim().split("\n");
      const config = "--config deno.json";
      assertEquals(lines.pop(), `task --node-modules-dir=manual ${config} ${task} --help`);
      return {
        err,
        lines: lines.map((line) => line.replace(`install --frozen --quiet ${config}`, "").trim()),
      };
    };
    const entry = "--entrypoint tasks/partition.ts";
    assertEquals(await calls("partition", false), { err: "", lines: [`--cached-only ${entry}`] });
    const first = await calls("partition", true);
    assertEquals(first.err, "setup: fetching the npm packages that tasks/partition.ts loads\n");
    assertEquals(first.lines, [`--cached-only ${entry}`, entry]);
    assertEquals(
      (await calls("bench:scale", true)).lines[1],
      "--entrypoint tests/bench/scale_bench.ts",
    );
    assertEquals((await calls("test", true)).lines, ["--cached-only", ""]);
  }));

Deno.test("setup.sh names what is missing: a task that there is, npm for Deno, root for a driver", async () => {
  const none = await setup([]);
  assertEquals(none.code, 2);
  assertStringIncludes(none.err, "sh tasks/setup.sh TASK");

  const refusing = "echo installs >&2; exit 9";
  for (const name of ["nonsense", "--help", "train", "*", "PIPELINE"]) {
    const unknown = await setup([name], { fakes: { npm: refusing, "apt-get": refusing } });
    assertEquals([unknown.code, unknown.out], [2, ""]);
    const named = Object.keys(JSON.parse(await Deno.readTextFile(`${ROOT}deno.json`)).tasks);
    const tasks = named.filter((name) => name !== name.toUpperCase()).join(" "); // without headings
    assertEquals(
      unknown.err,
      `setup: Cannot run task "${name}" as it must be one of ${tasks}: it is none\n`,
    );
  }

  const user = { id: "echo 1000", sudo: "exit 1" };
  const noDriver = {
    DENO_WEBGPU_BACKEND: "vulkan",
    VK_DRIVER_FILES: "/none",
    VK_ICD_FILENAMES: "/none",
  };
  const driver = await setup(["corpus"], { fakes: user, env: noDriver });
  assertEquals(driver.code, 2, driver.err);
  assertStringIncludes(driver.err, "as root, run apt-get install mesa-vulkan-drivers libvulkan1");
});

Deno.test("setup.sh installs a driver with apt-get as root, and fails where it does not help", async () => {
  const fakes = { id: "echo 0", "apt-get": 'echo "apt-get $*"' };
  const env = { VK_DRIVER_FILES: "/none", VK_ICD_FILENAMES: "/none" };
  const { code, err } = await setup(["corpus"], { fakes, env });
  assertEquals(code, 2);
  assertMatch(err, /apt-get install -y .*mesa-vulkan-drivers libvulkan1/);
  assertStringIncludes(err, "Cannot find a working Vulkan driver");
});

Deno.test("setup.sh --gpu N starts the task on that card alone, and does not tell it", () =>
  inFolder(async (dev) => {
    for (const card of ["nvidia0", "nvidia1"]) await Deno.writeTextFile(`${dev}/${card}`, "");
    const env = { SMALLTALK_DEV: dev };
    const none = await setup(["score", "--run", "runs/none", "--gpu=7"], { env });
    assertEquals([none.code, none.out], [2, ""]);
    assertStringIncludes(
      none.err,
      "Cannot run on GPU 7 as --gpu must be less than the number of cards: there are 2",
    );
    await Deno.remove(`${dev}/nvidia1`);
    const reported = await setup(
      ["show", "--gpu", "0", "--limit", "3", "a file that is not there"],
      { env },
    );
    assertEquals(reported.code, 2, reported.err);
    // Show takes no --gpu, and would name it.
    assertStringIncludes(reported.err, "a file that is not there");
    const empty = await setup(["score", "--gpu"], { env });
    assertStringIncludes(empty.err, "Cannot run on one GPU as --gpu must have a value");
  }));

Deno.test(".ci/run adds up the tests of its four tasks from closing lines, and fails where there is none", async () => {
  const script = await Deno.readTextFile(`${ROOT}.ci/run`);
  const cases: [string, number, string, number][] = [
    ["ok | 12 passed (3 steps) | 0 failed | 1 ignored (2s)", 0, "48 passed, 0 failed", 0],
    ["\x1b[0m\x1b[31mFAILED\x1b[0m | 11 passed | 2 failed (2s)", 1, "44 passed, 8 failed", 1],
    ["ok | 0 passed | 0 failed (0ms)", 0, "0 passed, 0 failed", 1],
    ["error: Module not found", 1, "0 passed, 0 failed", 1],
  ];
  for (const [line, status, expected, code] of cases) {
    const folder = await lastingFolder();
    await Deno.mkdir(`${folder}/.ci`);
    await Deno.mkdir(`${folder}/tasks`);
    await Deno.writeTextFile(`${folder}/.ci/run`, script);
    await Deno.writeTextFile(
      `${folder}/tasks/setup.sh`,
      `printf '%s\\n' '${line}' ''\nexit ${status}\n`,
    );
    const outcome = await execute("bash", [`${folder}/.ci/run`]);
    assertEquals(outcome.out.trim().split("\n").at(-1), expected);
    assertEquals(outcome.code, code);
  }
});
