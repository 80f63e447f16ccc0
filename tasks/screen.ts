/**
 * Redraws a text on a terminal in place, and leaves the terminal as it was.
 *
 * @module
 */

import { setTimeout } from "node:timers/promises";

/** A screen of its own on the terminal of standard output. */
export interface Screen {
  /** Its size. */
  size(): { width: number; height: number };
  /** Shows lines instead of those before. */
  show(text: string): void;
  /** Restores the terminal. */
  close(): void;
}

const ENTER = "\x1b[?1049h\x1b[?25l"; // another screen, no cursor
const LEAVE = "\x1b[?25h\x1b[?1049l";
const HOME = "\x1b[H";
const REST_OF_LINE = "\x1b[K";
const REST_OF_SCREEN = "\x1b[J";

/** Opens a screen; `write` puts text on the terminal. */
export function openScreen(
  write: (text: string) => void = (text) => void Deno.stdout.writeSync(new TextEncoder().encode(text)),
  sizeOf: () => { columns: number; rows: number } = Deno.consoleSize,
): Screen {
  let open = true;
  const close = () => {
    if (open) write(LEAVE);
    open = false;
  };
  globalThis.addEventListener("unload", close); // also where a second interruption ends the process at once
  write(ENTER);
  return {
    size() {
      const { columns, rows } = sizeOf();
      return { width: columns, height: rows };
    },
    show: (text) =>
      write(HOME + text.split("\n").map((line) => line + REST_OF_LINE).join("\r\n") + REST_OF_SCREEN),
    close,
  };
}

/** Waits for so many seconds, or until the signal. */
export async function pause(seconds: number, signal: AbortSignal): Promise<void> {
  await setTimeout(1000 * seconds, undefined, { signal }).catch(() => {});
}
