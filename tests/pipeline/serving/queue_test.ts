import { assertEquals, assertRejects } from "@std/assert";
import { createQueue } from "../../../pipeline/serving/queue.ts";

Deno.test("createQueue() runs one piece of work at a time, in order, and a failure concerns its own alone", async () => {
  const queue = createQueue();
  const events: string[] = [];
  const work = (name: string, milliseconds: number) =>
    queue(async () => {
      events.push(`${name} begins`);
      await new Promise((resolve) => setTimeout(resolve, milliseconds));
      events.push(`${name} ends`);
      if (name === "b") throw new Error("broken");
      return name;
    });
  const [a, b, c] = [work("a", 5), work("b", 1), work("c", 0)];
  await assertRejects(() => b, Error, "broken");
  assertEquals([await a, await c], ["a", "c"]);
  assertEquals(events.join(), "a begins,a ends,b begins,b ends,c begins,c ends");
});
