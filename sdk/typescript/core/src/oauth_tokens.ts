/**
 * A user's tokens in a page: sign-in, and a bearer that renews itself. The access token is in memory alone.
 *
 * Ends are reckoned from an answer's arrival, by `performance.now()` and by `Date`, whichever is further: the one stands
 * still while a machine sleeps, the other may be set back.
 */
import { SignInFailed } from "./errors.js";
import { Application, type ApplicationOptions, type Asked, SCOPE, type Tokens } from "./oauth.js";
import { type Kept, memoryStorage } from "./stores.js";
import { type Channel, type Locks, type Message, type Pair, Tabs } from "./tabs.js";
import type { TokenProvider } from "./tokens.js";

export interface OAuthTokensOptions extends ApplicationOptions {
  /** One of the application's; the page's own address without query by default. */
  redirectUri?: string;
  scope?: string;
  /**
   * Of the refresh token; memory by default: gone with the page, and another tab of the application hands its tokens on.
   * `sessionStorage` survives a reload of its tab, and every script of the page can read it.
   */
  store?: Kept;
  /** Of state and verifier while the user is away; sessionStorage by default. No token is in it. */
  pending?: Kept;
  locks?: Locks;
  channel?: Channel;
  clock?: Clock;
}

/** Milliseconds. `steady` never goes back; `wall` may be anything. */
export interface Clock {
  steady(): number;
  wall(): number;
}

/** `reason`: why nobody is signed in; empty where nobody was, or where the user signed out. */
export interface SignInState {
  isSignedIn: boolean;
  reason: string;
}

const EARLY_SECONDS = 30; // a token is renewed so long before its end
const ENDED = ["invalid_grant", "invalid_client", "unauthorized_client"];
const CLOCK: Clock = { steady: () => performance.now(), wall: () => Date.now() };

/** A user's tokens in a page. Make one, and keep it as long as the page. */
export class OAuthTokens implements TokenProvider {
  readonly application: Application;
  readonly #options: OAuthTokensOptions;
  readonly #name: string;
  readonly #store: Kept;
  readonly #pending: Kept;
  readonly #clock: Clock;
  readonly #tabs: Tabs;
  readonly #listeners = new Set<() => void>();
  readonly #ends = new Map<string, Promise<string>>();
  #pair: Pair | null = null;
  #arrived = { steady: 0, wall: 0 };
  #renewing: Promise<string> | null = null;
  #state: SignInState = { isSignedIn: false, reason: "" };

  constructor(options: OAuthTokensOptions) {
    this.application = new Application(options);
    this.#options = options;
    this.#store = options.store ?? memoryStorage();
    this.#pending = options.pending ?? (typeof sessionStorage === "undefined" ? memoryStorage() : sessionStorage);
    this.#clock = options.clock ?? CLOCK;
    this.#name = `relay:${this.application.issuer}:${options.clientId}`;
    this.#tabs = new Tabs(this.#name, (message) => this.#heard(message), options.locks, options.channel);
  }

  /** The same object until it changes. */
  get state(): SignInState {
    return this.#state;
  }

  /** Calls back after each change of `state`; returns what ends that. */
  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** Where to send the user; `signIn` goes there. */
  async signInUrl(options: { returnTo?: string; referral?: string } = {}): Promise<string> {
    const redirectUri = this.#options.redirectUri ?? location.origin + location.pathname;
    const { url, asked } = await this.application.begin({ ...options, redirectUri, scope: this.#options.scope ?? SCOPE });
    this.#pending.setItem(pendingName(asked.state), JSON.stringify(asked));
    return url;
  }

  /** Leaves the page. */
  async signIn(options: { returnTo?: string; referral?: string } = {}): Promise<void> {
    location.assign(await this.signInUrl({ returnTo: location.href, ...options }));
  }

  /** Whether an address is a way back from the relay. */
  static isWayBack(url: string | URL): boolean {
    const said = new URL(url).searchParams;
    return said.has("state") && said.has("iss") && (said.has("code") || said.has("error"));
  }

  /**
   * Ends a sign-in at the address that the user came back to; returns where the user was. Asked twice for one answer it
   * does so once. Throws SignInFailed, Unreachable.
   */
  finishSignIn(url: string | URL = location.href): Promise<string> {
    const state = new URL(url).searchParams.get("state") ?? "";
    const known = this.#ends.get(state);
    if (known) return known;
    const ended = this.#finish(url, state);
    this.#ends.set(state, ended);
    return ended;
  }

  /**
   * Signs in without the user: from the store, or by another tab. False where neither has anything. Throws Unreachable
   * where the relay cannot be asked; the user is as signed in as before.
   */
  async restore(): Promise<boolean> {
    try {
      await this.token();
      return true;
    } catch (error) {
      if (error instanceof SignInFailed) return false;
      throw error;
    }
  }

  /** The bearer. Throws SignInFailed where the user has to sign in again, Unreachable while the relay is away. */
  async token(refused?: string): Promise<string> {
    if (this.#isGood(refused, EARLY_SECONDS)) return this.#pair!.accessToken;
    this.#renewing ??= this.#renewed(refused).finally(() => (this.#renewing = null));
    const found = await this.#renewing;
    return found === refused ? this.token(refused) : found; // who began it did not know of the refusal
  }

  /** Forgets the tokens, here and in all tabs, then revokes them. Throws Unreachable where the relay was not told. */
  async signOut(): Promise<void> {
    const refreshToken = this.#pair?.refreshToken || this.#store.getItem(this.#name) || this.#pair?.accessToken;
    this.#tabs.tell({ kind: "signed_out", reason: "" });
    this.#forget("");
    if (refreshToken) await this.application.revoke(refreshToken);
  }

  /** Ends the talk with other tabs. */
  close(): void {
    this.#tabs.close();
  }

  async #finish(url: string | URL, state: string): Promise<string> {
    const kept = this.#pending.getItem(pendingName(state));
    this.#pending.removeItem(pendingName(state));
    const asked = kept === null ? null : (JSON.parse(kept) as Asked);
    const tokens = await this.application.end(url, asked);
    const pair = this.#numbered(tokens);
    this.#take(pair);
    this.#tabs.tell({ kind: "pair", pair, isNew: true });
    return asked?.returnTo ?? "";
  }

  /** Under the lock of all tabs. */
  async #renewed(refused: string | undefined): Promise<string> {
    return this.#tabs.alone(async () => {
      if (!this.#isGood(refused, EARLY_SECONDS)) await this.#tabs.ask(() => this.#isGood(refused, EARLY_SECONDS));
      if (this.#isGood(refused, EARLY_SECONDS)) return this.#pair!.accessToken;
      const refreshToken = this.#pair ? this.#pair.refreshToken : this.#store.getItem(this.#name);
      if (!refreshToken) {
        const reason = this.#pair ? "invalid_grant" : this.#state.reason;
        if (this.#pair) this.#forget(reason);
        throw signedOut(reason);
      }
      return this.#renew(refreshToken, refused);
    });
  }

  async #renew(refreshToken: string, refused: string | undefined): Promise<string> {
    try {
      const tokens = await this.application.refresh(refreshToken);
      if (this.#isSpent(refreshToken)) throw signedOut("");
      const pair = this.#numbered(tokens);
      this.#take(pair);
      this.#tabs.tell({ kind: "pair", pair, isNew: false });
      return pair.accessToken;
    } catch (error) {
      if (this.#isSpent(refreshToken)) {
        if (this.#isGood(refused, 0)) return this.#pair!.accessToken;
      } else if (error instanceof SignInFailed && ENDED.includes(error.code)) {
        this.#tabs.tell({ kind: "signed_out", reason: error.code });
        this.#forget(error.code);
      } else if (!(error instanceof SignInFailed) && this.#isGood(refused, 0)) {
        return this.#pair!.accessToken; // offline, and there is something left of this one
      }
      throw error;
    }
  }

  /** The user signed out, or in anew, while the relay was asked: what it answered then counts no more. */
  #isSpent(refreshToken: string): boolean {
    return this.#store.getItem(this.#name) !== refreshToken;
  }

  #numbered(tokens: Tokens): Pair {
    return { ...tokens, number: Math.max(this.#clock.wall(), (this.#pair?.number ?? 0) + 1) };
  }

  #heard(message: Message): void {
    if (message.kind === "signed_out") this.#forget(message.reason);
    else if (message.kind === "pair") {
      if (message.isNew || message.pair.number > (this.#pair?.number ?? 0)) this.#take(message.pair);
    } else if (this.#pair) {
      const expiresInSeconds = this.#pair.expiresInSeconds - this.#ageSeconds();
      this.#tabs.tell({ kind: "pair", pair: { ...this.#pair, expiresInSeconds }, isNew: false });
    }
  }

  #take(pair: Pair): void {
    this.#pair = pair;
    this.#arrived = { steady: this.#clock.steady(), wall: this.#clock.wall() };
    this.#store.setItem(this.#name, pair.refreshToken);
    this.#changed({ isSignedIn: true, reason: "" });
  }

  #forget(reason: string): void {
    this.#pair = null;
    this.#store.removeItem(this.#name);
    this.#changed({ isSignedIn: false, reason });
  }

  #changed(state: SignInState): void {
    if (state.isSignedIn === this.#state.isSignedIn && state.reason === this.#state.reason) return;
    this.#state = state;
    for (const listener of this.#listeners) listener();
  }

  #isGood(refused: string | undefined, earlySeconds: number): boolean {
    const pair = this.#pair;
    if (!pair || pair.accessToken === refused) return false;
    return this.#ageSeconds() < pair.expiresInSeconds - earlySeconds;
  }

  #ageSeconds(): number {
    const { steady, wall } = this.#arrived;
    return Math.max(this.#clock.steady() - steady, this.#clock.wall() - wall) / 1000;
  }
}

function signedOut(reason: string): SignInFailed {
  return new SignInFailed(reason || "signed_out", "Nobody is signed in here, or not any more.");
}

function pendingName(state: string): string {
  return `relay:asked:${state}`;
}
