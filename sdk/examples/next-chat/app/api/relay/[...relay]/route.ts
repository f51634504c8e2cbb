/** Sign-in, its way back, renewal and sign-out. The browser gets an http-only cookie, and never a token. */
import { createRelayHandlers } from "@relay-sdk/next";
import { app } from "../../../../relay";

export const { GET, POST } = createRelayHandlers(app);
