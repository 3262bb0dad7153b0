"""The Python idiom as one caller of the bench: `idiom.py HOST PORT CALLER [NAME]`.

Each line of standard input is a number of seconds. For so long it locks and releases one name after the other, or tries to
lock NAME, which others want too. It answers with a line, the nanoseconds that all took, the number of locks that it had and
the number of attempts that found NAME locked, and the nanoseconds of each lock as 8 bytes: of a name of its own until it is
released, of NAME until it is locked.
"""

import platform
import sys
from array import array
from hashlib import md5
from time import perf_counter_ns

import pymemcache

EXPIRY_SECONDS = 10


def cycle(client: pymemcache.Client, name: str) -> None:
    key = "namelock::" + md5(name.encode()).hexdigest()
    if not client.add(key, 1, EXPIRY_SECONDS):
        raise RuntimeError(f"{name} is locked")
    client.delete(key)


def cycles(client: pymemcache.Client, caller: str, seconds: float) -> tuple[int, "array[int]"]:
    times = array("Q")
    begin = perf_counter_ns()
    end = begin + int(seconds * 1e9)
    now = begin
    while now < end:
        cycle(client, f"{caller} {len(times)}")
        last, now = now, perf_counter_ns()
        times.append(now - last)
    return now - begin, times


def attempts(client: pymemcache.Client, name: str, seconds: float) -> tuple[int, "array[int]", int]:
    key = "namelock::" + md5(name.encode()).hexdigest()
    times, refused = array("Q"), 0
    begin = perf_counter_ns()
    end = begin + int(seconds * 1e9)
    now = begin
    while now < end:
        granted = client.add(key, 1, EXPIRY_SECONDS)
        last, now = now, perf_counter_ns()
        if granted:
            times.append(now - last)
            client.delete(key)
            now = perf_counter_ns()
        else:
            refused += 1
    return now - begin, times, refused


def main() -> None:
    if sys.argv[1:] == ["--version"]:
        print(platform.python_version(), pymemcache.__version__)
        return
    host, port, caller, *name = sys.argv[1:]
    # Without waiting for replies nobody would know who has the lock, and no other peer is released before it is told so.
    client = pymemcache.Client((host, int(port)), default_noreply=False, no_delay=True)
    out = sys.stdout.buffer
    out.write(b"ready\n")
    out.flush()
    for line in sys.stdin:
        if name:
            took, times, refused = attempts(client, name[0], float(line))
        else:
            took, times, refused = *cycles(client, caller, float(line)), 0
        out.write(f"{took} {len(times)} {refused}\n".encode())
        out.write(times.tobytes())
        out.flush()


main()
