/** The application, as the relay knows it. Server code alone. */
import { RelayApp } from "@relay-sdk/next";
import { cookies } from "next/headers";
import { redirect } from "next/navigation";

export const app = new RelayApp({
  url: setting("RELAY_URL"),
  controlUrl: setting("RELAY_CONTROL_URL"),
  clientId: setting("RELAY_CLIENT_ID"),
  clientSecret: setting("RELAY_CLIENT_SECRET"),
  baseUrl: setting("BASE_URL"),
  secret: setting("COOKIE_SECRET"),
  cookies,
  redirect,
});

function setting(name: string): string {
  const value = process.env[name];
  if (!value) throw new Error(`Set ${name} in .env.local; README.md says how.`);
  return value;
}
