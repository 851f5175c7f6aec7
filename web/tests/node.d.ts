// The few words of Node's that the tests use, so that `tsc` needs no package for them.
declare module "node:test" {
  export function test(name: string, run: () => void | Promise<void>): void;
}
declare module "node:fs" {
  export function readFileSync(file: URL, encoding: "utf8"): string;
}
declare module "node:assert/strict" {
  interface Assert {
    (value: unknown, message?: string): asserts value;
    ok(value: unknown, message?: string): asserts value;
    match(actual: string, expected: RegExp): void;
    notDeepEqual(actual: unknown, expected: unknown, message?: string): void;
    equal(actual: unknown, expected: unknown, message?: string): void;
    deepEqual(actual: unknown, expected: unknown, message?: string): void;
    rejects(promise: Promise<unknown>, expected?: object | ((error: Error & { code?: string }) => boolean)): Promise<void>;
  }
  const assert: Assert;
  export default assert;
}
