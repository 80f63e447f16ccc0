/** Names the version of the code that results depend on; part of every stage's key. */
export const VERSION = "0.1.0";
