import { assert, assertEquals, assertThrows } from "@std/assert";
import { Admission } from "../../../../pipeline/serving/server/admission.ts";
import { ApiError } from "../../../../pipeline/serving/server/errors.ts";

Deno.test("new Admission() counts what waits and runs, refuses what does not fit, and gives places back", () => {
  const admission = new Admission(3);
  const counts = () => [admission.waiting, admission.running];
  const large = admission.enter(5); // alone it may exceed the room
  assertEquals(counts(), [5, 0]);
  const error = assertThrows(
    () => admission.enter(1),
    ApiError,
    "at most 3 texts may wait: 5 do, and 1 are asked for",
  );
  assertEquals([error.status, error.headers["retry-after"]], [429, "1"]);
  for (let i = 0; i < 4; i++) large.start();
  large.end();
  assertEquals(counts(), [1, 3]);
  const two = admission.enter(2);
  assertThrows(() => admission.enter(1), ApiError);
  large[Symbol.dispose]();
  large.start(); // what is over counts no more
  large.end();
  large[Symbol.dispose]();
  assertEquals(counts(), [2, 0]);
  two.start();
  two.start();
  two.end();
  two.start(); // scored, now it is written
  assertEquals(counts(), [0, 2]);
  two[Symbol.dispose]();
  assertEquals(counts(), [0, 0]);
});

Deno.test("close() of an admission lets nothing in, and waits for what is there", async () => {
  const admission = new Admission(3);
  const places = admission.enter(1);
  let closed = false;
  const closing = admission.close().then(() => closed = true);
  assertEquals(assertThrows(() => admission.enter(1), ApiError).status, 503);
  await Promise.resolve();
  assert(!closed);
  places[Symbol.dispose]();
  await closing;
  await new Admission(1).close();
});
