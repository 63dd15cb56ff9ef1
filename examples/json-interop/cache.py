#!/usr/bin/env python3
"""Reads and invalidates what a Rust service has cached with `codec = json`. Needs the standard library only.

    cache.py get svc:v1 user:42           prints the value, or `nothing`
    cache.py drop svc:v1 user:42          drops one entry
    cache.py invalidate svc:v1 users      makes everything invalid that carries the tag

The server is that of CACHE_URL: redis://[[user:]password@]host[:port][/db]. With the package `redis`, `Server.run` is
`redis.Redis.from_url(url).execute_command`.
"""

import json
import os
import re
import socket
import sys
from urllib.parse import unquote, urlsplit

# What an invalidation must not take away is the mark of a write with `fence` that is at work.
DROP = r"""
local n = 0
for _, name in ipairs(KEYS) do
  local head = redis.pcall('GETRANGE', name, 0, 6)
  if head ~= '\1fence:' then n = n + redis.call('UNLINK', name) end
end
return n"""


class Server:
    """As much of the protocol as this script needs."""

    def __init__(self, url):
        at = urlsplit(url.removeprefix("hybrid+"))
        if at.scheme not in ("redis", "valkey"):
            sys.exit("cache.py: CACHE_URL must begin with redis://")
        self.socket = socket.create_connection((at.hostname or "localhost", at.port or 6379), timeout=5)
        self.file = self.socket.makefile("rb")
        if at.password:
            self.run("AUTH", unquote(at.username or "default"), unquote(at.password))
        if at.path.strip("/"):
            self.run("SELECT", at.path.strip("/"))

    def run(self, *words):
        words = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        packed = [b"$%d\r\n%s\r\n" % (len(word), word) for word in words]
        self.socket.sendall(b"*%d\r\n%s" % (len(words), b"".join(packed)))
        return self.answer()

    def answer(self):
        line = self.file.readline().rstrip(b"\r\n")
        kind, rest = line[:1], line[1:]
        if kind == b"$":
            return None if rest == b"-1" else self.file.read(int(rest) + 2)[:-2]
        if kind == b":":
            return int(rest)
        if kind == b"+":
            return rest
        # Of an error the first word is enough: what follows may repeat what was sent.
        raise ConnectionError((rest.split() or [b"no answer"])[0].decode())


def part(value):
    """A value as it stands in a key: `user:` + part(name) is `user:<name>` of the Rust side."""
    special = r"[\x00-\x1f\x7f-\x9f:%*?\[\]{}\\\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"
    return re.sub(special, lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode()), str(value))


def entry(prefix, key):
    """The names of an entry: the value, what belongs to it, and who loads it."""
    name = f"{prefix}:{key}"
    return [name, f"{prefix}:%+side:{{{name}}}", f"{prefix}:%+lease:{{{name}}}"]


def drop(server, prefix, *names):
    """In one step, so that no load that has begun before it can be stored after it. `%+any` is a part of every invalidation."""
    names = [*names, f"{prefix}:%+any"]
    return server.run("EVAL", DROP, len(names), *names)


def main(what, prefix, name):
    server = Server(os.environ.get("CACHE_URL", "redis://localhost:6379"))
    if what == "get":
        value = server.run("GET", f"{prefix}:{name}")
        print("nothing" if value is None else json.dumps(json.loads(value), sort_keys=True))
    elif what == "drop":
        drop(server, prefix, *entry(prefix, name))
        print(f"dropped {name}")
    elif what == "invalidate":
        # The entry that is called like the tag, too: on the Rust side a tag always covers it.
        drop(server, prefix, f"{prefix}:%+tag:{name}", *entry(prefix, name))
        print(f"invalidated {name}")
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(*sys.argv[1:]) if len(sys.argv) == 4 else sys.exit(__doc__)
