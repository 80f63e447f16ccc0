import { assertEquals } from "@std/assert";
import { openScreen } from "../../tasks/watch.ts";

Deno.test("openScreen() shows each text in the place of the one before, and gives the terminal back once", () => {
  let written = "";
  const screen = openScreen((text) => written += text);
  assertEquals(written, "\x1b[?1049h\x1b[?25l");
  written = "";
  screen.show("a\nb");
  assertEquals(written, "\x1b[Ha\x1b[K\r\nb\x1b[K\x1b[J");
  written = "";
  screen.close();
  screen.close();
  assertEquals(written, "\x1b[?25h\x1b[?1049l");
});
