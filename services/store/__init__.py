"""The store: the one process that owns the embedded ClickHouse, served to all the others.

chDB lets one process in and speaks no HTTP. The store opens it and serves ClickHouse's own HTTP
interface on 127.0.0.1, so that everybody else is an ordinary client
(``clickhouse_connect.get_client(host=..., port=...)``) and a real ClickHouse server is another
address. Modules, from the outside in:

- ``app``: the Starlette application: queries, ping, health, metrics;
- ``calls``: what a request asks (query, parameters, settings, data), whatever way it says it;
- ``access``: who asks, and what a reader may cost;
- ``judge``: which statements may run, by the lists in ``allowed.txt`` (``allowed``);
- ``rights``: what the engine itself lets a reader and the writer do;
- ``statements``: the little SQL the store itself must read (which INSERT carries data, ...);
- ``encodings``: compressed bodies in and out;
- ``folder``: before the engine opens it: locked, with room, without damaged parts;
- ``guard``: a full disk costs no rows; with ``parts``, ``checksums`` and ``definitions``, which see
  and mend what it damaged;
- ``engine``: the engine, one session a call;
- ``errors``: ClickHouse's codes and their HTTP status.
"""
