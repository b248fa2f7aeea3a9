// What the core asks of the board (TypeScript). Values are 32 bits wide: 8-byte accesses come as two, low half first.
// @ts-ignore: decorator
@external("board", "mmioRead")
export declare function mmioRead(address: u32, size: i32): i32;
// @ts-ignore: decorator
@external("board", "mmioWrite")
export declare function mmioWrite(address: u32, size: i32, value: i32): void;
// @ts-ignore: decorator
@external("board", "sbiCall")
export declare function sbiCall(hart: i32): void;
// @ts-ignore: decorator
@external("board", "trace")
export declare function trace(hart: i32, pcLow: i32, pcHigh: i32, instruction: i32): void;
