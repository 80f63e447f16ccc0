import { assertEquals, assertFalse, assertStringIncludes } from "@std/assert";
import { htmlTable, markup, number, percent, unbroken } from "../../../pipeline/report/html.ts";

Deno.test("markup() escapes what is put into a template, and no HTML twice", () => {
  const inner = markup`<b>${`<script>"'&`}</b>`;
  assertEquals(inner.text, "<b>&lt;script&gt;&quot;&#39;&amp;</b>");
  assertEquals(
    markup`<p title="${'"'}">${inner}${[1, null, "<"]}</p>`.text,
    `<p title="&quot;">${inner.text}1&lt;</p>`,
  );
});

Deno.test("htmlTable() sets columns of numbers to the right and escapes every cell", () => {
  const { text } = htmlTable({ head: ["<a>", "b"], rows: [["<x>", 1234.5], ["y", null]] }, "<label>");
  assertFalse(/<(a|x|label)>/.test(text), text);
  assertStringIncludes(text, '<td>&lt;x&gt;</td><td class="n">1,235</td>');
  assertStringIncludes(text, '<td class="n"></td>');
});

Deno.test("unbroken() keeps each word with a hyphen whole, unless it is too long for a line", () => {
  const path = `runs/${"a-long-name-".repeat(3)}`;
  assertEquals(
    unbroken(`deno task train-dense --match steps --run ${path} <-`).text,
    'deno task <span class="word">train-dense</span> <span class="word">--match</span> steps ' +
      `<span class="word">--run</span> ${path} <span class="word">&lt;-</span>`,
  );
});

Deno.test("number() writes four digits, thousands apart, and powers of ten where it must", () => {
  assertEquals([0, -3, 1234567, 0.35796, 1234.56, 45.2].map(number), [
    "0",
    "−3",
    "1,234,567",
    "0.358",
    "1,235",
    "45.2",
  ]);
  assertEquals([1.5e-7, 2.5e9 + 0.5, NaN].map(number), ["1.50·10⁻⁷", "2.50·10⁹", "–"]);
  assertEquals([percent(0.125), percent(-0.5, 0)], ["12.5%", "−50%"]);
});
