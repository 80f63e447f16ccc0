import { assertEquals } from "@std/assert";
import { type Call, perform, type Task } from "../../tasks/cli/command.ts";

const taskOf = async (name: string): Promise<Task> => (await import(`../../tasks/${name}.ts`)).TASK;

Deno.test("a task is reported which flags were given, and which were said to be false", async () => {
  const task = await taskOf("submit");
  const reported: Pick<Call<Task["options"]>, "givenNames" | "denied">[] = [];
  const run: Task["run"] = (call) => Promise.resolve(void reported.push(call));
  const frame = { signal: new AbortController().signal, onEvent() {}, tell() {}, print() {} };
  const args = [
    "--run",
    "NONE",
    "--recompute=false",
    "--require-gpu",
    "false",
    "--settle",
    "--keep",
    "2",
  ];
  await perform({ ...task, run }, args, frame);
  assertEquals([...reported[0].givenNames].sort(), ["keep", "run", "settle"]);
  assertEquals([...reported[0].denied].sort(), ["recompute", "requireGpu"]);
});

Deno.test("a value that begins with a dash is one behind =, and where it holds white space", async () => {
  const task = await taskOf("generate");
  const reported: Call<Task["options"]>["options"][] = [];
  const run: Task["run"] = ({ options }) => Promise.resolve(void reported.push(options));
  const frame = { signal: new AbortController().signal, onEvent() {}, tell() {}, print() {} };
  const values = ["- a list item", "--- title", "--seed is a flag", "-- a = b", "-x\ny"];
  for (const value of values) {
    await perform({ ...task, run }, ["--prompt", value, "--stop=- b", "--seed", "3"], frame);
    await perform({ ...task, run }, [`--prompt=${value}`, "--stop", "- b", "--seed=3"], frame);
  }
  // A flag, whatever its value.
  await perform({ ...task, run }, ["--prompt", "--stop=- b", "--seed", "3"], frame);
  assertEquals(
    reported.map(({ prompt, stop, seed }) => [prompt, stop, seed]),
    [...values.flatMap((value) => [value, value]), ""].map((value) => [value, ["- b"], 3]),
  );
  const shown: string[][] = [];
  const show = await taskOf("show");
  const note: Task["run"] = ({ paths, options }) =>
    Promise.resolve(void shown.push([...paths, String(options.tokenizer)]));
  await perform({ ...show, run: note }, ["--tokenizer", "--a b", "c.arrow"], frame);
  assertEquals(shown, [["c.arrow", "--a b"]]);
});
