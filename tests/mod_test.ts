import { assertEquals, assertMatch } from "@std/assert";
import { denoIn, inFolder, ROOT } from "./tasks/support.ts";

const NAME = "@smalltalk/deno";
const { exports: ENTRIES, name } = JSON.parse(Deno.readTextFileSync(`${ROOT}deno.json`));
const MOD = Deno.readTextFileSync(`${ROOT}mod.ts`);

/** Gives the examples of mod.ts by their titles. */
const EXAMPLES = new Map(
  [...MOD.matchAll(/^ \* @example (.+)\n \* ```ts\n([\s\S]*?)^ \* ```$/gm)]
    .map(([, title, code]) => [title, code.replace(/^ \* ?/gm, "")]),
);

const CONFIG = `--config=${ROOT}deno.json`;
const ALLOWED = ["--allow-read", "--allow-write", "--allow-ffi", "--allow-env", "--allow-sys"];

Deno.test("every group of mod.ts has an example, which runs as a script in another folder", () =>
  inFolder(async (folder) => {
    const groups = [...MOD.matchAll(/\n\n\/\/ ([^:.]+)/g)].map(([, title]) => title);
    assertEquals(groups, [...EXAMPLES.keys()]);
    const files = [...EXAMPLES.keys()].map((_, i) => `${i}.ts`);
    for (const [i, code] of [...EXAMPLES.values()].entries()) {
      await Deno.writeTextFile(`${folder}/${files[i]}`, code);
    }
    await Deno.writeTextFile(
      `${folder}/all.ts`,
      files.map((file) => `await import("./${file}");\n`).join(""),
    );
    const out = await denoIn(folder, ["run", "--no-prompt", CONFIG, ...ALLOWED, "all.ts"]);
    const [, one, other] = /^\[ (\d+), (\d+) \]$/m.exec(out)!;
    assertEquals([Number(one) > 50, Math.abs(Number(one) - Number(other)) <= 1], [true, true]);
    assertMatch(out, /^\[\]$/m); // no problems
    assertMatch(out, /Cannot route by a prefix as prefix must be at most sequenceLength/);
    const made = [
      "run/report.html",
      "assigned.arrow",
      "copy/tokenizer.json",
      "copy/model.safetensors",
    ];
    for (const path of made) assertEquals((await Deno.stat(`${folder}/${path}`)).isFile, true);
    const { smalltalk: { eos } } = JSON.parse(
      await Deno.readTextFile(`${folder}/copy/config.json`),
    );
    assertEquals(eos, 0);
  }));

Deno.test("every folder has an entry of its own, which gives what mod.ts takes from it, and can be imported by name", () =>
  inFolder(async (folder) => {
    assertEquals(name, NAME);
    const folders = Array.from(Deno.readDirSync(`${ROOT}pipeline`)).filter((entry) =>
      entry.isDirectory
    );
    const expected = folders.map(({ name }) => name).filter((name) => name !== "std")
      .map((name) => [`./${name}`, `./pipeline/${name}/mod.ts`]);
    assertEquals(
      ENTRIES,
      Object.fromEntries([[".", "./mod.ts"], ["./kernels", "./kernels/mod.ts"], ...expected]),
    );
    assertEquals(JSON.parse(await Deno.readTextFile(`${ROOT}deno.jsr.json`)).exports, ENTRIES);
    const paths = [...MOD.matchAll(/ from "(\.[^"]+)"/g)].map(([, path]) => path);
    assertEquals(paths.filter((path) => !Object.values(ENTRIES).includes(path)), []);
    const names = Object.keys(ENTRIES).map((path) => path.replace(".", NAME));
    const lines = names.map((name) =>
      `console.log(Object.keys(await import("${name}")).length > 0);\n`
    );
    await Deno.writeTextFile(`${folder}/script.ts`, lines.join(""));
    const out = await denoIn(folder, ["run", "--no-prompt", CONFIG, "--allow-read", "script.ts"]);
    assertEquals(out, "true\n".repeat(names.length));
  }));
