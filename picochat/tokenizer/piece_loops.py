"""The split pattern and a table of pieces, compiled: `regex` and a dictionary, three to five times as fast.

Text is UTF-8, one document after another. `kinds` tells for every code point what the pattern takes it for.
A table of pieces is a hash table with open addressing: `slots` holds the number of an entry plus one, and
entry e is the piece `names[starts[e]:starts[e + 1]]`.
"""

import numba
import numpy as np

UNKNOWN, LETTER, NUMBER, SPACE, LINE_END, OTHER = range(6)
"""Kinds of characters; SPACE is white space that ends no line."""
NUM_CODES = 0x110000
LONG_S = 0x17F
"""It is an s to a pattern that does not look at the case."""
LONGEST = 64
"""Bytes of a piece that is kept; there are few longer ones, and each but once."""


def compiled(function):
    """Compile when first called, kept on disk."""
    return numba.njit(nogil=True, cache=True, boundscheck=False)(function)


def part(function):
    """Compile into the loops that call it."""
    return numba.njit(nogil=True, boundscheck=False, forceinline=True)(function)


@part
def character(text, at):
    """Return the code point that begins at `at`, and its length in bytes."""
    byte = np.int64(text[at])
    if byte < 0x80:
        return byte, 1
    second = np.int64(text[at + 1]) & 0x3F
    if byte < 0xE0:
        return (byte & 0x1F) << 6 | second, 2
    third = np.int64(text[at + 2]) & 0x3F
    if byte < 0xF0:
        return (byte & 0x0F) << 12 | second << 6 | third, 3
    return (byte & 0x07) << 18 | second << 12 | third << 6 | (np.int64(text[at + 3]) & 0x3F), 4


@part
def end_of_run(text, at, end, kinds, kind):
    """Return where the characters of one kind that begin at `at` end."""
    while at < end:
        code, size = character(text, at)
        if kinds[code] != kind:
            break
        at += size
    return at


@part
def contraction(text, at, end):
    """Return the length in bytes of what follows an apostrophe in 's, 'd, 'm, 't, 'll, 've or 're; else 0."""
    if at >= end:
        return 0
    code, size = character(text, at)
    lower = code | 0x20
    if code == LONG_S or lower == ord("s") or lower == ord("d") or lower == ord("m") or lower == ord("t"):
        return size
    if at + 1 < end:
        after = np.int64(text[at + 1]) | 0x20
        if lower == ord("l") and after == ord("l"):
            return 2
        if (lower == ord("v") or lower == ord("r")) and after == ord("e"):
            return 2
    return 0


@part
def end_of_space(text, at, end, kinds):
    """Return where a piece of white space that begins at `at` ends."""
    stop, last, line_end = at, at, -1
    while stop < end:
        code, size = character(text, stop)
        if kinds[code] != SPACE and kinds[code] != LINE_END:
            break
        last = stop
        stop += size
        if kinds[code] == LINE_END:
            line_end = stop
    if line_end >= 0:
        return line_end
    # The last one goes to the word that follows, if there is one and if it is not the only one.
    return stop if stop == end or last == at else last


@part
def end_of_piece(text, at, end, kinds):
    """Return where the piece that begins at `at` ends: `picochat.tokenizer.pieces.PATTERN`, case by case."""
    code, size = character(text, at)
    kind, after = kinds[code], at + size
    if kind == LETTER:
        return end_of_run(text, after, end, kinds, LETTER)
    if kind == NUMBER:
        if after < end:
            code, size = character(text, after)
            if kinds[code] == NUMBER:
                return after + size
        return after
    if code == ord("'"):
        length = contraction(text, after, end)
        if length:
            return after + length
    next_kind = UNKNOWN
    if after < end:
        next_code, _ = character(text, after)
        next_kind = kinds[next_code]
    if kind != LINE_END and next_kind == LETTER:
        return end_of_run(text, after, end, kinds, LETTER)
    if kind == OTHER or (code == ord(" ") and next_kind == OTHER):
        others = end_of_run(text, after, end, kinds, OTHER)
        return end_of_run(text, others, end, kinds, LINE_END)
    return end_of_space(text, at, end, kinds)


@part
def find(text, at, stop, slots, names, starts):
    """Return the slot of the piece text[at:stop]; it is 0 where the table does not have it."""
    hashed = np.uint64(14695981039346656037)
    for i in range(at, stop):
        hashed = (hashed ^ np.uint64(text[i])) * np.uint64(1099511628211)  # FNV-1a
    mask = np.uint64(len(slots) - 1)
    slot = np.int64((hashed ^ (hashed >> np.uint64(32))) & mask)
    while slots[slot] != 0:
        start = starts[slots[slot] - 1]
        if starts[slots[slot]] - start == stop - at:
            same = True
            for i in range(stop - at):
                if names[start + i] != text[at + i]:
                    same = False
                    break
            if same:
                return slot
        slot = (slot + 1) & np.int64(mask)
    return slot


@part
def add(text, at, stop, slot, slots, names, starts, size):
    """Add the piece text[at:stop], which `find` did not find, as entry `size`."""
    start = starts[size]
    for i in range(stop - at):
        names[start + i] = text[at + i]
    starts[size + 1] = start + stop - at
    slots[slot] = size + 1


@compiled
def first_unknown(text, kinds):
    """Return the first code point of unknown kind in UTF-8 text, -1 if there is none."""
    at = 0
    while at < len(text):
        if text[at] < 0x80:  # these are all known
            at += 1
            continue
        code, size = character(text, at)
        if kinds[code] == UNKNOWN:
            return code
        at += size
    return -1


@compiled
def count(text, ends, kinds, slots, names, starts, counts, document, at, size):
    """Count pieces from a place in a document on; return (document, place, entries) where it had to stop.

    It stops at the end, at a piece that is too long to be kept, and where the table is full.
    """
    while document < len(ends):
        end = ends[document]
        while at < end:
            stop = end_of_piece(text, at, end, kinds)
            if stop - at > LONGEST:
                return document, at, size
            slot = find(text, at, stop, slots, names, starts)
            if slots[slot] == 0:
                if size == len(counts):
                    return document, at, size
                add(text, at, stop, slot, slots, names, starts, size)
                counts[size] = 0
                size += 1
            counts[slots[slot] - 1] += 1
            at = stop
        document += 1
    return document, at, size


@part
def merged_id(left, right, pairs, merged):
    """Return the id that two ids are joined to, -1 if they are not."""
    pair = np.int64(left) << 32 | np.int64(right)
    slot = _pair_slot(pair, pairs)
    return merged[slot] if pairs[slot] == pair else -1


@part
def _pair_slot(pair, pairs):
    mask = len(pairs) - 1
    mixed = np.uint64(pair) * np.uint64(0x9E3779B97F4A7C15)
    slot = np.int64(mixed >> np.uint64(32)) & mask
    while pairs[slot] != -1 and pairs[slot] != pair:
        slot = (slot + 1) & mask
    return slot


@compiled
def fill_pairs(left_M, right_M, first_id, pairs, merged):
    """Put merge m, which makes id `first_id` + m, into a hash table of pairs that holds -1 everywhere."""
    for m in range(len(left_M)):
        pair = np.int64(left_M[m]) << 32 | np.int64(right_M[m])
        slot = _pair_slot(pair, pairs)
        pairs[slot], merged[slot] = pair, first_id + m


@part
def merge(piece_ids, size, pairs, merged):
    """Join pairs of ids in place, always the one of the earliest merge, the leftmost first; return how many
    ids are left."""
    while True:
        best, place = np.int64(1 << 62), -1
        for i in range(size - 1):
            new = np.int64(merged_id(piece_ids[i], piece_ids[i + 1], pairs, merged))
            if 0 <= new < best:
                best, place = new, i
        if place < 0:
            return size
        piece_ids[place] = best
        size -= 1
        for i in range(place + 1, size):
            piece_ids[i] = piece_ids[i + 1]


@compiled
def encode(text, ends, kinds, slots, names, starts, ids, id_starts, pairs, merged, out, ends_out, state):
    """Write the ids of pieces to `out` and to `ends_out` where documents end.

    state: document, place in the text, ids written and entries of the table, to begin with and at the end. It
    stops at the end, at a piece that is too long to be kept, and where the table is full.
    """
    document, at, num_out, size = state[0], state[1], state[2], state[3]
    piece_ids = np.empty(LONGEST, dtype=np.int64)
    stopped = False
    while document < len(ends) and not stopped:
        end = ends[document]
        while at < end:
            stop = end_of_piece(text, at, end, kinds)
            if stop - at > LONGEST:
                stopped = True
                break
            slot = find(text, at, stop, slots, names, starts)
            entry = slots[slot]
            if entry == 0:
                if size == len(id_starts) - 1 or id_starts[size] + LONGEST > len(ids):
                    stopped = True
                    break
                add(text, at, stop, slot, slots, names, starts, size)
                for i in range(stop - at):
                    piece_ids[i] = text[at + i]
                length = merge(piece_ids, stop - at, pairs, merged)
                for i in range(length):
                    ids[id_starts[size] + i] = piece_ids[i]
                id_starts[size + 1] = id_starts[size] + length
                size += 1
                entry = size
            for i in range(id_starts[entry - 1], id_starts[entry]):
                out[num_out] = ids[i]
                num_out += 1
            at = stop
        if not stopped:
            ends_out[document] = num_out
            document += 1
    state[0], state[1], state[2], state[3] = document, at, num_out, size


@compiled
def piece_end(text, at, end, kinds):
    """Return where one piece ends."""
    return end_of_piece(text, at, end, kinds)
