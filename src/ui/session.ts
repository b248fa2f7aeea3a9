/** Who is signed in: the token lives as long as this tab, and nowhere else. */
import type { Role } from "../view/report.js";

const TOKEN_KEY = "steadfast-token";

export interface Session {
  readonly token: string;
  readonly name: string;
  readonly role: Role;
}

export function storedToken(): string | null {
  return sessionStorage.getItem(TOKEN_KEY);
}

export function forgetToken(): void {
  sessionStorage.removeItem(TOKEN_KEY);
}

export class RequestError extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** @throws RequestError the server refused it, with its own sentence; TypeError: it could not be reached */
export async function request(token: string, path: string, body?: object): Promise<unknown> {
  const response = await fetch(path, {
    method: body === undefined ? "GET" : "POST",
    headers: { authorization: `Bearer ${token}`, ...(body !== undefined && { "content-type": "application/json" }) },
    ...(body !== undefined && { body: JSON.stringify(body) }),
    cache: "no-store",
    credentials: "omit",
  });
  const text = await response.text();
  if (response.ok) return JSON.parse(text) as unknown;
  throw new RequestError(response.status, errorSentence(text) ?? `the server answers ${response.status}`);
}

function errorSentence(text: string): string | null {
  try {
    const { error } = JSON.parse(text) as { error?: { message?: unknown } };
    return typeof error?.message === "string" ? error.message : null;
  } catch {
    return null;
  }
}

/** Asks the server who has this token, and keeps it if anybody has. */
export async function signIn(token: string): Promise<Session> {
  const { name, role } = (await request(token, "/whoami")) as { name: unknown; role: unknown };
  sessionStorage.setItem(TOKEN_KEY, token);
  return { token, name: String(name), role: role === "operate" ? "operate" : "view" };
}

export function sentenceOf(error: unknown): string {
  if (error instanceof RequestError) return error.message;
  if (error instanceof TypeError) return "the server cannot be reached at this moment";
  return error instanceof Error ? error.message : String(error);
}
