/** The kernel command line that a guest boots with: the image's words, and those that are the server's own. */

const CONSOLE = "console=ttyS0";

/** `own`: what the server adds, the same for every image. */
export function wholeCommandLine(image: string, own: string): string {
  const words = `${image} ${own}`.split(/\s+/).filter((word) => word !== "");
  if (!words.some((word) => word.startsWith("console="))) words.unshift(CONSOLE);
  return words.join(" ");
}
