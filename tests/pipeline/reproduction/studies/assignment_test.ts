import { assertEquals } from "@std/assert";
import { resolveConfiguration } from "../../../../pipeline/settings/resolution.ts";
import { outcome, setupsFor, SMALL, study } from "../support.ts";

Deno.test("the study of assignments calls a mixture better only beyond both intervals", () => {
  const setups = setupsFor("assignment");
  assertEquals(setups.map(({ settings }) => settings.method), ["balanced", "optimal", "argmax"]);
  // Whatever the preset's own method is: the run of that is the one that other studies have.
  const preset = resolveConfiguration({ ...SMALL, flags: { method: "optimal" } });
  assertEquals(study("assignment").setups(preset, 1).map(({ name, settings }) => [name, settings.method]), [
    ["em-balanced-seed-0", "balanced"],
    ...[["em-4-experts-seed-0", "optimal"], ["em-argmax-seed-0", "argmax"]],
  ]);
  const found = (greedy: number, optimal: number, unbalanced: number) =>
    study("assignment").findings(
      [greedy, optimal, unbalanced].map((mixture, i) => outcome(setups[i], { mixture })),
    );
  assertEquals(found(30, 27.9, 32.1).claims.map(({ holds }) => holds), [true, true]);
  assertEquals(found(30, 28.1, 31.9).claims.map(({ holds }) => holds), [false, false]);
  assertEquals(found(30, 28, 32).table.rows[1], [
    "least cost, equal parts",
    "28.00 [27.00, 29.00]",
    "0.0100",
    "2.0%",
    "25.0%",
  ]);
});
