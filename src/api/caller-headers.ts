/**
 * What a front tells the leading management module about whom it asks for. Only the owner of the Unix socket can say so: a front builds
 * every request anew and passes no header of an outside client on.
 */
export const ACTOR_HEADER = "x-steadfast-actor";
export const ROLE_HEADER = "x-steadfast-role";
export const FROM_HEADER = "x-steadfast-from";
/** Of a console: the ticket that its viewer showed. */
export const TICKET_HEADER = "x-steadfast-ticket";
