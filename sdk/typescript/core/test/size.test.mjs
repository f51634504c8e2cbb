// What a page loads of this package: everything, and a part of it.
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { it } from "node:test";
import { build } from "esbuild";

const MOST_BYTES = 8 * 1024;

async function size(code) {
  const { outputFiles } = await build({
    stdin: { contents: code, resolveDir: fileURLToPath(new URL("..", import.meta.url)) },
    bundle: true, minify: true, format: "esm", write: false, logLevel: "error",
  });
  return gzipSync(outputFiles[0].contents, { level: 9 }).length;
}

it("is at most 8 KB, gzipped, for everything", async (t) => {
  const all = await size('export * from "./dist/index.js"');
  t.diagnostic(`${all} bytes`);
  assert.ok(all <= MOST_BYTES, `${all} bytes`);
});

it("is less for who takes less", async (t) => {
  const some = await size('export { verifyWebhook } from "./dist/index.js"');
  t.diagnostic(`${some} bytes for verifyWebhook`);
  assert.ok(some < 1500, `${some} bytes`);
});
