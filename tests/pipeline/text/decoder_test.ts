import { assert, assertEquals } from "@std/assert";
import { openDecoder, readTokenTexts } from "../../../pipeline/text/decoder.ts";
import { openTokenizer, trainTokenizer } from "../../../pipeline/text/tokenizer.ts";
import { inFolder } from "../../tasks/support.ts";

Deno.test("openDecoder() decodes a byte-level tokenizer's tokens to the text", () =>
  inFolder(async (folder) => {
    const text = "Größe, 東京 and 🙂 <|endoftext|>\r\n\tends ";
    const documents = async function* () {
      yield { text: text.repeat(3), source: "" };
    };
    const tokenizer = await trainTokenizer(documents(), { vocabularySize: 280, sample: 1000 });
    await Deno.writeTextFile(`${folder}/tokenizer.json`, tokenizer.json);
    const decode = await openDecoder(`${folder}/tokenizer.json`);
    const [ids] = await tokenizer.encode([text]);
    assertEquals(await decode(ids), text);
    assertEquals(await decode([...ids, tokenizer.eos]), `${text}<|endoftext|>`);
    assertEquals(await decode([]), "");
    const tokenTexts = (await readTokenTexts(`${folder}/tokenizer.json`))!;
    const whole = ids.filter((id) => tokenTexts[id] !== undefined);
    assertEquals(Array.from(whole, (id) => tokenTexts[id]).join(""), await decode(whole));
    assert(whole.length > 0 && whole.length < ids.length);
  }));

Deno.test("openDecoder() leaves other tokenizers to the library", () =>
  inFolder(async (folder) => {
    const json = JSON.stringify({
      version: "1.0",
      added_tokens: [{
        id: 0,
        content: "[SEP]",
        special: true,
        single_word: false,
        lstrip: false,
        rstrip: false,
        normalized: false,
      }],
      normalizer: null,
      pre_tokenizer: { type: "Whitespace" },
      decoder: { type: "WordPiece", prefix: "##", cleanup: false },
      model: {
        type: "WordPiece",
        unk_token: "[SEP]",
        continuing_subword_prefix: "##",
        max_input_chars_per_word: 100,
        vocab: { "[SEP]": 0, sun: 1, "##ny": 2 },
      },
    });
    await Deno.writeTextFile(`${folder}/tokenizer.json`, json);
    const decode = await openDecoder(`${folder}/tokenizer.json`);
    const [ids] = await (await openTokenizer(json)).encode(["sunny sun"]);
    assertEquals(await decode(ids), "sunny sun");
    assertEquals(await readTokenTexts(`${folder}/tokenizer.json`), undefined);
  }));
