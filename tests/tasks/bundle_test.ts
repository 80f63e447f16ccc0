import { pathToFileURL } from "node:url";
import {
  assert,
  assertEquals,
  assertFalse,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { gatherParts, listPackages, makeBundle } from "../../tasks/bundle.ts";
import { InputError } from "../../kernels/mod.ts";
import {
  execute,
  hashes,
  importedBy,
  inFolder,
  ok,
  type Outcome,
  refused,
  ROOT,
  smallRunAt,
  task,
} from "./support.ts";

const read = (file: string) => JSON.parse(Deno.readTextFileSync(`${ROOT}${file}`));
const PROJECT: Record<"tasks" | "imports", Record<string, string>> = read("deno.json");
/** The most that a bundle without extras may take, in bytes. */
const MOST_BYTES = 60e6;

/**
 * Packages that are loaded later than a task, by what a bundle needs them for: no task of a bundle
 * writes Parquet.
 */
const LATER = {
  tokenizer: ["hyparquet", "hyparquet-compressors", "prom-client"],
  nothing: ["hyparquet-writer"],
};

Deno.test("gatherParts() brings every package that the tasks of a bundle import, at once or later", async () => {
  const loaded = new Map<string, string[]>();
  for (const extras of [[], ["tokenizer"], ["report"], ["tokenizer", "report"]] as const) {
    const { tasks, packages } = gatherParts(extras);
    const brought = [
      ...packages,
      ...LATER.nothing,
      ...extras.some((extra) => extra === "tokenizer") ? [] : LATER.tokenizer,
    ];
    for (const name of tasks) {
      const file = name === "bench" ? "tests/bench/bench.ts" : `tasks/${name}.ts`;
      if (!loaded.has(file)) loaded.set(file, await importedBy(file, { later: true }));
      const missing = loaded.get(file)!.filter((target) =>
        !brought.some((name) => PROJECT.imports[name] === target)
      );
      assertEquals(missing, [], `${name} of a bundle with ${extras.join() || "no extras"}`);
      const atOnce = extras.length === 0 ? await importedBy(file) : [];
      assertEquals(
        atOnce.filter((target) => !packages.some((name) => PROJECT.imports[name] === target)),
        [],
      );
    }
  }
});

Deno.test("listPackages() lists what packages need, and no optional peer that nothing else brings", () => {
  const lock = {
    specifiers: { "npm:a@1": "1_b@1", "npm:@x/y@2": "2" },
    npm: {
      "a@1_b@1": { dependencies: ["b", "c", "@x/y"], optionalPeers: ["b"] },
      "b@1": {},
      "c@1": { dependencies: ["e@2"] },
      "d@1": {},
      "e@2": {},
      "e@1": {},
      "@x/y@2": {},
    },
  };
  assertEquals(listPackages(lock, ["npm:a@1"]), ["@x/y@2", "a@1", "c@1", "e@2"]);
  const wanted = gatherParts([]).packages.map((name) => PROJECT.imports[name]);
  const packages = listPackages(read("deno.lock"), wanted);
  assertFalse(packages.some((name) => /^(typescript|hyparquet|vega)@/.test(name)), packages.join());
});

Deno.test("bundle refuses a name that is no archive, and leaves nothing behind", () =>
  inFolder(async (folder) => {
    await refused(
      task("bundle", ["--output", `${folder}/bundle.zip`]),
      "its name must end in .tar.xz, .tar.gz or .tar",
    );
    // The folder in the archive would be this one, the one around it, a flag.
    for (const name of ["..tar", "...tar", "-x.tar"]) {
      const signal = AbortSignal.abort();
      await assertRejects(
        () => makeBundle({ output: `${folder}/${name}`, extras: [], signal }),
        InputError,
        "must begin with neither a dot nor a dash: it does",
      );
    }
    const empty = {
      output: `${folder}/bundle.tar`,
      extras: [],
      signal: new AbortController().signal,
    };
    await assertRejects(
      () => makeBundle({ ...empty, cache: `${folder}/none` }),
      InputError,
      "must be in Deno's cache",
    );
    // In a folder that it copies it would copy itself, without an end.
    await assertRejects(
      () =>
        makeBundle({
          ...empty,
          output: `${ROOT}tests/bench/bundle.tar`,
          signal: AbortSignal.timeout(1000),
        }),
      InputError,
      "it must lie outside what is bundled: it lies in",
    );
    assertEquals(Array.from(Deno.readDirSync(folder)).map(({ name }) => name), []);
  }));

Deno.test("makeBundle() removes what a killed process left of the same bundle, and nothing else", () =>
  inFolder(async (folder) => {
    await Deno.mkdir(`${folder}/x.tar.partial/x/bin`, { recursive: true });
    await Deno.mkdir(`${folder}/y.tar.partial`);
    await Deno.writeTextFile(`${folder}/own`, "text of the user");
    const { signal } = new AbortController();
    const options = { output: `${folder}/x.tar`, extras: [], signal, cache: `${folder}/none` };
    await assertRejects(() => makeBundle(options), InputError);
    const names = Array.from(Deno.readDirSync(folder)).map(({ name }) => name).sort();
    assertEquals(names, ["own", "y.tar.partial"]);
  }));

Deno.test("a bundle trains an expert to the same bytes, in an empty folder, with an empty home and no network", () =>
  inFolder(async (folder) => {
    const { run } = await smallRunAt(`${folder}/run`);
    const there = `${folder}/there`;
    await Deno.mkdir(`${there}/home`, { recursive: true });
    await ok(execute("cp", ["-r", run, `${there}/run`]));

    const output = `${folder}/smalltalk-linux-x64.tar.xz`;
    const env = { XZ_OPT: "-0" }; // the fastest: larger than what a user gets
    const made = await ok(task("bundle", ["--output", output, "--json", "--log", "json"], { env }));
    const reported = made.err.trim().split("\n").map((line) => JSON.parse(line));
    const [{ done, total, unit }] = reported.filter(({ type }) => type === "progress").slice(-1);
    assertEquals([done, unit], [total, "MB"]);
    const { bytes, tasks } = JSON.parse(made.out);
    assertEquals((await Deno.stat(output)).size, bytes);
    assert(bytes < MOST_BYTES, `${bytes} bytes`);
    assert(tasks.includes("train-expert"));

    await ok(execute("tar", ["xf", output, "-C", there]));
    await Deno.remove(output);
    const bundle = `${there}/smalltalk-linux-x64`;
    await ok(execute("sha256sum", ["--quiet", "-c", "SHA256SUMS"], { cwd: bundle }));

    const flags = [
      ...["--expert", "1", "--expert-hidden", "8", "--expert-layers", "1", "--expert-heads", "2"],
      ...[
        "--expert-batch",
        "4",
        "--expert-steps",
        "12",
        "--expert-warmup",
        "4",
        "--log-every",
        "3",
      ],
    ];
    await ok(task("train-expert", ["--run", run, ...flags]));
    const split = ["./smalltalk-linux-x64/run", "split", "--run", "run", "--force"];
    await ok(isolated(there, split)); // it looks for the words of parts, with the tokenizer
    const trains = ["./smalltalk-linux-x64/run", "train-expert", "--run", "run", ...flags];
    const alone = await ok(isolated(there, trains));
    assertFalse(/download/i.test(alone.err), alone.err);
    const [apart, expected] = await Promise.all(
      [`${there}/run`, run].map((at) => hashes(`${at}/experts/expert-01`)),
    );
    assert("model.safetensors" in expected && "metrics.jsonl" in expected);
    assertEquals(apart, expected);

    const unknown = await isolated(there, ["./smalltalk-linux-x64/run", "report", "--run", "run"]);
    assertEquals(unknown.code, 2);
    assertStringIncludes(unknown.err, 'Cannot run task "report" as this bundle must hold it');
  }));

/**
 * Runs a command without a network, without the variables of this process and with a home that is
 * empty.
 */
function isolated(cwd: string, command: string[]): Promise<Outcome> {
  const env = { HOME: `${cwd}/home`, PATH: "/usr/bin:/bin" };
  return execute("unshare", ["--map-root-user", "--net", ...command], { cwd, clearEnv: true, env });
}

Deno.test("makeBundle() reads a project whose path has spaces and letters beyond ASCII", () =>
  inFolder(async (folder) => {
    await Deno.symlink(ROOT, `${folder}/a ü`);
    const there = await import(String(pathToFileURL(`${folder}/a ü/tasks/bundle.ts`)));
    const { signal } = new AbortController();
    const options = { output: `${folder}/x.tar`, extras: [], signal, cache: `${folder}/none` };
    // It has read what to copy.
    await assertRejects(() => there.makeBundle(options), Error, "must be in Deno's cache");
  }));
