/** Where a page keeps what has to outlive a call. */

/** The part of `Storage` that is used. */
export type Kept = Pick<Storage, "getItem" | "setItem" | "removeItem">;

/** Gone with the page. */
export function memoryStorage(): Kept {
  const kept = new Map<string, string>();
  return {
    getItem: (name) => kept.get(name) ?? null,
    setItem: (name, value) => void kept.set(name, value),
    removeItem: (name) => void kept.delete(name),
  };
}
