/**
 * Writes durations for a person to read.
 *
 * @module
 */

/** Units, the largest first, with the number of seconds that each is. */
const UNITS = [["years", 31_557_600], ["s", 1], ["ms", 1e-3], ["µs", 1e-6]] as const;
const PAIRS = [["d", 86_400, "h", 3600], ["h", 3600, "min", 60], ["min", 60, "s", 1]] as const;

/** Writes seconds as 2 d 3 h or 4 min 10 s. Below a minute, or above a year, it writes one unit with three digits. */
export function duration(seconds: number): string {
  if (seconds <= 0) return "0 s";
  const pair = PAIRS.find(([, size, , part]) => Math.round(seconds / part) * part >= size);
  if (!pair || seconds >= UNITS[0][1]) {
    const [unit, size] = UNITS.find(([, size]) => seconds >= size) ?? UNITS.at(-1)!;
    const number = seconds / size;
    return `${number >= 100 ? Math.round(number).toLocaleString("en") : +number.toPrecision(3)} ${unit}`;
  }
  const [unit, size, smaller, part] = pair;
  const parts = Math.round(seconds / part);
  const rest = parts % (size / part);
  return `${Math.floor(parts * part / size)} ${unit}${rest > 0 ? ` ${rest} ${smaller}` : ""}`;
}
