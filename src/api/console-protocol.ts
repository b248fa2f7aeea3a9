/** What a client asks to upgrade to at POST /console; a file of its own, so that clients need not load what a server does. */
export const CONSOLE_PROTOCOL = "steadfast-console";
