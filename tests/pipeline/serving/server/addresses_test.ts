import { assertEquals, assertThrows } from "@std/assert";
import { InputError } from "../../../../kernels/errors.ts";
import { parseUpstreams } from "../../../../pipeline/serving/server/addresses.ts";

Deno.test("parseUpstreams() reads experts with their addresses, and refuses anything else", () => {
  const read = parseUpstreams("0=http://10.0.0.1:8000,12=https://host/v1/");
  assertEquals([...read], [[0, "http://10.0.0.1:8000"], [12, "https://host"]]);
  assertEquals(parseUpstreams("").size, 0);
  assertEquals([...parseUpstreams("0=http://a,")], [[0, "http://a"]]);
  const foreign = [
    "0=http://:8000",
    "0=http://a:99999",
    "0=http://a?b=c",
    "0=http://a#b",
    "0=http://me:key@a",
  ];
  for (const text of [",", ",,", "http://x", "0=x", "0=http://a,0=http://b", "a=http://b", ...foreign]) {
    assertThrows(() => parseUpstreams(text), InputError, "upstream");
  }
});
