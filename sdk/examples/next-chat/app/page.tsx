/** Who is signed in, and the chat. Rendered on the server, with the user's token; none of it reaches the browser. */
import { getRelay, getUser } from "@relay-sdk/next";
import { app } from "../relay";
import { Chat } from "./chat";

const MICRO = 1_000_000;

interface Asked {
  searchParams: Promise<{ relay_error?: string }>;
}

export default async function Page({ searchParams }: Asked) {
  const { relay_error: problem } = await searchParams;
  const user = await getUser(app, { returnTo: "/" });
  if (!user) {
    return (
      <main>
        <h1>Chat</h1>
        {problem && <p role="alert">The sign-in has ended or did not work ({problem}). Sign in again.</p>}
        <a className="button" href="/api/relay/sign-in?returnTo=/">
          Sign in
        </a>
      </main>
    );
  }
  return (
    <main>
      <header>
        <h1>Chat</h1>
        <span>
          {user.name}, <span role="status">{(user.availableMicrocredits / MICRO).toFixed(4)} credits</span>
        </span>
        <form method="post" action="/api/relay/sign-out?returnTo=/">
          <button>Sign out</button>
        </form>
      </header>
      <Chat topUpUrl={getRelay(app).topUpUrl()} />
    </main>
  );
}
