interface ImportMetaEnv {
  readonly VITE_RELAY_URL: string;
  readonly VITE_CONTROL_URL: string;
  readonly VITE_CLIENT_ID: string;
  readonly VITE_MODEL: string;
}
