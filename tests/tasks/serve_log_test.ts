import { assert, assertEquals, assertMatch } from "@std/assert";
import { InputError, say, setting } from "../../kernels/mod.ts";
import { answerLine, errorLine } from "../../tasks/serve_log.ts";

const ANSWERED = { request: "GET /", status: 200, milliseconds: 2.7, notes: { model: "dense", tokens: 3 } };

Deno.test("answerLine() tells a request with the time and what is known of it, also as JSON", () => {
  assertMatch(answerLine(ANSWERED, "text"), /^\d{4}-\S+Z GET \/ 200 3 ms model="dense" tokens=3$/);
  const { time, ...told } = JSON.parse(answerLine(ANSWERED, "json"));
  assert(!Number.isNaN(Date.parse(time)));
  assertEquals(told, ANSWERED);
});

Deno.test("errorLine() tells an error that explains itself in one line with its remedy, a bug with its stack, and both as JSON", async () => {
  const error = new InputError("Cannot load it as it must fit: it does not", {
    remedy: say`raise ${setting("memory")}`,
  });
  const line = "Cannot load it as it must fit: it does not; raise --memory";
  const text = await errorLine(error, "text");
  assertEquals(text.slice(text.indexOf(" ") + 1), `error: ${line}`);
  const { type, message } = JSON.parse(await errorLine(error, "json"));
  assertEquals([type, message], ["error", line]);
  const bug = new TypeError("what is this?");
  assertMatch(
    await errorLine(bug, "text"),
    /^\S+Z bug: TypeError: what is this\?\n {4}at .*serve_log_test\.ts/,
  );
  assertMatch(JSON.parse(await errorLine(bug, "json")).message, /^bug: TypeError: what is this\?\n {4}at /);
});
