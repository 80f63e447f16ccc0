import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { ok, refused, smallRun, task, taskHere } from "./support.ts";

Deno.test("show lists the documents that an id, a path or a pattern names, and those of a table", async () => {
  const { run, docs } = await smallRun();
  const table = `${run}/partition/documents.arrow`;
  const all = await ok(task("show", [table, "--limit", "1000", "--json"]));
  const documents = all.out.trimEnd().split("\n").map((line) => JSON.parse(line));
  assertEquals(documents.length, 48);
  assertEquals(new Set(documents.map(({ path }) => path)), new Set([docs]));
  const { document, path, side, expert } = documents.find(({ expert }) => expert !== "mixed");
  const one = await ok(task("show", [run, "--document", document]));
  assertStringIncludes(one.out, `document ${document}, ${path}, number `);
  assertStringIncludes(one.out, side === "train" ? "for training" : "held out");
  assertStringIncludes(one.out, `expert ${expert}`);
  const named = await ok(task("show", [run, "--document", "*.jsonl", "--limit", "3"]));
  assertEquals(named.out.trimEnd().split("\n").length, 3);
  assertStringIncludes(named.err, "only 3 are shown");
  const none = await refused(taskHere("show", [run, "--document", "none.txt"]), "has none");
  assertStringIncludes(none, `deno task show "${table}" lists what it has`);
});

Deno.test("derive names the table that lists documents, and show does not speak of training", async () => {
  const { run } = await smallRun();
  const args = ["--from", run, "--run", `${run}-less`, "--forget", "none.txt"];
  await refused(
    taskHere("derive", args),
    `deno task show "${run}/partition/documents.arrow" lists`,
  );
  const { out } = await ok(task("show", ["--help", "all"]));
  assertStringIncludes(out, "--tokenizer FILE");
  assert(!out.includes("trained"), out);
});
