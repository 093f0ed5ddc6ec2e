/** Small values kept by the browser, or until the page is closed where its user forbids that. */

const memory = new Map();

function area(name) {
  try {
    return window[name];
  } catch {
    return null;
  }
}

/** A value under `key`, a string; in `localStorage` for good, in `sessionStorage` until the tab is closed. */
export class Kept {
  #area;
  #key;

  constructor(areaName, key) {
    this.#area = area(areaName);
    this.#key = key;
  }

  get() {
    return memory.get(this.#key) ?? this.#area?.getItem(this.#key) ?? "";
  }

  set(value) {
    try {
      this.#area.setItem(this.#key, value);
      memory.delete(this.#key);
    } catch {
      memory.set(this.#key, value);
    }
  }
}
