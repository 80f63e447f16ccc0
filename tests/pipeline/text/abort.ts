export { Tokenizer as Library } from "tokenizers";
export { loadTokenizer } from "../../../pipeline/text/tokenizer.ts";
