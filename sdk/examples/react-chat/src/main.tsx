import { RelayProvider } from "@relay-sdk/react";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { App } from "./App.js";
import "./style.css";

const { VITE_RELAY_URL, VITE_CONTROL_URL, VITE_CLIENT_ID, VITE_MODEL } = import.meta.env;
if (!VITE_CLIENT_ID) throw new Error("Register the application and put VITE_CLIENT_ID into .env.local: README.md says how.");

createRoot(document.getElementById("root")!).render(
  <StrictMode>
    <RelayProvider url={VITE_RELAY_URL} controlUrl={VITE_CONTROL_URL} clientId={VITE_CLIENT_ID}>
      <App model={VITE_MODEL} />
    </RelayProvider>
  </StrictMode>,
);
