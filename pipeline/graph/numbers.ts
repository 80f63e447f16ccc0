/**
 * Writes numbers for a person to read: counts, shares, sizes and durations. Tasks print them, and
 * pages show them.
 *
 * @module
 */

/** Writes a whole number as 1,234,567. */
export function countText(value: number): string {
  return Math.round(value).toLocaleString("en");
}

/** Writes a share as a percentage. */
export function percent(share: number, digits = 1): string {
  return `${(100 * share).toFixed(digits).replace("-", "−")}%`;
}

/** Units, the largest first, with the number of the smallest unit that each is. */
type Units = readonly (readonly [unit: string, size: number])[];

const BINARY = ["B", "KiB", "MiB", "GiB", "TiB"].map((unit, i) => [unit, 1024 ** i] as const)
  .reverse();
const DECIMAL = ["B", "kB", "MB", "GB", "TB", "PB"].map((unit, i) => [unit, 1000 ** i] as const)
  .reverse();

/**
 * Writes a value with about `digits` digits, in the largest unit that leaves a number which is at
 * least one as it is written.
 */
function inUnits(value: number, units: Units, digits: number): string {
  const [unit, size] = units.find(([, size]) => Number((value / size).toPrecision(digits)) >= 1) ??
    units.at(-1)!;
  const number = value / size;
  return `${
    number >= 10 ** (digits - 1) ? countText(number) : +number.toPrecision(digits)
  } ${unit}`;
}

/** Writes a size in bytes as 1.23 GiB. */
export function binaryBytes(size: number): string {
  return inUnits(size, BINARY, 3);
}

/** Writes a size in bytes as 5.625 MB. Sizes of what is sent are given in powers of ten. */
export function decimalBytes(size: number): string {
  return inUnits(size, DECIMAL, 4);
}

/** Writes a size in bytes as 5.63 MB for a page, which breaks no line before the unit. */
export function unbrokenBytes(size: number): string {
  return inUnits(size, DECIMAL, 3).replace(" ", "\u00a0");
}

/** Writes a number as 31.02e18: two digits after the point, an exponent of thousands. */
export function engineering(value: number): string {
  if (value < 1000) return value.toFixed(2);
  // By the digits that are written.
  const exponent = 3 * Math.floor(Math.log10(Number(value.toPrecision(5))) / 3);
  return `${(value / 10 ** exponent).toFixed(2)}e${exponent}`;
}

/** Writes a number with three digits and its power of ten, as 3.10·10¹⁹. */
export function scientific(value: number): string {
  if (value === 0 || !Number.isFinite(value)) return value === 0 ? "0" : "–";
  const [mantissa, exponent] = value.toExponential(2).split("e");
  const raised = [...String(Number(exponent))].map((sign) =>
    sign === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[Number(sign)]
  )
    .join("");
  return `${mantissa}·10${raised}`;
}

/**
 * Writes a number: a whole one with separated thousands, any other with four significant digits.
 */
export function numberText(value: number): string {
  if (!Number.isFinite(value)) return "–";
  if (Number.isInteger(value)) return value.toLocaleString("en").replace("-", "−");
  const size = Math.abs(value);
  const text = size >= 1e6 || size < 1e-4
    ? scientific(value)
    : size >= 1000
    ? Math.round(value).toLocaleString("en")
    : Number(value.toPrecision(4)).toString();
  return text.replace(/^-/, "−");
}

/** Writes a number with so many digits after the point at most. */
export const rounded = (value: number, digits: number): string =>
  numberText(Number(value.toFixed(digits)));

/** Rounds a number to three significant digits. */
export const rough = (value: number): number => Number(value.toPrecision(3));

/** Units, the largest first, with the number of seconds that each is. */
const UNITS = [["years", 31_557_600], ["s", 1], ["ms", 1e-3], ["µs", 1e-6]] as const;
const PAIRS = [["d", 86_400, "h", 3600], ["h", 3600, "min", 60], ["min", 60, "s", 1]] as const;

/**
 * Writes seconds as 2 d 3 h or 4 min 10 s. Below a minute, or above a year, it writes one unit with
 * three digits.
 */
export function duration(seconds: number): string {
  if (seconds <= 0) return "0 s";
  const pair = PAIRS.find(([, size, , part]) => Math.round(seconds / part) * part >= size);
  if (!pair || seconds >= UNITS[0][1]) {
    const [unit, size] = UNITS.find(([, size]) => seconds >= size) ?? UNITS.at(-1)!;
    const number = seconds / size;
    return `${number >= 100 ? countText(number) : +number.toPrecision(3)} ${unit}`;
  }
  const [unit, size, smaller, part] = pair;
  const parts = Math.round(seconds / part);
  const remainder = parts % (size / part);
  return `${Math.floor(parts * part / size)} ${unit}${
    remainder > 0 ? ` ${remainder} ${smaller}` : ""
  }`;
}
