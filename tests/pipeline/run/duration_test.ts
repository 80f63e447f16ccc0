import { assertEquals } from "@std/assert";
import { duration } from "../../../pipeline/run/duration.ts";

Deno.test("duration() takes the two largest units, and carries what rounding makes whole", () => {
  const cases: [seconds: number, text: string][] = [
    [0, "0 s"],
    [4.2e-5, "42 µs"],
    [0.0123, "12.3 ms"],
    [9.5, "9.5 s"],
    [59.4, "59.4 s"],
    [59.7, "1 min"],
    [250, "4 min 10 s"],
    [3599.6, "1 h"],
    [5400, "1 h 30 min"],
    [86_399, "1 d"],
    [2 * 86_400 + 3 * 3600 + 59, "2 d 3 h"],
    [40 * 86_400, "40 d"],
    [31_557_600 * 1234, "1,234 years"],
  ];
  for (const [seconds, text] of cases) assertEquals(duration(seconds), text);
});
