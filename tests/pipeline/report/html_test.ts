import { assertEquals, assertFalse, assertStringIncludes } from "@std/assert";
import { htmlTable, markup, number, percent } from "../../../pipeline/report/html.ts";

Deno.test("templates and tables escape what is put into them, and no HTML twice", () => {
  const inner = markup`<b title="${'"'}">${`<script>"'&`}</b>`;
  assertEquals(inner.text, `<b title="&quot;">&lt;script&gt;&quot;&#39;&amp;</b>`);
  assertEquals(markup`<p>${inner}${[1, null, "<"]}</p>`.text, `<p>${inner.text}1&lt;</p>`);
  const { text } = htmlTable({ head: ["<a>", "b"], rows: [["<x>", 1234.5], ["y", null]] }, "<label>");
  assertFalse(/<(a|x|label)>/.test(text), text);
  assertStringIncludes(text, '<td>&lt;x&gt;</td><td class="n">1,235</td>'); // numbers to the right
  assertStringIncludes(text, '<td class="n"></td>');
});

Deno.test("number() writes four digits, thousands apart, and powers of ten where it must", () => {
  assertEquals([0, -3, 1234567, 0.35796].map(number), ["0", "−3", "1,234,567", "0.358"]);
  assertEquals([1234.56, 45.2, 1.5e-7, 2.5e9 + 0.5].map(number), ["1,235", "45.2", "1.50·10⁻⁷", "2.50·10⁹"]);
  assertEquals([number(NaN), percent(0.125), percent(-0.5, 0)], ["–", "12.5%", "−50%"]);
});
