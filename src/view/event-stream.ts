/** The text of a stream of server-sent events, in pieces as they come, into the data of its messages. */

/** More than any report or event takes; a stream that never ends its message is cut. */
export const MESSAGE_CHARACTERS_MAX = 4 * 1024 * 1024;

export interface StreamState {
  /** What is left of a message that has not ended. */
  readonly rest: string;
}

export const EMPTY_STREAM: StreamState = { rest: "" };

function dataOf(message: string): string {
  const lines = message.split("\n").filter((line) => line.startsWith("data:"));
  return lines.map((line) => line.slice(line.startsWith("data: ") ? 6 : 5)).join("\n");
}

/** Comments and messages without data are left out. @throws RangeError a message is longer than MESSAGE_CHARACTERS_MAX */
export function readStream(state: StreamState, piece: string): { readonly state: StreamState; readonly data: readonly string[] } {
  // A carriage return at the end may be half of a line's end: it waits for the next piece.
  const text = state.rest + piece;
  const held = text.endsWith("\r") ? "\r" : "";
  const messages = text
    .slice(0, text.length - held.length)
    .replaceAll(/\r\n?/g, "\n")
    .split("\n\n");
  const rest = (messages.pop() ?? "") + held;
  if (rest.length > MESSAGE_CHARACTERS_MAX)
    throw new RangeError(`a message of the stream is longer than ${MESSAGE_CHARACTERS_MAX} characters`);
  return { state: { rest }, data: messages.map(dataOf).filter((data) => data !== "") };
}
