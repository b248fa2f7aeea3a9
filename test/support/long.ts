/** Whether this is `npm run test:long`: all rounds and pairs of what every commit is given some of. */
export const isLong = process.env["STEADFAST_LONG"] === "1";
