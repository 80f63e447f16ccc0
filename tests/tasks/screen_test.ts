import { assert, assertEquals } from "@std/assert";
import { openScreen, pause } from "../../tasks/screen.ts";

Deno.test("openScreen() shows each text in the place of the one before, and gives the terminal back once", () => {
  let written = "";
  const screen = openScreen((text) => written += text, () => ({ columns: 70, rows: 12 }));
  assertEquals(screen.size(), { width: 70, height: 12 });
  assertEquals(written, "\x1b[?1049h\x1b[?25l");
  written = "";
  screen.show("a\nb");
  assertEquals(written, "\x1b[Ha\x1b[K\r\nb\x1b[K\x1b[J");
  written = "";
  screen.close();
  screen.close();
  assertEquals(written, "\x1b[?25h\x1b[?1049l");
});

Deno.test("pause() ends with its time, and at once where the work is ended", async () => {
  const stop = new AbortController();
  const { signal } = stop;
  let listeners = 0;
  const counted = (name: "addEventListener" | "removeEventListener", step: number) => {
    const own = signal[name].bind(signal) as typeof signal.addEventListener;
    signal[name] = (...args: Parameters<typeof own>) => (listeners += step, own(...args));
  };
  counted("addEventListener", 1);
  counted("removeEventListener", -1);
  await pause(0.001, signal);
  assertEquals(listeners, 0);
  const waiting = pause(3600, signal);
  stop.abort();
  await waiting;
  await pause(3600, signal); // it was ended while something else went on
  assert(stop.signal.aborted);
});
