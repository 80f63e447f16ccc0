/**
 * Tables as text.
 *
 * @module
 */

/**
 * Lays rows out in columns; `sides` has an `l` for every column that is flush left and an `r` for
 * every other.
 */
export function columns(rows: readonly string[][], sides: string): string {
  const widths = Array.from(sides, (_, i) => Math.max(...rows.map((row) => row[i].length)));
  return rows.map((row) =>
    row.map((cell, i) => sides[i] === "l" ? cell.padEnd(widths[i]) : cell.padStart(widths[i])).join(
      "  ",
    )
      .trimEnd()
  ).join("\n");
}

/** Writes a number with about `digits` digits, never as a power of ten; "" for none. */
export function digits(value: number | undefined, digits = 3): string {
  if (value === undefined) return "";
  const whole = Math.floor(Math.log10(Math.abs(value) || 1)) + 1;
  const decimals = Math.max(0, Math.min(6, digits - whole));
  return value.toLocaleString("en-US", {
    minimumFractionDigits: decimals,
    maximumFractionDigits: decimals,
  });
}

/** Writes a share as per cent. */
export function percent(share: number): string {
  return `${digits(100 * share, 2)}%`;
}
