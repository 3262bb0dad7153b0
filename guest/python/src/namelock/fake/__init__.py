"""A stand-in for the host, so that a handler is tested without wasm: locks, names and settings in memory.

    host = namelock.fake.Host(settings={"wait_ms": 500})
    saved = host.register(Rooms, "Blue Room", "ann")
    host.lock("red room")                                  # somebody else has it
    with self.assertRaises(namelock.Busy):
        host.register(Rooms, "Red Room", "ann")

Its clock stands still unless a call waits or the test moves it, so nothing sleeps.
"""

from namelock.fake.host import Host

__all__ = ["Host"]
