import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

export default defineConfig({
  plugins: [react()],
  // An application's `redirectUris` and `allowedOrigins` are compared letter by letter: one address, and no other port.
  server: { host: "127.0.0.1", port: 5173, strictPort: true },
  // The SDK is linked from its own workspace, which has a React of its own; a page has one.
  resolve: { dedupe: ["react", "react-dom"] },
});
