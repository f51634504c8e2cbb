/** Who is signed in, for everything below. */
import { OAuthTokens, type OAuthTokensOptions, Relay, type RelayUser, SignInFailed } from "@relay-sdk/core";
import {
  createContext, type ReactNode, useCallback, useContext, useEffect, useMemo, useState, useSyncExternalStore,
} from "react";

export interface RelayState {
  relay: Relay;
  /** `loading` until it is known whether somebody is signed in. */
  status: "loading" | "signed-in" | "signed-out";
  /** With what is left in the wallet, as of the last `refreshUser`; null until it is known. */
  user: RelayUser | null;
  /** What went wrong with the sign-in or the user's data; null once something worked. */
  error: Error | null;
  signIn: () => Promise<void>;
  /** Here and in all tabs. */
  signOut: () => Promise<void>;
  /** Reads the balance anew; call it after calls that cost something. */
  refreshUser: () => Promise<void>;
}

const Context = createContext<RelayState | null>(null);

export interface RelayProviderProps extends Omit<OAuthTokensOptions, "issuer"> {
  /** Of the edge. */
  url: string;
  /** Of the control plane, which is the issuer. */
  controlUrl: string;
  /** Instead of the page's own: for servers that hold them (`@relay-sdk/next`), and for tests. */
  tokens?: OAuthTokens;
  children: ReactNode;
}

/**
 * Signs in on the way back from the relay, and by other tabs. Addresses and `clientId` are read once. Tokens stay in
 * memory.
 */
export function RelayProvider({ children, ...options }: RelayProviderProps): ReactNode {
  const [{ tokens, relay }] = useState(() => clientOf(options));
  const state = useSyncExternalStore(
    (changed) => tokens.subscribe(changed),
    () => tokens.state,
    () => tokens.state,
  );
  const [isLoading, setLoading] = useState(true);
  const [found, setUser] = useState<RelayUser | null>(null);
  const [error, setError] = useState<Error | null>(null);
  const user = state.isSignedIn ? found : null;

  const tried = useCallback(async (work: () => Promise<unknown>) => {
    try {
      await work();
      setError(null);
    } catch (thrown) {
      setError(asError(thrown));
    }
  }, []);
  const refreshUser = useCallback(() => tried(async () => setUser(await relay.user())), [relay, tried]);
  const signIn = useCallback(() => tried(() => tokens.signIn()), [tokens, tried]);
  const signOut = useCallback(() => tried(() => tokens.signOut()), [tokens, tried]);

  useEffect(() => {
    void tried(() => arrived(tokens)).finally(() => setLoading(false));
  }, [tokens, tried]);
  useEffect(() => {
    if (state.isSignedIn) void refreshUser();
    else setUser(null);
    if (state.reason) setError(new SignInFailed(state.reason, "The sign-in has ended."));
  }, [state, refreshUser]);

  const status = state.isSignedIn ? "signed-in" : isLoading ? "loading" : "signed-out";
  const value = useMemo(
    () => ({ relay, status, user, error, signIn, signOut, refreshUser }) satisfies RelayState,
    [relay, status, user, error, signIn, signOut, refreshUser],
  );
  return <Context value={value}>{children}</Context>;
}

/** Throws Error outside a RelayProvider. */
export function useRelay(): RelayState {
  const found = useContext(Context);
  if (!found) throw new Error("useRelay needs a <RelayProvider> above it.");
  return found;
}

function clientOf({ url, controlUrl, tokens: given, ...options }: Omit<RelayProviderProps, "children">) {
  const tokens = given ?? new OAuthTokens({ ...options, issuer: controlUrl });
  return { tokens, relay: new Relay({ url, controlUrl, tokens, ...(options.fetch ? { fetch: options.fetch } : {}) }) };
}

/** Ends a sign-in that this address is the way back of, and takes its code out of the address; else asks other tabs. */
async function arrived(tokens: OAuthTokens): Promise<void> {
  if (typeof location === "undefined" || !OAuthTokens.isWayBack(location.href)) {
    await tokens.restore();
    return;
  }
  const address = location.href;
  const returnTo = await tokens.finishSignIn(address).finally(() => replaceAddress(address, ""));
  replaceAddress(location.href, returnTo);
}

/** `returnTo` counts if it is of this origin. */
function replaceAddress(address: string, returnTo: string): void {
  const next = new URL(returnTo || address, address);
  if (next.origin !== location.origin) return;
  for (const name of ["code", "state", "iss", "error", "error_description"]) next.searchParams.delete(name);
  history.replaceState(null, "", next);
}

export function asError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown));
}
