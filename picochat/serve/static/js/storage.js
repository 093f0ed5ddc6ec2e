/**
 * Conversations kept in this browser (IndexedDB), within bounds: the least recently used ones make way.
 * Other tabs of the page are told what has changed.
 */

export const MAX_CONVERSATIONS = 200;
export const MAX_CHARACTERS = 20_000_000;

const STORE = "conversations";

// What all of them take is asked for at every save; it is kept apart so that this reads a few numbers only.
const SIZES = "sizes";

function promised(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

function finished(transaction) {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onabort = () => reject(transaction.error);
  });
}

/** A store that is open. */
export class ConversationStore {
  #database;
  #channel = new BroadcastChannel("picochat.conversations");

  constructor(database) {
    this.#database = database;
  }

  /** Open the store; null where the browser has none (some private windows). */
  static async open(name = "picochat") {
    try {
      const request = indexedDB.open(name, 1);
      request.onupgradeneeded = () => {
        request.result.createObjectStore(STORE, { keyPath: "id" });
        request.result.createObjectStore(SIZES, { keyPath: "id" });
      };
      const database = await promised(request);
      // Another tab may hold a newer version of the page.
      database.onversionchange = () => database.close();
      return new ConversationStore(database);
    } catch {
      return null;
    }
  }

  /** Call `listener(id)` when another tab has saved or deleted a conversation. */
  onForeignChange(listener) {
    this.#channel.onmessage = (event) => listener(event.data);
  }

  /** All conversations, the last used first. */
  async all() {
    const rows = await promised(this.#database.transaction(STORE).objectStore(STORE).getAll());
    return rows.sort((a, b) => b.updated - a.updated);
  }

  async get(id) {
    return (await promised(this.#database.transaction(STORE).objectStore(STORE).get(id))) ?? null;
  }

  /** Write a conversation; return the ids of those that had to make way. Rejects where the disk is full. */
  async put(conversation) {
    const transaction = this.#database.transaction([STORE, SIZES], "readwrite");
    const size = JSON.stringify(conversation).length;
    transaction.objectStore(STORE).put(conversation);
    transaction.objectStore(SIZES).put({ id: conversation.id, updated: conversation.updated, size });
    const sizes = await promised(transaction.objectStore(SIZES).getAll());
    const gone = overflow(sizes, conversation.id);
    this.#deleteIn(transaction, gone);
    await finished(transaction);
    for (const id of [conversation.id, ...gone]) this.#channel.postMessage(id);
    return gone;
  }

  async delete(...ids) {
    const transaction = this.#database.transaction([STORE, SIZES], "readwrite");
    this.#deleteIn(transaction, ids);
    await finished(transaction);
    for (const id of ids) this.#channel.postMessage(id);
  }

  #deleteIn(transaction, ids) {
    for (const id of ids) {
      transaction.objectStore(STORE).delete(id);
      transaction.objectStore(SIZES).delete(id);
    }
  }
}

/** The ids of the rows, `{id, updated, size}`, that are too many; never `kept`. */
export function overflow(rows, kept, maxRows = MAX_CONVERSATIONS, maxSize = MAX_CHARACTERS) {
  const newestFirst = rows.filter((row) => row.id !== kept).sort((a, b) => b.updated - a.updated);
  let size = rows.find((row) => row.id === kept)?.size ?? 0;
  const gone = [];
  newestFirst.forEach((row, index) => {
    size += row.size;
    if (index + 2 > maxRows || size > maxSize) gone.push(row.id);
  });
  return gone;
}
