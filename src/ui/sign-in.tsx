import { useState } from "preact/hooks";
import { sentenceOf, signIn, type Session } from "./session.js";
import { Wordmark } from "./wordmark.js";

export function SignIn({ notice, onSession }: { readonly notice: string; readonly onSession: (session: Session) => void }) {
  const [token, setToken] = useState("");
  const [problem, setProblem] = useState(notice);
  const [isAsking, setAsking] = useState(false);
  const submit = async (event: Event): Promise<void> => {
    event.preventDefault();
    setAsking(true);
    setProblem("");
    try {
      onSession(await signIn(token.trim()));
    } catch (error) {
      setProblem(`Not signed in: ${sentenceOf(error)}.`);
      setAsking(false);
    }
  };
  return (
    <main class="sign-in">
      <form class="faceplate" onSubmit={(event) => void submit(event)}>
        <Wordmark />
        <h1>Sign in to this server</h1>
        <label for="token">Access token</label>
        <input
          id="token"
          type="password"
          autoComplete="current-password"
          autoFocus
          required
          value={token}
          aria-describedby="token-hint sign-in-problem"
          onInput={(event) => setToken(event.currentTarget.value)}
        />
        <p id="token-hint" class="hint">
          It is kept in this tab only. An operator makes one with <code>steadfast tokens create</code>.
        </p>
        <p id="sign-in-problem" class="problem" role="alert">
          {problem}
        </p>
        <button class="primary" type="submit" disabled={isAsking || token.trim() === ""}>
          {isAsking ? "Signing in…" : "Sign in"}
        </button>
      </form>
    </main>
  );
}
