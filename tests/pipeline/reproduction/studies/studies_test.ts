import { assertEquals } from "@std/assert";
import { STUDIES } from "../../../../pipeline/reproduction/studies/studies.ts";
import { study } from "./support.ts";

Deno.test("every study stands in the table under its name, with a question and what the paper says", () => {
  for (const [name, one] of STUDIES) {
    assertEquals(one, study(name));
    assertEquals(one.name, name);
    assertEquals([one.question.endsWith("?"), one.paper.endsWith(".")], [true, true], name);
  }
});
