import * as std from "@std/assert";

const { assertRejects, assertThrows, AssertionError } = std;

/** Checks that one call passes and the other throws an `AssertionError`. */
function discriminates(passes: () => void, fails: () => void): void {
  passes();
  assertThrows(fails, AssertionError);
}

Deno.test("assert() and its like pass on what they say and throw an AssertionError otherwise", () => {
  discriminates(() => std.assert(1), () => std.assert(0));
  discriminates(() => std.assertFalse(0), () => std.assertFalse(1));
  discriminates(() => std.assertEquals({ a: [1n] }, { a: [1n] }), () => std.assertEquals([1], [2]));
  discriminates(
    () => std.assertEquals(Uint8Array.of(1), Uint8Array.of(1)),
    () => std.assertEquals(1, 2),
  );
  discriminates(() => std.assertNotEquals([1], [2]), () => std.assertNotEquals([1], [1]));
  discriminates(
    () => std.assertAlmostEquals(1, 1.1, 0.2),
    () => std.assertAlmostEquals(1, 1.1, 0.05),
  );
  discriminates(() => std.assertAlmostEquals(1, 1 + 1e-9), () => std.assertAlmostEquals(NaN, 1));
  discriminates(() => std.assertGreater(2, 1), () => std.assertGreater(1, 1));
  discriminates(
    () => std.assertStringIncludes("abc", "b"),
    () => std.assertStringIncludes("abc", "d"),
  );
  discriminates(() => std.assertMatch("abc", /b/), () => std.assertMatch("abc", /d/));
});

Deno.test("assertThrows() checks that, what and with which text a function throws, and returns it", () => {
  const error = new RangeError("too large: 7");
  const throwing = () => {
    throw error;
  };
  std.assert(assertThrows(throwing, RangeError, "large") === error);
  std.assert(assertThrows(throwing) === error);
  assertThrows(() => assertThrows(throwing, TypeError), AssertionError, "TypeError");
  assertThrows(() => assertThrows(throwing, RangeError, "small"), AssertionError, "small");
  assertThrows(() => assertThrows(() => {}, Error, "", "must throw"), AssertionError, "must throw");
});

Deno.test("assertRejects() checks that, what and with which text a promise rejects, and gives it", async () => {
  const error = new RangeError("too large: 7");
  std.assert(await assertRejects(() => Promise.reject(error), RangeError, "large") === error);
  await assertRejects(() => assertRejects(() => Promise.reject(error), TypeError), AssertionError);
  await assertRejects(() => assertRejects(() => Promise.resolve()), AssertionError);
  await assertRejects(
    () =>
      assertRejects(() => {
        throw error;
      }),
    AssertionError,
  );
});
