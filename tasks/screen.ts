/**
 * Redraws a text on a terminal in place, and leaves the terminal as it was.
 *
 * @module
 */

import { setTimeout } from "node:timers/promises";

/** Another screen without a cursor, and back. */
const [ENTER, LEAVE] = ["\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"];
const [HOME, REST_OF_LINE, REST_OF_SCREEN] = ["\x1b[H", "\x1b[K", "\x1b[J"];

/** Opens a screen of its own on the terminal of standard output, to show lines instead of those before; `write` puts text there. */
export function openScreen(
  write: (text: string) => void = (text) => void Deno.stdout.writeSync(new TextEncoder().encode(text)),
): { show: (text: string) => void; close: () => void } {
  let open = true;
  const close = () => {
    if (open) write(LEAVE);
    open = false;
  };
  globalThis.addEventListener("unload", close); // also where a second interruption ends the process at once
  write(ENTER);
  return {
    show: (text) =>
      write(HOME + text.split("\n").map((line) => line + REST_OF_LINE).join("\r\n") + REST_OF_SCREEN),
    close,
  };
}

/** Waits for so many seconds, or until the signal. */
export async function pause(seconds: number, signal: AbortSignal): Promise<void> {
  await setTimeout(1000 * seconds, undefined, { signal }).catch(() => {});
}
