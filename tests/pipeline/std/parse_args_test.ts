import { parseArgs } from "@std/cli/parse-args";
import { assertEquals } from "@std/assert";

Deno.test("parseArgs() reads values after a space or an equals sign, and keeps strings strings", () => {
  const { run, seed, text } = parseArgs(["--run", "a", "--seed=7", "--text", "7"], {
    string: ["run", "text"],
  });
  assertEquals({ run, seed, text }, { run: "a", seed: 7, text: "7" });
});

Deno.test("parseArgs() takes the last of repeated flags, and all of collected ones", () => {
  const parsed = parseArgs(["--a", "1", "--a", "2", "--b", "x", "--b=y"], {
    string: ["a", "b", "c"],
    collect: ["b", "c"],
  });
  assertEquals({ ...parsed }, { _: [], a: "2", b: ["x", "y"], c: [] });
});

Deno.test("parseArgs() gives booleans no value, and negates those that may be", () => {
  const options = { boolean: ["json", "force", "color"], negatable: ["color"] };
  assertEquals({ ...parseArgs(["--json", "x", "--no-color", "--force=false"], options) }, {
    _: ["x"],
    json: true,
    color: false,
    force: false,
  });
});

Deno.test("parseArgs() sets every alias, and defaults where a flag is absent", () => {
  const parsed = parseArgs(["-h"], { boolean: ["help"], alias: { help: "h" }, default: { level: 3 } });
  assertEquals({ ...parsed }, { _: [], help: true, h: true, level: 3 });
});

Deno.test("parseArgs() asks about what is not declared, and leaves out what is refused", () => {
  const asked: unknown[][] = [];
  const unknown = (arg: string, key?: string, value?: unknown) => {
    asked.push([arg, key, value]);
    return key === undefined;
  };
  const parsed = parseArgs(["--known", "a", "--other=1", "file"], { string: ["known"], unknown });
  assertEquals(asked, [["--other=1", "other", "1"], ["file", undefined, undefined]]);
  assertEquals({ ...parsed }, { _: ["file"], known: "a" });
});

Deno.test("parseArgs() gives a flag without its value the empty string, and parses nothing after --", () => {
  const parsed = parseArgs(["--run", "--json", "--", "--seed", "1"], {
    string: ["run", "_"],
    boolean: ["json"],
  });
  assertEquals({ ...parsed }, { _: ["--seed", "1"], run: "", json: true });
});
